"""Sessions: rows behind opaque tokens, of which only the SHA-256 is stored.

Two lifetimes hold: an idle one, given at each look, and an absolute one, given at the start. A
token is never carried over: signing in makes another session and ends the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.people import Person

SQL = named("people")

MAX_DATA = 32_768
"""Bytes of JSON that a session may hold; the database refuses more."""


@dataclass(frozen=True)
class Session:
    """A session that holds.

    Args:
        person: None for a visitor who is signing in.
        signed_in_at: when they last proved who they are; None for a visitor.
        seen_at: of the last look, to the minute.
        expires_at: its absolute end.
    """

    id: UUID
    person: Person | None
    data: dict[str, Any]
    created_at: datetime
    seen_at: datetime
    signed_in_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True)
class SessionLine:
    """A session as its owner sees it in a list; `agent` is whatever the browser said."""

    id: UUID
    created_at: datetime
    signed_in_at: datetime
    seen_at: datetime
    expires_at: datetime
    ip: str
    agent: str


def create(
    database: Database,
    token_hash: bytes,
    user_id: UUID | None,
    data: dict[str, Any],
    *,
    now: datetime,
    expires_at: datetime,
    ip: str,
    agent: str,
) -> UUID:
    """Stores a new session; with a person it counts as signed in from now."""
    with database.tx() as conn:
        made: UUID = SQL.create_session(
            conn,
            token_hash=token_hash,
            user_id=user_id,
            data=Jsonb(data),
            ip=ip,
            agent=agent,
            now=now,
            expires_at=expires_at,
        )
    return made


def find(
    database: Database, token_hash: bytes, *, now: datetime, idle: timedelta
) -> Session | None:
    """The session of a token with its person, in one query; None when it is unknown or over."""
    with database.tx() as conn:
        row = SQL.find_session(conn, token_hash=token_hash, now=now, idle=idle)
    if row is None:
        return None
    person = (
        Person(row["user_id"], row["email"], row["name"], row["is_admin"])
        if row["user_id"]
        else None
    )
    return Session(
        id=row["id"],
        person=person,
        data=row["data"],
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        signed_in_at=row["signed_in_at"],
        expires_at=row["expires_at"],
    )


def save(database: Database, session_id: UUID, data: dict[str, Any]) -> bool:
    """Replaces what a session holds; False when it was ended meanwhile."""
    with database.tx() as conn:
        return bool(SQL.save_session(conn, session_id=session_id, data=Jsonb(data)))


def end(
    database: Database,
    session_id: UUID,
    *,
    user_id: UUID | None = None,
    now: datetime | None = None,
) -> bool:
    """Ends one session; False when it is gone already.

    Args:
        user_id: ends it only if it is this person's: for an id that came from a browser.
    """
    with database.tx() as conn:
        ended = SQL.end_sessions(
            conn, session_id=session_id, user_id=user_id, but=None, now=now or datetime.now(UTC)
        )
    return bool(ended)


def end_all(
    database: Database, user_id: UUID, *, but: UUID | None = None, now: datetime | None = None
) -> int:
    """Ends every session of a person, except `but`; returns how many."""
    with database.tx() as conn:
        return int(
            SQL.end_sessions(
                conn, session_id=None, user_id=user_id, but=but, now=now or datetime.now(UTC)
            )
        )


def listing(
    database: Database,
    user_id: UUID,
    *,
    now: datetime | None = None,
    idle: timedelta = timedelta(days=3650),
) -> list[SessionLine]:
    """A person's sessions that hold, the last used first."""
    with database.tx() as conn:
        rows = SQL.sessions(conn, user_id=user_id, now=now or datetime.now(UTC), idle=idle)
        return [SessionLine(**row) for row in rows]
