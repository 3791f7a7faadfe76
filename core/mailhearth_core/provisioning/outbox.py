"""The outbox served: each open wish carried out once, refused with a sentence, or left waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named

log = structlog.get_logger()
SQL = named("operator")
CHANNEL = "mailhearth_commands"
"""Postgres tells of new wishes on it (LISTEN); an announcement may be missed."""

Command = Mapping[str, Any]
"""A row of `commands`: workspace_id, id, kind, subject_id, payload, seen_generation, actor."""


def serve(database: Database, carry_out: Callable[[Command], str]) -> int:
    """Carries out what is open, oldest first; returns how many wishes ended.

    A wish that cannot be carried out yet (an error that is not permanent) stays open.

    Args:
        carry_out: returns what to tell of the outcome.
    """
    with database.tx() as conn:
        commands = list(SQL.open_commands(conn))
    return sum(_fulfil(database, carry_out, command) for command in commands)


def mapping(value: object) -> dict[str, Any]:
    """Raises TypeError when it is anything else: a payload is whatever somebody wrote."""
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {value!r}")
    return value


def _fulfil(database: Database, carry_out: Callable[[Command], str], command: Command) -> int:
    try:
        outcome = carry_out(command)
        state = "done"
    except MailhearthError as error:
        if not error.permanent:
            log.warning("wish_waits", kind=command["kind"], reason=error.message)
            return 0
        outcome, state = str(error), "refused"
    except (psycopg.DataError, LookupError, TypeError, ValueError) as error:
        # Whoever holds the web's login can write any payload; it must not stop the others.
        outcome, state = f"The wish is malformed: {error!r}.", "refused"
    with database.tx() as conn:
        list(
            SQL.finish_command(
                conn,
                workspace_id=command["workspace_id"],
                id=command["id"],
                state=state,
                outcome=outcome,
                at=datetime.now(UTC),
            )
        )
    log.info("wish_ended", kind=command["kind"], state=state, outcome=outcome)
    return 1
