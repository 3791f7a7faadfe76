"""Noticing that the database was put back to an older state without anybody saying so.

What was sent since a backup was made is not in it, so a scheduler that went on from there would
send it again. Each scheduler keeps, outside the database, the generation and the beat that it saw
last; a database that is behind that copy is a restored one, until `mailhearth restored` gives it a
new generation.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.installation import unprepared
from mailhearth_core.storage.named import named

log = structlog.get_logger()
SQL = named("scheduler")

FILE = "generation.json"
EVERY_S = 5.0
"""Machine seconds between two beats; a backup younger than this is not told from the present."""


class DatabaseRestored(MailhearthError):
    """The database is behind what was seen of it; nothing may be sent from it."""

    code = "database_restored"


@dataclass(frozen=True)
class Seen:
    """What was read of the database, and what of it lies in the file."""

    installation: str
    generation: int
    beat: int


class GenerationCopy:
    """The copy in `<folder>/generation.json`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._checked: float | None = None

    def check(self, database: Database) -> None:
        """Counts the database's beat on and compares; cheap to call in each pass.

        Raises:
            DatabaseRestored: the database is older than the copy.
            ServiceUnavailable: it does not answer.
        """
        now = time.monotonic()
        if self._checked is not None and now - self._checked < EVERY_S:
            return
        kept = self._read()  # before the beat: another replica may share the folder
        with database.tx() as conn:
            row = SQL.beat(conn)
            if row is None:
                raise unprepared()
            found = Seen(str(row["id"]), row["generation"], row["beat"])
            _compare(kept, found)  # raises before the beat is committed
        self._write(found)
        self._checked = now

    def _read(self) -> Seen | None:
        try:
            return Seen(**json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            log.error("generation_copy_unreadable", path=str(self._path))
            return None

    def _write(self, seen: Seen) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._path.with_suffix(".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump(asdict(seen), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _compare(kept: Seen | None, found: Seen) -> None:
    """`found` counts one more beat than what was seen before, unless it is of an older state."""
    if kept is None or kept.installation != found.installation:
        return
    if (found.generation, found.beat) <= (kept.generation, kept.beat):
        raise DatabaseRestored(
            "The database is older than it was: it seems to come from a backup.",
            hint="Run `mailhearth restored`, so that nothing is sent a second time.",
        )
    if found.generation > kept.generation:
        log.warning("database_was_restored", generation=found.generation)
