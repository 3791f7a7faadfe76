"""Outlook.com and Microsoft 365: ordinary folders over IMAP, sending by SMTP AUTH with a token.

Focused and Other are one inbox over IMAP, so a message in Other counts as inbox. EXPUNGE deletes
for the owner at once (it stays in Recoverable Items, out of sight, for the tenant's time of
retention).
"""

from __future__ import annotations

from mailhearth_core.providers.oauth_only import OAuthProvider
from mailhearth_core.providers.oauth_servers import SERVERS


class OutlookProvider(OAuthProvider):
    """outlook.office365.com and smtp.office365.com (Microsoft, "POP, IMAP, and SMTP settings").

    Accounts at outlook.com are told to send by smtp-mail.outlook.com; that is taken as well.
    """

    kind = "outlook"
    servers = SERVERS["outlook"]
