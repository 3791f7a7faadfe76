"""People as rows: made by the web's own verbs, on a test's installation."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from database import ACTOR, TestInstallation
from mailhearth_core.access import Role
from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs import members, people
from mailhearth_core.verbs.people import Person

NOW = datetime.combine(datetime.now(UTC).date() + timedelta(days=2), time(12), UTC)
"""Machine time of these tests, passed in everywhere: after all that the clock itself stamps."""
ISSUER = "https://issuer.test"
OTHER_ISSUER = "https://other.test"


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class People:
    """Signs people in and puts them into workspaces."""

    def __init__(self, installation: TestInstallation) -> None:
        self.installation = installation
        self._subjects = itertools.count(1)

    @property
    def web(self) -> Database:
        return self.installation.database("web")

    def person(
        self,
        email: str,
        *,
        issuer: str = ISSUER,
        subject: str | None = None,
        verified: bool = True,
        registration_open: bool = True,
        invitation: bytes | None = None,
        now: datetime = NOW,
    ) -> Person:
        """Signs somebody in; without a subject a new one."""
        return people.sign_in(
            self.web,
            issuer,
            subject or f"sub-{next(self._subjects)}",
            email=email,
            email_verified=verified,
            name=email.split("@")[0].title(),
            now=now,
            registration_open=registration_open,
            invitation=invitation,
        )

    def member(self, workspace_id: UUID, email: str, role: Role | str) -> Person:
        """Somebody new in a workspace."""
        made = self.person(email)
        members.put(
            self.installation.database("cli"), workspace_id, made.id, Role(role), ACTOR, now=NOW
        )
        return made

    def roles(self, workspace_id: UUID) -> dict[str, str]:
        found = members.listing(self.web, workspace_id)
        return {member.email: member.role.value for member in found}

    def events(self, workspace_id: UUID | None = None) -> list[str]:
        """The actions of a chain, oldest first; of the platform's without a workspace."""
        rows = (
            self.installation.rows("SELECT action FROM platform_audit_events ORDER BY at, id")
            if workspace_id is None
            else self.installation.rows(
                "SELECT action FROM audit_events WHERE workspace_id = %s ORDER BY at, id",
                workspace_id,
            )
        )
        return [row["action"] for row in rows]


def later(**parts: int) -> datetime:
    return NOW + timedelta(**parts)
