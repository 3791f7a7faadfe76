"""Commands beside a running `mailhearth up`: its worker does the tests, and all is well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]
READY_SECONDS = 60.0
Post = Any


@pytest.fixture(scope="module")
def up(alone: Path) -> Iterator[Path]:
    """`mailhearth up` on the prepared folder."""
    process = subprocess.Popen(
        [*PROGRAM, "up", "--data", str(alone)],
        env={"PATH": os.environ["PATH"], "HOME": str(alone)},
        stdout=subprocess.DEVNULL,
        stderr=(alone / "up.txt").open("w"),
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not (alone / "run.json").exists():
            assert process.poll() is None, (alone / "up.txt").read_text()
            assert time.monotonic() < deadline, (alone / "up.txt").read_text()
            time.sleep(0.05)
        yield alone
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_the_running_worker_does_a_test(up: Path, command_line: Any, post: Post) -> None:
    cli = command_line(up)
    good, bad = (cli("mailbox", "test", user.address, "--json") for user in post.users[:2])
    assert (good.code, good.json()["ok"]) == (0, True), good
    assert (bad.code, bad.json()["ok"]) == (1, False)
    wrong = [step for step in bad.json()["steps"] if not step["ok"]]
    assert {step["name"] for step in wrong} == {"imap.login", "smtp.login"}
    assert all(step["hint"] for step in wrong)


def test_doctor_finds_nothing_wrong(up: Path, command_line: Any) -> None:
    answer = command_line(up)("doctor", "--json")
    failed = [f for f in answer.json()["findings"] if f["level"] == "fail"]
    assert (answer.code, failed) == (0, [])
    assert [f["level"] for f in answer.json()["findings"] if f["check"] == "health"] == ["ok", "ok"]


def test_status_and_rotation_go_by_the_running_services(up: Path, command_line: Any) -> None:
    cli = command_line(up)
    assert cli.ok("status")["running"] is True
    cli.ok("keys", "rotate", "-w", "acme")
    deadline = time.monotonic() + 30
    while [(k["version"], k["seals"]) for k in cli.ok("keys", "list", "-w", "acme")] != [(1, 0), (2, 4)]:
        assert time.monotonic() < deadline, json.dumps(cli.ok("keys", "list", "-w", "acme"))
        time.sleep(0.1)
