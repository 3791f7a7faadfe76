"""The bundled Postgres is brought back to a named moment from a copy and the archived log."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailhearth_core.storage.roles import LOGIN_ROLES
from mailhearth_local.pods.backup import STAMP
from waiting import wait_for


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "it's an archive"
    folder.mkdir()
    folder.chmod(0o777)  # as a volume that Postgres' account may write to
    return folder


def remember(url: Any, word: str) -> Any:
    """Writes a row; returns a moment after it was committed."""
    with psycopg.connect(url.reveal()) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS memory (word text)")
        conn.execute("INSERT INTO memory VALUES (%s)", (word,))
    with psycopg.connect(url.reveal()) as conn:
        (row,) = conn.execute("SELECT clock_timestamp()").fetchall()
    return row[0]


def remembered(url: Any) -> list[str]:
    with psycopg.connect(url.reveal()) as conn:
        return [row[0] for row in conn.execute("SELECT word FROM memory ORDER BY word")]


def test_exactly_what_was_there_at_the_named_moment_comes_back(
    pod: Any, owner_url: Callable[..., Any], archive: Path, tmp_path: Path
) -> None:
    logins, backups = tmp_path / "logins", tmp_path / "backups"
    for folder in (logins, backups):
        folder.mkdir()
    for role in LOGIN_ROLES:
        (logins / role).write_text(f"word-of-{role}")
    program, port = pod.serve_postgres("--archive", str(archive))
    url = owner_url(port, pod.ca)
    environ = {
        "MAILHEARTH_OWNER_URL": url.reveal(),
        "MAILHEARTH_ROLE_PASSWORDS_FOLDER": str(logins),
    }
    done = pod.run("prepare", environ=environ)
    assert done.returncode == 0, done.stderr
    remember(url, "before the copy")
    done = pod.run(
        "backup", "base", "--to", str(backups), "--archive", str(archive), environ=environ
    )
    assert done.returncode == 0, done.stderr
    # Copies bear the second in which they were begun, and one of the moment's own second is not
    # taken: it may be of later.
    (copy,) = backups.iterdir()
    wait_for(lambda: f"{datetime.now(UTC):{STAMP}}" > copy.stem.rpartition("-")[2])
    first = remember(url, "first")
    remember(url, "second")
    words = [
        *("restore", "point-in-time", "--data", str(pod.data), "--archive", str(archive)),
        *("--base", str(backups), "--json"),
    ]
    busy = pod.run(*words, "--to-time", first.isoformat(), "--force")
    assert "is in use by another running Mailhearth" in busy.stderr
    assert program.stop() == 0  # which archives the rest of the log

    refused = pod.run(*words, "--to-time", first.isoformat())
    assert json.loads(refused.stderr[refused.stderr.index("{") :])["error"]["code"] == (
        "database_not_empty"
    )
    late = pod.run(*words, "--to-time", (first + timedelta(days=1)).isoformat(), "--force")
    assert "recovery ended before configured recovery target was reached" in late.stderr
    program, port = pod.serve_postgres("--archive", str(archive))  # all is as it was
    url = owner_url(port, pod.ca)
    assert remembered(url) == ["before the copy", "first", "second"]
    assert program.stop() == 0

    done = pod.run(*words, "--to-time", first.isoformat(), "--force")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert Path(answer["set_aside"]).is_dir()
    program, port = pod.serve_postgres("--archive", str(archive))
    url = owner_url(port, pod.ca)
    assert remembered(url) == ["before the copy", "first"]
    with psycopg.connect(url.reveal()) as conn:
        found = conn.execute("SELECT generation FROM mailhearth.installation").fetchone()
    assert found == (answer["generation"],)

    # And once more, across the new line of history, onto a volume that knew neither.
    remember(url, "after the restore")
    again = remember(url, "third")
    remember(url, "fourth")
    assert program.stop() == 0
    (pod.data / "secrets" / "postgres-postgres").unlink()
    done = pod.run(*words, "--to-time", again.isoformat(), "--force")
    assert done.returncode == 0, done.stderr
    program, port = pod.serve_postgres("--archive", str(archive))
    expected = ["after the restore", "before the copy", "first", "third"]
    assert remembered(owner_url(port, pod.ca)) == expected
