"""The one table of what mail servers say and what it means. First matching row wins.

Each row names the document its reply comes from; `docs/mail-errors.md` is rendered from here.
"""

# Long patterns stay on one line: they are data.
# ruff: noqa: E501

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mailhearth_core.mail.model import FailureKind, Scope, Stage

Protocol = Literal["smtp", "imap"]

_LATER, _REAUTH = FailureKind.TRY_LATER, FailureKind.REAUTHENTICATE
_LIMIT, _PERMANENT = FailureKind.PROVIDER_LIMIT, FailureKind.PERMANENT
_BOX, _RCPT, _MSG = Scope.MAILBOX, Scope.RECIPIENT, Scope.MESSAGE

LOGIN = frozenset({Stage.LOGIN})
BEFORE_LOGIN = frozenset({Stage.CONNECT, Stage.GREETING, Stage.TLS})
ADDRESSING = frozenset({Stage.RCPT})
CONTENT = frozenset({Stage.DATA, Stage.DOT})


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. Empty patterns match everything; patterns are searched, ignoring case.

    `reply` and `enhanced` are matched from their start: "5" means any 5xx. For IMAP `reply` is
    the response code of RFC 3501/5530, matched whole.
    """

    protocol: Protocol
    code: str
    kind: FailureKind
    scope: Scope
    words: str
    hint: str
    source: str
    reply: str = ""
    enhanced: str = ""
    text: str = ""
    stages: frozenset[Stage] = frozenset()

    def matches(self, stage: Stage, reply: str, enhanced: str, text: str) -> bool:
        if self.stages and stage not in self.stages:
            return False
        if self.protocol == "imap":
            if self.reply and not re.fullmatch(self.reply, reply, re.IGNORECASE):
                return False
        elif not re.match(self.reply, reply):
            return False
        if self.enhanced and not re.match(rf"(?:{self.enhanced})(?![0-9])", enhanced):
            return False
        return not self.text or re.search(self.text, text, re.IGNORECASE) is not None


def _smtp(
    reply: str,
    enhanced: str,
    text: str,
    stages: frozenset[Stage],
    kind: FailureKind,
    scope: Scope,
    code: str,
    words: str,
    hint: str,
    source: str,
) -> Rule:
    return Rule("smtp", code, kind, scope, words, hint, source, reply, enhanced, text, stages)


def _imap(
    reply: str,
    text: str,
    stages: frozenset[Stage],
    kind: FailureKind,
    code: str,
    words: str,
    hint: str,
    source: str,
) -> Rule:
    return Rule("imap", code, kind, _BOX, words, hint, source, reply, "", text, stages)


_ANY: frozenset[Stage] = frozenset()
_GOOGLE = "Google Workspace help, Gmail SMTP errors and codes"
_MS_AUTH = "Microsoft Learn, SMTP AUTH client submission"
_MS_NDR = "Microsoft Learn, non-delivery reports in Exchange Online"
_TYPE_AGAIN = "Check user name and password, then connect the mailbox again."
_SIGN_IN_AGAIN = "Connect the mailbox again."
_BLOCKLIST = r"spamhaus|block ?list|black ?list|\bRBL\b|\bDNSBL\b|listed (at|by|in|on)|poor reputation|blocked using"
_WAIT = "Nothing to do: it is tried again later."
_SLOWER = "Nothing to do: sending pauses and goes on later; lower the daily volume if it repeats."

# fmt: off
SMTP_RULES: tuple[Rule, ...] = (
    # -- signing in ---------------------------------------------------------------------------
    _smtp("535", r"5\.7\.139", r"SmtpClientAuthentication is disabled", LOGIN, _PERMANENT, _BOX,
          "tenant_smtp_disabled", "Sending by SMTP is switched off for this mailbox or its tenant.",
          "Have a Microsoft 365 admin enable authenticated SMTP for the mailbox.", _MS_AUTH),
    _smtp("535", r"5\.7\.139", r"basic authentication is disabled", LOGIN, _REAUTH, _BOX,
          "basic_auth_disabled", "Microsoft does not take passwords for this mailbox.",
          "Connect the mailbox with OAuth.", _MS_AUTH),
    _smtp("535", r"5\.7\.139", "", LOGIN, _REAUTH, _BOX,
          "auth_policy", "A policy of the Microsoft 365 tenant refused the sign-in.",
          "Ask the tenant's admin about security defaults and conditional access.", _MS_AUTH),
    _smtp("534", r"5\.7\.9", r"application-specific password", LOGIN, _REAUTH, _BOX,
          "app_password_required", "Google wants an app password, not the account's own.",
          "Connect with OAuth, or make an app password in the Google account.", _GOOGLE),
    _smtp("534", "", r"web browser|WebLoginRequired", LOGIN, _REAUTH, _BOX,
          "web_login_required", "The provider wants a sign-in by web browser first.",
          "Sign in to the mailbox in a browser, clear its security warning, then try again.", _GOOGLE),
    _smtp("534", r"5\.7\.9", "", LOGIN, _PERMANENT, _BOX,
          "mechanism_too_weak", "The server wants a stronger way of signing in.",
          "Connect the mailbox with OAuth if the provider offers it.", "RFC 4954 section 6"),
    _smtp("(454|421)", r"4\.7\.0", r"too many (login|authentication)|login attempts", LOGIN, _LIMIT, _BOX,
          "too_many_logins", "The provider saw too many sign-ins to this mailbox.", _SLOWER, _GOOGLE),
    _smtp("432", r"4\.3\.2", r"concurrent connections", _ANY, _LIMIT, _BOX,
          "too_many_connections", "The provider limits connections for this mailbox.", _SLOWER, _MS_NDR),
    _smtp("432", r"4\.7\.12", "", LOGIN, _REAUTH, _BOX,
          "password_transition", "The server wants the password to be set anew for this way of signing in.",
          _SIGN_IN_AGAIN, "RFC 4954 section 4.7.12"),
    _smtp("538", r"", "", LOGIN, _PERMANENT, _BOX,
          "encryption_required", "The server wants an encrypted connection to sign in.",
          "Choose TLS or STARTTLS for this mailbox.", "RFC 4954 section 6"),
    _smtp("530", "", r"STARTTLS", _ANY, _PERMANENT, _BOX,
          "encryption_required", "The server wants an encrypted connection.",
          "Choose STARTTLS, or the port for TLS (465).", "RFC 3207 section 4"),
    _smtp("530", "", "", _ANY, _REAUTH, _BOX,
          "sign_in_required", "The server wants a sign-in before it takes mail.",
          "Check that this is the provider's submission port (587 or 465).", "RFC 4954 section 6"),
    _smtp("535", "", "", LOGIN, _REAUTH, _BOX,
          "bad_credentials", "The server refused user name and password, or the token.",
          _TYPE_AGAIN, "RFC 4954 section 6"),
    _smtp("50[0-4]", "", "", LOGIN, _PERMANENT, _BOX,
          "mechanism_unsupported", "The server does not know this way of signing in.",
          "Check host and port; some providers need OAuth.", "RFC 4954 section 4"),
    _smtp("4", "", "", LOGIN, _LATER, _BOX,
          "auth_unavailable", "The server cannot check sign-ins now.", _WAIT, "RFC 4954 section 6"),
    _smtp("5", "", "", LOGIN, _REAUTH, _BOX,
          "bad_credentials", "The server refused the sign-in.", _TYPE_AGAIN, "RFC 5321 section 4.2.1"),
    # -- limits of the sending account -----------------------------------------------------------
    _smtp("[45]", r"[45]\.4\.5", r"limit|quota", _ANY, _LIMIT, _BOX,
          "daily_limit", "The account has reached its provider's daily sending limit.", _SLOWER, _GOOGLE),
    _smtp("5", r"5\.1\.90", "", _ANY, _LIMIT, _BOX,
          "daily_limit", "The account has reached its provider's daily limit of recipients.", _SLOWER, _MS_NDR),
    _smtp("[45]", r"[45]\.(2\.0|4\.2|7\.\d+)", r"(sending|submission) (limit|quota|rate)|exceeded.{0,40}(messages|recipients)", _ANY, _LIMIT, _BOX,
          "sending_limit", "The account has reached a sending limit of its provider.", _SLOWER, _MS_NDR),
    _smtp("[45]", r"[45]\.7\.28", "", _ANY, _LIMIT, _BOX,
          "rate_unusual", "The provider sees an unusual rate of mail from this sender.", _SLOWER, _GOOGLE),
    _smtp("5", r"5\.1\.8", "", _ANY, _PERMANENT, _BOX,
          "provider_block", "The provider has blocked this account from sending (\"bad outbound sender\").",
          "Secure the account and unblock it with the provider, then resume.", _MS_NDR),
    _smtp("5", r"5\.7\.(705|708)", "", _ANY, _PERMANENT, _BOX,
          "provider_block", "The provider has blocked sending for this tenant or address.",
          "Ask the provider to lift the block, then resume.", _MS_NDR),
    _smtp("5", r"5\.(7\.60|2\.252)|5\.7\.1", r"send.?as|not (owned|allowed|permitted) (by|to) (the )?(user|send)|client does not have permissions", _ANY, _PERMANENT, _BOX,
          "sender_not_allowed", "The account may not send with this From address.",
          "Use the mailbox's own address, or grant it the right to send as this one.", _MS_NDR),
    _smtp("553", "", r"sender", frozenset({Stage.MAIL, Stage.RCPT}), _PERMANENT, _BOX,
          "sender_not_allowed", "The account may not send with this From address.",
          "Use the mailbox's own address.", "RFC 6409 section 6.1"),
    # -- the recipient ---------------------------------------------------------------------------
    _smtp("4", "", r"gr[ea]y.?list|postgrey|deferred.{0,30}(retry|try)", _ANY, _LATER, _RCPT,
          "greylisted", "The recipient's server delays mail from new senders.", _WAIT, "RFC 6647"),
    _smtp("45[02]", r"4\.2\.1", r"too quickly|rate", _ANY, _LATER, _RCPT,
          "recipient_rate", "The recipient gets mail faster than its provider lets in.", _WAIT, _GOOGLE),
    _smtp("452", r"4\.2\.2", "", _ANY, _LATER, _RCPT,
          "recipient_full", "The recipient's mailbox is full.", _WAIT, "RFC 3463 section 3.3"),
    _smtp("4", r"4\.5\.3", "", _ANY, _LATER, _MSG,
          "too_many_recipients", "The server takes fewer recipients at once.", _WAIT, "RFC 3463 section 3.6"),
    _smtp("4", r"4\.3\.1", "", _ANY, _LATER, _BOX,
          "server_full", "The server is short of space.", _WAIT, "RFC 3463 section 3.4"),
    _smtp("55[0-4]", r"5\.2\.2", "", _ANY, _PERMANENT, _RCPT,
          "recipient_full", "The recipient's mailbox is full.",
          "Write again only when the recipient has made room.", "RFC 3463 section 3.3"),
    _smtp("55[0-4]", r"5\.2\.1", "", _ANY, _PERMANENT, _RCPT,
          "recipient_disabled", "The recipient's mailbox is switched off.",
          "Do not write to it again.", "RFC 3463 section 3.3"),
    _smtp("55[0-4]", r"5\.1\.(1|6|10)", "", _ANY, _PERMANENT, _RCPT,
          "unknown_recipient", "There is no such recipient.",
          "Do not write to it again; check the address.", "RFC 3463 section 3.2"),
    _smtp("55[0-4]", r"5\.4\.1", "", ADDRESSING, _PERMANENT, _RCPT,
          "unknown_recipient", "The recipient's server does not know the address.",
          "Do not write to it again; check the address.", _MS_NDR),
    _smtp("55[0-4]", r"5\.(1\.2|4\.4)", "", _ANY, _PERMANENT, _RCPT,
          "unknown_domain", "The recipient's domain takes no mail.",
          "Do not write to it again; check the address.", "RFC 3463 section 3.2"),
    _smtp("5", r"5\.1\.3", "", _ANY, _PERMANENT, _RCPT,
          "bad_address", "The server does not accept the form of the recipient's address.",
          "Correct the address.", "RFC 3463 section 3.2"),
    _smtp("[45]", r"", r"relay(ing)? (access )?(is )?(denied|not permitted|not allowed)|unable to relay", _ANY, _PERMANENT, _BOX,
          "relay_denied", "The server does not send mail to others for this account.",
          "Check that this is the provider's submission server and that sign-in is on.", "RFC 5321 section 3.6.2"),
    _smtp("5", "", r"(user|recipient|mailbox|address|account).{0,40}(unknown|not found|does not exist|doesn't exist|not exist)|no such (user|recipient|mailbox)|unknown (user|recipient)|no mailbox here", ADDRESSING, _PERMANENT, _RCPT,
          "unknown_recipient", "There is no such recipient.",
          "Do not write to it again; check the address.", "RFC 5321 section 4.2.3"),
    # -- reputation and content ------------------------------------------------------------------
    _smtp("5", r"5\.7\.(515|23|24|25|26|27|29)", "", _ANY, _PERMANENT, _BOX,
          "sender_unauthenticated", "The recipient's provider found SPF, DKIM or DMARC of the sender wanting.",
          "Set up SPF, DKIM and DMARC for the sending domain.", "RFC 7372, and both large providers' sender rules"),
    _smtp("5", "", _BLOCKLIST, _ANY, _PERMANENT, _BOX,
          "blocklisted", "The recipient's server finds the sending address or domain on a blocklist.",
          "Look it up at the list named, have it removed there, and lower the volume.", "RFC 5782"),
    _smtp("4", "", _BLOCKLIST, _ANY, _LATER, _RCPT,
          "blocklisted", "The recipient's server finds the sending address or domain on a blocklist.",
          "If it repeats, look it up at the list named and have it removed there.", "RFC 5782"),
    _smtp("55[02]", r"5\.(3\.4|2\.3)", "", _ANY, _PERMANENT, _MSG,
          "message_too_big", "The message is larger than the server takes.",
          "Send a smaller message.", "RFC 3463 section 3.4, RFC 1870"),
    _smtp("552", "", r"size|too (big|large)", _ANY, _PERMANENT, _MSG,
          "message_too_big", "The message is larger than the server takes.",
          "Send a smaller message.", "RFC 1870 section 6"),
    _smtp("5", r"5\.7\.1", r"", CONTENT, _PERMANENT, _MSG,
          "policy_rejected", "The server's policy (often its spam filter) refused this message.",
          "Change text or links; the server's words may name the reason.", "RFC 3463 section 3.8"),
    _smtp("5", r"5\.7\.\d+", r"", ADDRESSING, _PERMANENT, _RCPT,
          "policy_rejected", "The recipient's server refuses mail from this sender by policy.",
          "Do not write to this recipient again.", "RFC 3463 section 3.8"),
    _smtp("5", r"5\.7\.\d+", r"", _ANY, _PERMANENT, _BOX,
          "policy_rejected", "A policy of the server refuses this sender.",
          "The server's words may name the reason; ask the provider.", "RFC 3463 section 3.8"),
    _smtp("5", r"5\.6\.\d+", "", _ANY, _PERMANENT, _MSG,
          "content_rejected", "The server cannot take this message's format.",
          "Send it as plain MIME text.", "RFC 3463 section 3.7"),
    # -- everything else, by class and stage -------------------------------------------------------
    _smtp("421", "", "", _ANY, _LATER, _BOX,
          "server_closing", "The server is busy and closed the connection.", _WAIT, "RFC 5321 section 3.8"),
    _smtp("4", "", "", ADDRESSING, _LATER, _RCPT,
          "recipient_later", "The recipient cannot be written to now.", _WAIT, "RFC 5321 section 4.2.1"),
    _smtp("4", "", "", CONTENT, _LATER, _MSG,
          "message_later", "The server cannot take the message now.", _WAIT, "RFC 5321 section 4.2.1"),
    _smtp("4", "", "", _ANY, _LATER, _BOX,
          "server_later", "The server cannot do this now.", _WAIT, "RFC 5321 section 4.2.1"),
    _smtp("554", "", "", BEFORE_LOGIN, _PERMANENT, _BOX,
          "server_refused", "The server does not talk to this machine.",
          "Check the host; the provider may block this machine's address.", "RFC 5321 section 3.1"),
    _smtp("50[0-4]", "", "", _ANY, _PERMANENT, _BOX,
          "command_unsupported", "The server did not understand a standard command.",
          "Check host and port.", "RFC 5321 section 4.2.4"),
    _smtp("5", "", "", ADDRESSING, _PERMANENT, _RCPT,
          "recipient_refused", "The server refused the recipient.",
          "Do not write to it again.", "RFC 5321 section 4.2.1"),
    _smtp("5", "", "", CONTENT, _PERMANENT, _MSG,
          "message_refused", "The server refused the message.",
          "The server's words may name the reason.", "RFC 5321 section 4.2.1"),
    _smtp("5", "", "", _ANY, _PERMANENT, _BOX,
          "server_refused", "The server refused.",
          "The server's words may name the reason.", "RFC 5321 section 4.2.1"),
    _smtp("", "", "", _ANY, _LATER, _BOX,
          "unexpected_reply", "The server answered out of turn.", _WAIT, "RFC 5321 section 4.2"),
)

_GMAIL_IMAP = "Google Workspace help, IMAP errors"
_EXCHANGE_IMAP = "Microsoft Learn, IMAP in Exchange Online"

IMAP_RULES: tuple[Rule, ...] = (
    # -- what a text says that the code does not ------------------------------------------------
    _imap("", r"application-specific password", _ANY, _REAUTH,
          "app_password_required", "Google wants an app password, not the account's own.",
          "Connect with OAuth, or make an app password in the Google account.", _GMAIL_IMAP),
    _imap("", r"web browser|web login required", _ANY, _REAUTH,
          "web_login_required", "The provider wants a sign-in by web browser first.",
          "Sign in to the mailbox in a browser, clear its security warning, then try again.", _GMAIL_IMAP),
    _imap("", r"IMAP (access )?(is )?(disabled|not enabled)|not enabled for IMAP", _ANY, _PERMANENT,
          "imap_disabled", "IMAP is switched off for this mailbox.",
          "Switch IMAP on in the mailbox's settings (or have an admin do so).", _GMAIL_IMAP),
    _imap("", r"basic authentication is (disabled|blocked)", _ANY, _REAUTH,
          "basic_auth_disabled", "The provider does not take passwords for this mailbox.",
          "Connect the mailbox with OAuth.", _EXCHANGE_IMAP),
    _imap("", r"too many (simultaneous |concurrent )?(connections|sessions)|maximum number of connections|connection limit|mail_max_userip", _ANY, _LIMIT,
          "too_many_connections", "The provider limits connections for this mailbox.",
          "Close other mail programs of this mailbox, or wait.", f"{_GMAIL_IMAP}; Dovecot"),
    _imap("", r"bandwidth limit|exceeded command", _ANY, _LIMIT,
          "bandwidth_limit", "The mailbox has used up its provider's traffic for now.", _SLOWER, _GMAIL_IMAP),
    _imap("", r"throttled|rate limit|too many (login|authentication|auth)|try again later.{0,40}login", _ANY, _LIMIT,
          "throttled", "The provider slows this mailbox down.", _SLOWER, _EXCHANGE_IMAP),
    _imap("", r"authenticated but not connected", _ANY, _LATER,
          "server_later", "The provider could not open the mailbox now.", _WAIT, _EXCHANGE_IMAP),
    _imap("", r"server unavailable", _ANY, _LATER,
          "server_later", "The server is not available now.", _WAIT, _EXCHANGE_IMAP),
    # -- RFC 5530 and friends --------------------------------------------------------------------
    _imap("UNAVAILABLE|THROTTLED|SERVERBUG|INUSE", "", _ANY, _LATER,
          "server_later", "The server cannot do this now.", _WAIT, "RFC 5530 section 3"),
    _imap("AUTHENTICATIONFAILED", "", _ANY, _REAUTH,
          "bad_credentials", "The server refused user name and password, or the token.",
          _TYPE_AGAIN, "RFC 5530 section 3"),
    _imap("AUTHORIZATIONFAILED", "", _ANY, _REAUTH,
          "not_authorized", "The account may not open this mailbox.", _SIGN_IN_AGAIN, "RFC 5530 section 3"),
    _imap("EXPIRED", "", _ANY, _REAUTH,
          "credentials_expired", "The password or token has expired.", _SIGN_IN_AGAIN, "RFC 5530 section 3"),
    _imap("PRIVACYREQUIRED", "", _ANY, _PERMANENT,
          "encryption_required", "The server wants an encrypted connection.",
          "Choose TLS or STARTTLS for this mailbox.", "RFC 5530 section 3"),
    _imap("CONTACTADMIN", "", _ANY, _PERMANENT,
          "contact_admin", "The provider wants its administrator to be asked.",
          "Contact the mail provider.", "RFC 5530 section 3"),
    _imap("NOPERM", "", _ANY, _PERMANENT,
          "no_permission", "The account may not do this in that folder.",
          "Check the folder's access rights.", "RFC 5530 section 3"),
    _imap("EXPUNGEISSUED", "", _ANY, _LATER,
          "message_gone", "Another program deleted messages meanwhile.", _WAIT, "RFC 5530 section 3"),
    _imap("CORRUPTION", "", _ANY, _PERMANENT,
          "mailbox_corrupt", "The server's copy of the mailbox is damaged.",
          "Contact the mail provider.", "RFC 5530 section 3"),
    _imap("LIMIT", "", _ANY, _LIMIT,
          "server_limit", "A limit of the server was reached.", _SLOWER, "RFC 5530 section 3"),
    _imap("OVERQUOTA", "", _ANY, _PERMANENT,
          "mailbox_full", "The mailbox is full.", "Make room in the mailbox.", "RFC 5530 section 3"),
    _imap("NONEXISTENT|TRYCREATE", "", _ANY, _PERMANENT,
          "no_such_folder", "There is no such folder.",
          "The folder may have been renamed; test the mailbox again.", "RFC 5530 section 3, RFC 3501"),
    _imap("ALREADYEXISTS", "", _ANY, _PERMANENT,
          "folder_exists", "A folder of that name exists.", "Use the existing folder.", "RFC 5530 section 3"),
    _imap("CLIENTBUG|CANNOT|BADCHARSET|PARSE", "", _ANY, _PERMANENT,
          "command_refused", "The server does not do what was asked.",
          "Please report this with the server's name.", "RFC 5530 section 3"),
    # -- everything else ---------------------------------------------------------------------------
    _imap("BYE", "", _ANY, _LATER,
          "server_closing", "The server closed the connection.", _WAIT, "RFC 3501 section 7.1.5"),
    _imap("BAD", "", _ANY, _PERMANENT,
          "command_refused", "The server did not understand a standard command.",
          "Check host and port.", "RFC 3501 section 7.1.3"),
    _imap("", "", LOGIN, _REAUTH,
          "bad_credentials", "The server refused the sign-in.", _TYPE_AGAIN, "RFC 3501 section 6.2"),
    _imap("", "", frozenset({Stage.SELECT, Stage.STATUS}), _PERMANENT,
          "no_such_folder", "The folder cannot be opened.",
          "The folder may have been renamed; test the mailbox again.", "RFC 3501 section 6.3.1"),
    _imap("", "", _ANY, _LATER,
          "server_later", "The server could not do it.", _WAIT, "RFC 3501 section 7.1.2"),
)
# fmt: on


RULES = SMTP_RULES + IMAP_RULES
