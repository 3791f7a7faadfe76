"""One family of errors, mapped once each to exit codes, HTTP, RQ retry and Kopf.

Every error carries `code` (stable, for machines), `permanent` (whether trying again unchanged can
help) and a message for a person that says what was wrong, where, and what to do next. A message
never holds a credential.
"""

from __future__ import annotations


class MailhearthError(Exception):
    """Base of all errors a caller may meet and a user may read.

    Args:
        message: what was wrong and where, in one line.
        hint: what to do next, in one line; may be empty.
        code: a stable machine code; defaults to the class's own.
    """

    code: str = "error"
    permanent: bool = True

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidValue(MailhearthError):
    """A value from outside is not allowed: names the field, the value and what is allowed."""

    code = "invalid_value"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed; allowed: {allowed}.")
        self.field = field
        self.value = value
        self.allowed = allowed


class NotFound(MailhearthError):
    """What was asked for does not exist, or not in this workspace."""

    code = "not_found"


class Conflict(MailhearthError):
    """The change contradicts what is there (a name taken, a stale generation)."""

    code = "conflict"


class KeysMissing(MailhearthError):
    """The private key of a known key version is absent or differs; never made anew silently."""

    code = "keys_missing"


class NotYet(MailhearthError):
    """Not possible now, but later without anybody's doing (an unknown key version, a busy row)."""

    code = "try_later"
    permanent = False


class ServiceUnavailable(MailhearthError):
    """A service this process needs (Postgres, Valkey, a mail server) cannot be reached."""

    code = "unavailable"
    permanent = False
