"""Commands where nothing runs: they start the database, and for a test a worker, for themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]
Post = Any


def call(data: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The program as a process of its own."""
    return subprocess.run(
        [*PROGRAM, *words],
        input=stdin,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(data), "MAILHEARTH_DATA": str(data)},
        timeout=120,
    )


def test_a_test_is_done_by_a_worker_of_its_own_and_streams_its_steps(
    alone: Path, post: Post
) -> None:
    done = call(alone, "mailbox", "test", post.users[0].address)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in lines if line.startswith("ok ")] == [
        *("imap.resolve:", "imap.connect:", "imap.tls:", "imap.login:", "imap.folders:"),
        *("smtp.resolve:", "smtp.connect:", "smtp.tls:", "smtp.login:"),
    ]
    assert lines[-1] == f"{post.users[0].address} works."


def test_a_restore_is_said_where_nothing_runs(alone: Path) -> None:
    first, second = (call(alone, "restored", "--json") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    before, after = json.loads(first.stdout), json.loads(second.stdout)
    assert after["generation"] > before["generation"]
    assert after["restored_at"] > before["restored_at"]


def test_migrate_makes_the_schema_of_a_new_folder(tmp_path: Path) -> None:
    data = tmp_path / "fresh"
    first = call(data, "migrate")
    assert first.returncode == 0, first.stderr
    assert "applied 0001_create_tenancy" in first.stdout
    assert "Nothing to do" in call(data, "migrate").stdout


def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = call(tmp_path, "status", "--data", str(file))
    assert done.returncode == 2
    assert "is a file" in done.stderr
    done = call(tmp_path, "status", "--data", str(file / "below"))
    assert done.returncode == 1
    assert "a folder that this account may write to (Not a directory)" in done.stderr
    done = subprocess.run(
        [*PROGRAM, "status", "--data", str(tmp_path / "d")],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://a:hush@127.0.0.1:1/x"},
    )
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "hush" not in done.stderr + done.stdout
