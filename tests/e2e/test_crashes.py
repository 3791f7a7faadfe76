"""Killing everything, again and again, while some 300 messages are under way.

Nothing may be doubled or lost, counted in the receiving mailboxes by Message-ID.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from cli import CommandLine
from mailhearth_local.sandbox.scan import placements
from waiting import wait_for

VICTIMS = ("worker", "scheduler", "valkey", "postgres")
ROUNDS = 16


def test_kills_at_random_moments_double_and_lose_nothing(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "data")
    report_file = tmp_path / "report.json"
    up = line.start(
        *("up", "--demo", "--days", "4", "--day-seconds", "25", "--report", str(report_file))
    )
    killed: Counter[str] = Counter()
    chance = Random(20261124)
    wait_for(lambda: (line.data / "run.json").exists() or up.poll() is not None, 90)
    for number in range(ROUNDS):
        threading.Event().wait(chance.uniform(1.5, 5.0))
        if up.poll() is not None:
            break
        victim = VICTIMS[number % len(VICTIMS)]
        killed[victim] += kill(line, victim)
    assert up.wait(500) == 0, (tmp_path / "command.log").read_text()[-4000:]

    assert all(killed[victim] >= 2 for victim in VICTIMS), killed
    report = json.loads(report_file.read_text())
    assert report["sent"] == report["delivered"] >= 200, report
    assert report["duplicates"] == report["lost"] == 0, report
    arrivals = Counter(
        (recipient, message_id) for recipient, _, message_id, _ in placements(line.data / "sandbox")
    )
    assert set(arrivals.values()) == {1}
    assert len(arrivals) == report["delivered"]


def kill(line: CommandLine, victim: str) -> int:
    """Ends one process without a warning; Valkey loses its data besides. 1 when it was there."""
    try:
        pid = line.run_file()["pids"][victim]
    except (FileNotFoundError, KeyError):
        return 0
    if victim == "valkey":
        shutil.rmtree(line.data / "valkey" / "data", ignore_errors=True)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return 1
    return 0
