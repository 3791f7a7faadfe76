"""Invitations: opaque, stored as SHA-256, expiring, used once.

The link alone shows what it is about; it makes somebody a member only when they accept it, signed
in, with a verified address that is the invited one (unless the inviter let any address do). One
address has one open invitation in a workspace; inviting it again replaces the one before. Whoever
loses the right to invite has their open invitations withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
from email_validator import EmailNotValidError, validate_email

from mailhearth_core.access import Permission, Role, gives
from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError, NotFound
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.members import NotAllowed, held
from mailhearth_core.verbs.people import Person

SQL = named("people")

LIFE = timedelta(days=7)
MOST_OPEN = 200
"""Open invitations of one workspace."""


class InvitationGone(NotFound):
    """The invitation was used, withdrawn or has expired, or never was."""

    code = "invitation_gone"


class OtherAddress(MailhearthError):
    """The invitation is for a verified address that none of the person's sign-ins has."""

    code = "other_address"


@dataclass(frozen=True)
class Invitation:
    """An open invitation, or one that expired and is not forgotten yet; never its token."""

    id: UUID
    email: str
    any_address: bool
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Invited:
    """What an invitation says to whoever holds it."""

    workspace_id: UUID
    workspace: str
    email: str
    any_address: bool
    role: Role
    invited_by: str
    expires_at: datetime


def create(
    database: Database,
    workspace_id: UUID,
    person: Person,
    email: str,
    role: Role,
    token_hash: bytes,
    *,
    any_address: bool = False,
    now: datetime,
    life: timedelta = LIFE,
) -> UUID:
    """Invites an address; returns the invitation's id.

    Raises:
        InvalidValue: that is no address.
        NotFound, NotAllowed: see `members.held`; only owners invite owners.
        Conflict: too many invitations are open, or the workspace is being deleted.
    """
    address = check_address(email)
    with held(database, workspace_id, person, Permission.MANAGE_MEMBERS) as (conn, roles):
        if role not in gives(roles[person.id]):
            raise NotAllowed("Only an owner may invite an owner.", hint="Choose another role.")
        made: UUID | None = SQL.invite(
            conn,
            workspace_id=workspace_id,
            invited_by=person.id,
            email=address,
            role=role.value,
            any_address=any_address,
            token_hash=token_hash,
            most=MOST_OPEN,
            now=now,
            expires_at=now + life,
        )
    if made is None:
        raise Conflict(
            f"No more than {MOST_OPEN} invitations may be open, and none where a workspace ends.",
            hint="Withdraw some that nobody will accept.",
        )
    return made


def check_address(email: str) -> str:
    """An address, in lower case.

    Raises:
        InvalidValue: it is none.
    """
    try:
        return validate_email(
            email.strip(), check_deliverability=False, test_environment=True
        ).normalized.lower()
    except EmailNotValidError:
        raise InvalidValue("email", email, "an address, as in ann@example.com") from None


def listing(database: Database, workspace_id: UUID) -> list[Invitation]:
    """A workspace's invitations, the newest first. The caller has checked who asks."""
    with database.tx() as conn:
        rows = SQL.invitations(conn, workspace_id=workspace_id)
        return [Invitation(**row | {"role": Role(row["role"])}) for row in rows]


def revoke(
    database: Database, workspace_id: UUID, person: Person, invitation_id: UUID, *, now: datetime
) -> None:
    """Withdraws an invitation.

    Raises:
        InvitationGone: it is not open any more.
        NotFound, NotAllowed: see `members.held`.
    """
    with held(database, workspace_id, person, Permission.MANAGE_MEMBERS) as (conn, _):
        gone = SQL.withdraw_invitation(
            conn,
            workspace_id=workspace_id,
            invitation_id=invitation_id,
            actor=person.called,
            now=now,
        )
    if not gone:
        raise InvitationGone("That invitation is not open any more.")


def look(database: Database, token_hash: bytes, *, now: datetime) -> Invited:
    """What an invitation is about.

    Raises:
        InvitationGone: it does not hold (any more).
    """
    with database.tx() as conn:
        row = SQL.look_at_invitation(conn, token_hash=token_hash, now=now)
    if row is None:
        raise _gone()
    return Invited(**row | {"role": Role(row["role"])})


def accept(database: Database, token_hash: bytes, person: Person, *, now: datetime) -> UUID:
    """Makes a person a member, once; returns the workspace.

    Raises:
        InvitationGone: it does not hold (any more).
        OtherAddress: it is for another address.
        Conflict: they are a member already.
    """
    try:
        with database.tx() as conn:
            row = SQL.accept_invitation(conn, token_hash=token_hash, user_id=person.id, now=now)
    except psycopg.errors.ForeignKeyViolation:  # the account or the workspace ended meanwhile
        raise _gone() from None
    outcome, workspace_id = row["outcome"], row["workspace_id"]
    if outcome == "gone":
        raise _gone()
    if outcome == "address":
        raise OtherAddress(
            "This invitation is for another address, or your provider has not verified yours.",
            hint="Sign in with the address that was invited, or ask for another invitation.",
        )
    if outcome == "member":
        raise Conflict("You are in this workspace already.", code="already_member")
    joined: UUID = workspace_id
    return joined


def _gone() -> InvitationGone:
    return InvitationGone(
        "This invitation was used, withdrawn or has expired.", hint="Ask for a new one."
    )
