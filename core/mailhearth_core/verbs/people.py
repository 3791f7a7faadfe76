"""People: sign-in, their identities, their account's end.

A person is known by identities, each `(issuer, subject)` of an OpenID provider. An e-mail address
is something an issuer says: it never finds a person and never joins two identities.

Who has no identity here yet comes in by one of three ways only: registration is open, they hold an
invitation that they could accept (`invitations`), or a one-time local link (`local_link`).
Being the first person of a fresh installation is no way in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from mailhearth_core.errors import Conflict, MailhearthError, NotFound
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.wishes import Actor

SQL = named("people")
ADMINS = named("admins")

LOCAL_ISSUER = "local"
"""The issuer of the one-time links: this machine's own person is its subject `owner`."""
MAX_NAME = 200
MAX_ADDRESS = 320


class RegistrationClosed(MailhearthError):
    """Somebody unknown signed in without an invitation where registration is closed."""

    code = "registration_closed"


class LinkUsed(MailhearthError):
    """A one-time link was used before, has expired, or never was."""

    code = "link_used"


class LastOwner(Conflict):
    """A workspace would be left without an owner.

    Args:
        workspaces: their names.
    """

    code = "last_owner"

    def __init__(self, workspaces: list[str]) -> None:
        names = ", ".join(workspaces)
        super().__init__(
            f"You are the only owner of {names}." if names else "A workspace needs an owner.",
            hint="Make somebody else an owner first, or delete the workspace.",
        )
        self.workspaces = workspaces


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in.

    Args:
        email: as the issuer of their first identity gives it; may be empty.
        is_admin: administers the installation; gives no workspace.
    """

    id: UUID
    email: str
    name: str
    is_admin: bool

    @property
    def called(self) -> str:
        """What the audit trail calls them."""
        return self.email or str(self.id)

    @property
    def actor(self) -> Actor:
        return Actor(self.called, "web")


@dataclass(frozen=True)
class Identity:
    id: UUID
    issuer: str
    subject: str
    email: str
    email_verified: bool
    created_at: datetime
    signed_in_at: datetime


def sign_in(
    database: Database,
    issuer: str,
    subject: str,
    *,
    email: str,
    email_verified: bool,
    name: str,
    now: datetime,
    registration_open: bool,
    invitation: bytes | None = None,
    ip: str = "",
) -> Person:
    """The person of an identity that an issuer has just vouched for; made at the first time.

    Args:
        invitation: SHA-256 of an invitation's token that they hold. It lets them in where they
            could accept it; it is not accepted by that.
    Raises:
        RegistrationClosed: they are unknown and have no way in.
    """
    with database.tx() as conn:
        row = SQL.sign_in(
            conn,
            issuer=issuer,
            subject=subject,
            email=_address(email),
            verified=email_verified,
            name=_line(name)[:MAX_NAME],
            registration_open=registration_open,
            invitation=invitation,
            ip=ip,
            now=now,
        )
    if row is None:
        raise RegistrationClosed(
            "This account is not known here, and registration is closed.",
            hint="Ask for an invitation, and open it before you sign in.",
        )
    return Person(**row)


def sign_in_failed(
    database: Database, issuer: str, reason: str, *, now: datetime, ip: str = ""
) -> None:
    """Records a sign-in that was refused; `reason` is a word or two of ours, never the issuer's."""
    with database.tx() as conn:
        SQL.sign_in_failed(conn, issuer=issuer, reason=reason, ip=ip, now=now)


def find(database: Database, user_id: UUID) -> Person:
    """
    Raises:
        NotFound: their account is gone.
    """
    with database.tx() as conn:
        row = SQL.person(conn, user_id=user_id)
    if row is None:
        raise NotFound("There is no such account any more.")
    return Person(**row)


def identities(database: Database, user_id: UUID) -> list[Identity]:
    """With what a person signs in, oldest first."""
    with database.tx() as conn:
        return [Identity(**row) for row in SQL.identities(conn, user_id=user_id)]


