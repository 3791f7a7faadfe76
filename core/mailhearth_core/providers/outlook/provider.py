"""Outlook.com and Microsoft 365: ordinary folders over IMAP, sending by SMTP AUTH with a token.

Focused and Other are one inbox over IMAP, so a message in Other counts as inbox. EXPUNGE deletes
for the owner at once (it stays in Recoverable Items, out of sight, for the tenant's time of
retention).
"""

from __future__ import annotations

from mailhearth_core.mail.model import Endpoint, TlsMode
from mailhearth_core.providers.base import Limits, MailboxConfig
from mailhearth_core.providers.oauth_only import OAuthProvider

_LIMITS = Limits(messages_per_minute=2, messages_per_hour=40, messages_per_day=300, connections=2)
"""Exchange Online: 10,000 recipients a day, 30 messages a minute and three connections at once by
SMTP AUTH (Microsoft Learn, "Exchange Online limits", sending limits). Outlook.com: some 300 a day
for an account in good standing, fewer for a new one (Microsoft support, "Sending limits in
Outlook.com"); the smaller one holds for both, because the servers do not tell them apart."""


class OutlookProvider(OAuthProvider):
    """outlook.office365.com and smtp.office365.com (Microsoft, "POP, IMAP, and SMTP settings").

    Accounts at outlook.com are told to send by smtp-mail.outlook.com; that is taken as well.
    """

    kind = "outlook"
    owner = "Microsoft"
    imap = Endpoint("outlook.office365.com", 993, TlsMode.IMPLICIT)
    smtp = Endpoint("smtp.office365.com", 587, TlsMode.STARTTLS)
    more_smtp_hosts = frozenset({"smtp-mail.outlook.com"})

    def limits(self, config: MailboxConfig) -> Limits:
        return _LIMITS
