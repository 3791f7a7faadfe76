"""Who is asking, and for which workspace: the current request's visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import g, session

from mailhearth_core.verbs.wishes import Actor

if TYPE_CHECKING:
    from mailhearth_core.verbs.members import Place
    from mailhearth_core.verbs.people import Person
    from mailhearth_core.verbs.sessions import Session


@dataclass
class Visit:
    """One request's.

    Args:
        person: None when nobody has signed in.
        session: the stored session; None for a visitor who has none.
        place: the workspace of the page and the person's role in it, once `allow` has looked.
    """

    person: Person | None
    session: Session | None
    place: Place | None = None

    @property
    def actor(self) -> Actor:
        """Who does it, for the audit trail and the consent ledger."""
        assert self.person is not None
        return self.person.actor


def visit() -> Visit:
    """The current request's; the session is looked up at the first call."""
    found: Visit | None = g.get("mailhearth_visit")
    if found is None:
        stored = getattr(session, "stored", None)
        found = Visit(person=stored.person if stored else None, session=stored)
        g.mailhearth_visit = found
    return found


def forget_visit() -> None:
    """After the session has changed hands within a request."""
    g.pop("mailhearth_visit", None)