def link(
    database: Database,
    user_id: UUID,
    issuer: str,
    subject: str,
    *,
    email: str,
    email_verified: bool,
    now: datetime,
) -> None:
    """Adds an identity to a person, who must just have signed in with it and with one they have.

    Raises:
        Conflict: the identity is another person's.
    """
    with database.tx() as conn:
        linked = SQL.link(
            conn,
            user_id=user_id,
            issuer=issuer,
            subject=subject,
            email=_address(email),
            verified=email_verified,
            now=now,
        )
    if not linked:
        raise Conflict(
            "That sign-in belongs to another account here.",
            hint="Sign in with it and delete that account first; accounts are never joined.",
            code="identity_taken",
        )


def unlink(database: Database, user_id: UUID, identity_id: UUID, *, now: datetime) -> None:
    """Takes an identity from a person.

    Raises:
        Conflict: it is their only one, or not theirs.
    """
    with database.tx() as conn:
        if SQL.unlink(conn, user_id=user_id, identity_id=identity_id, now=now):
            return
    raise Conflict(
        "The only way to sign in to an account cannot be removed.",
        hint="Add another one first, or delete the account.",
        code="last_identity",
    )


def delete_account(database: Database, user_id: UUID, *, now: datetime) -> None:
    """Removes a person with every row and every mention of them.

    Ledgers and wishes say `deleted account` instead, the audit trail keeps its digests, and the
    invitations they made are withdrawn. Mailboxes are a workspace's, whatever their address.

    Raises:
        LastOwner: with the workspaces that would be left without an owner.
        NotFound: the account is gone already.
    """
    with database.tx() as conn:
        left: list[str] | None = SQL.delete_account(conn, user_id=user_id, now=now)
    if left is None:
        raise NotFound("There is no such account any more.")
    if left:
        raise LastOwner(left)


def local_link(
    database: Database,
    user_id: UUID | None,
    token_hash: bytes,
    *,
    actor: Actor,
    now: datetime,
    expires_at: datetime,
) -> UUID:
    """Makes a one-time link for a person, by the login `cli`; returns whose it is.

    Args:
        user_id: None is this machine's own person. They are made here, administer the
            installation, and own the workspaces that nobody owns.
    Raises:
        NotFound: there is no such person.
    """
    with database.tx() as conn:
        person: UUID | None = ADMINS.make_local_link(
            conn,
            user_id=user_id,
            token_hash=token_hash,
            actor=actor.name,
            now=now,
            expires_at=expires_at,
        )
    if person is None:
        raise NotFound(f"There is no person {user_id}.")
    return person


def use_local_link(database: Database, token_hash: bytes, *, now: datetime, ip: str = "") -> Person:
    """The person of a one-time link, which is spent by this.

    Raises:
        LinkUsed: it does not hold (any more).
    """
    with database.tx() as conn:
        row = SQL.use_local_link(conn, token_hash=token_hash, ip=ip, now=now)
    if row is None:
        raise LinkUsed(
            "This link was used already, or it has expired.",
            hint="`mailhearth sign-in link` makes another one.",
        )
    return Person(**row)


def lookup(
    database: Database, word: str = "", *, issuer: str | None = None, subject: str | None = None
) -> dict[str, Any]:
    """The one person whom an address, an id, or an issuer and subject mean; by the login `cli`.

    Raises:
        NotFound, Conflict: nobody; several, who are named with ids and issuers.
    """
    with database.tx() as conn:
        rows = list(ADMINS.find_people(conn, word=word, issuer=issuer, subject=subject))
    if not rows:
        whom = f"{subject} of {issuer}" if issuer else word
        raise NotFound(
            f"Nobody here is {whom!r}.", hint="A person is known once they have signed in."
        )
    if len(rows) > 1:
        several = "; ".join(f"{row['id']} ({row['subject']} of {row['issuer']})" for row in rows)
        raise Conflict(
            f"{len(rows)} people have the address {word}: {several}.",
            hint="Name one by id.",
            code="ambiguous",
        )
    found: dict[str, Any] = rows[0]
    return found


def _address(email: str) -> str:
    """An issuer's claim as we keep it: in lower case; empty where it cannot be an address."""
    address = _line(email).lower()
    return address if len(address) <= MAX_ADDRESS else ""


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()
