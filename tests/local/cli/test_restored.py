"""`mailhearth restored` beside services that run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from mailhearth_core.storage.doors import Database
from mailhearth_worker.scheduler.generation import DatabaseRestored, GenerationCopy

Cli = Any  # tests/local/cli/conftest.py: CommandLine
Services = Any


def test_a_scheduler_that_met_an_older_database_goes_on_once_it_is_said(
    cli: Cli, services: Services, tmp_path: Path
) -> None:
    database = Database(services.stack.urls.scheduler)
    owner = psycopg.connect(
        services.stack.urls.owner.reveal(), autocommit=True, row_factory=dict_row
    )
    try:
        GenerationCopy(tmp_path).check(database)
        GenerationCopy(tmp_path).check(database)
        owner.execute("UPDATE mailhearth.installation SET beat = 0")  # as an old backup has it
        with pytest.raises(DatabaseRestored):
            GenerationCopy(tmp_path).check(database)

        before = datetime.now(UTC)
        first = cli.ok("restored")
        assert set(first) == {"generation", "restored_at"}
        at = datetime.fromisoformat(first["restored_at"])
        assert before - timedelta(seconds=1) <= at <= datetime.now(UTC)
        kept = owner.execute(
            "SELECT generation, restored_at FROM mailhearth.installation"
        ).fetchone()
        assert kept == {"generation": first["generation"], "restored_at": at}
        GenerationCopy(tmp_path).check(database)

        # Said once more it moves on, and never back.
        answer = cli("restored")
        assert (answer.code, answer.err) == (0, "")
        again = owner.execute(
            "SELECT generation, restored_at FROM mailhearth.installation"
        ).fetchone()
        assert again is not None
        assert again["generation"] > first["generation"]
        assert again["restored_at"] > at
        said = f"{again['restored_at'].astimezone(UTC):%Y-%m-%d %H:%M}"
        assert answer.out == f"Nothing that was due before {said} UTC is sent.\n"
    finally:
        owner.close()
        database.close()
    told = cli.ok("audit", "list", "--platform")
    assert [row["action"] for row in told].count("installation.restored") == 2
