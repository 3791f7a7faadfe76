"""Values and errors of the mail layer: endpoints, logins, and what can go wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret

__all__ = [
    "Endpoint",
    "FailureKind",
    "Login",
    "MailError",
    "Mechanism",
    "OutcomeUnknown",
    "Scope",
    "Secret",
    "Stage",
    "TlsMode",
]


class TlsMode(StrEnum):
    """How a connection is protected. `none` is only accepted towards loopback addresses."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a mail service listens.

    `ca_pem`, when given, replaces the system's certificate authorities for this endpoint.
    """

    host: str
    port: int
    tls: TlsMode
    ca_pem: str | None = None

    def __post_init__(self) -> None:
        if not self.host or any(c.isspace() or ord(c) < 33 for c in self.host):
            raise InvalidValue("host", self.host, "a host name or an IP address")
        if not 0 < self.port < 65536:
            raise InvalidValue("port", self.port, "1 to 65535")


class Mechanism(StrEnum):
    """What the secret of a login is."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind, not a password
    OAUTH = "oauth"


@dataclass(frozen=True, slots=True)
class Login:
    """Who signs in. With `oauth` the secret is an access token that is valid now."""

    username: str
    secret: Secret
    mechanism: Mechanism = Mechanism.PASSWORD

    def __post_init__(self) -> None:
        if not self.username or _has_control(self.username):
            raise InvalidValue("username", self.username, "text without control characters")
        if not self.secret.reveal() or _has_control(self.secret.reveal()):
            raise InvalidValue("secret", "(hidden)", "text without control characters")


def _has_control(text: str) -> bool:
    return any(ord(c) < 32 or ord(c) == 127 for c in text)


class FailureKind(StrEnum):
    """What the caller should do about a failure; every mail error has exactly one."""

    TRY_LATER = "try_later"
    REAUTHENTICATE = "reauthenticate"
    PROVIDER_LIMIT = "provider_limit"
    PERMANENT = "permanent"


class Scope(StrEnum):
    """What a failure is about: the whole mailbox, this recipient, or this message."""

    MAILBOX = "mailbox"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class Stage(StrEnum):
    """The step that failed (or, for a probe, the step that was reached)."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    LOGIN = "login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"
    RESET = "reset"
    LIST = "list"
    STATUS = "status"
    SELECT = "select"
    SEARCH = "search"
    FETCH = "fetch"
    STORE = "store"
    MOVE = "move"
    EXPUNGE = "expunge"
    CREATE = "create"


class MailError(MailhearthError):
    """A mail server, or the way to it, refused or failed.

    `server_text` is the server's own words, cleaned (one line, printable, at most 300 characters,
    any credential blanked). `permanent` follows `kind`: try_later and provider_limit pass by
    themselves, the others do not.
    """

    code = "mail_error"

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        stage: Stage,
        scope: Scope = Scope.MAILBOX,
        code: str = "mail_error",
        hint: str = "",
        reply_code: int | None = None,
        enhanced: str | None = None,
        server_text: str = "",
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.kind = kind
        self.stage = stage
        self.scope = scope
        self.reply_code = reply_code
        self.enhanced = enhanced
        self.server_text = server_text
        self.permanent = kind in (FailureKind.REAUTHENTICATE, FailureKind.PERMANENT)


class OutcomeUnknown(MailError):
    """The final dot may have reached the server, but no reply came: never send this mail again."""

    def __init__(self, message: str, *, server_text: str = "") -> None:
        super().__init__(
            message,
            kind=FailureKind.TRY_LATER,
            stage=Stage.DOT,
            scope=Scope.MESSAGE,
            code="outcome_unknown",
            hint="Look for it in the recipient's mailbox and in Sent; do not send it again.",
            server_text=server_text,
        )
