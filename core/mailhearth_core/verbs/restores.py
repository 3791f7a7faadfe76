"""Saying that the database was restored from a backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Database, one
from mailhearth_core.verbs.wishes import Actor


@dataclass(frozen=True)
class Restored:
    """The generation of the database from now on, and the (business) time before which nothing that
    was due is sent."""

    generation: int
    restored_at: datetime


def announce(database: Database, actor: Actor) -> Restored:
    """To be called after a restore, before schedulers and workers start."""
    with database.tx() as conn:
        row = conn.execute(
            "SELECT * FROM steward.restored(%s, %s)", (business_now(conn), actor.name)
        ).fetchone()
    return Restored(**one(row))
