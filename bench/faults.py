"""Killing everything, again and again, while thousands of messages are under way.

`mailhearth up --demo` runs as a user starts it; at random moments (from a seed) its worker,
scheduler, Valkey (whose data are wiped) or Postgres is killed with SIGKILL. In the end each message
is counted in the receiving mailboxes by its Message-ID. Nothing may be doubled or lost.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from mailhearth_local.sandbox.scan import placements

MESSAGES = 5_000
VICTIMS = ("worker", "scheduler", "valkey", "postgres")
DAY_SECONDS = 15
MESSAGES_A_DAY = 100
"""What the twelve mailboxes of the demo send on a day, about, weekends counted in."""
BETWEEN_KILLS_S = (4.0, 12.0)
"""Some seconds apart, so that between two deaths there is a life: after each, what ran is started
again, and the clock stands still meanwhile."""
SECONDS_FOR_EACH_DAY = 6 * DAY_SECONDS
"""Machine seconds that a day may take: its clock stands still while a process is away."""


def run(messages: int = MESSAGES, seed: int = 20_261_124) -> dict[str, Any]:
    """One campaign of at least so many messages.

    Returns:
        sent, delivered, doubled, lost, uncertain: counts; kills: by victim; held: whether nothing
        was doubled or lost; seconds; seed; days.
    """
    days = max(messages // MESSAGES_A_DAY + 1, 1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mailhearth-faults-") as name:
        folder = Path(name)
        report, killed = _campaign(folder, days, Random(seed))
        arrivals = Counter(
            (recipient, message_id)
            for recipient, _, message_id, _ in placements(folder / "data" / "sandbox")
        )
    doubled = sum(times > 1 for times in arrivals.values())
    return {
        "sent": report["sent"],
        "delivered": len(arrivals),
        "doubled": doubled,
        "lost": report["lost"],
        "uncertain": report.get("uncertain", 0),
        "enough": report["sent"] >= messages,
        "kills": dict(killed),
        "held": not doubled and report["lost"] == 0 and report["sent"] == len(arrivals),
        "days": days,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }


def _campaign(folder: Path, days: int, chance: Random) -> tuple[dict[str, Any], Counter[str]]:
    data, report = folder / "data", folder / "report.json"
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    killed: Counter[str] = Counter()
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("mailhearth")), "up", "--demo"),
                *("--days", str(days), "--day-seconds", str(DAY_SECONDS)),
                *("--report", str(report), "--data", str(data)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
        try:
            end = time.monotonic() + SECONDS_FOR_EACH_DAY * (days + 3)
            while up.poll() is None and time.monotonic() < end:
                with suppress(subprocess.TimeoutExpired):
                    up.wait(chance.uniform(*BETWEEN_KILLS_S))
                    break
                victim = chance.choice(VICTIMS)
                killed[victim] += _kill(data, victim)
            up.wait(60)
        finally:
            if up.poll() is None:
                up.terminate()
                up.wait(60)
    if not report.exists():
        tail = (folder / "up.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"The campaign did not come to its end:\n{tail}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found, killed


def _kill(data: Path, victim: str) -> int:
    """Ends one process without a warning; Valkey loses its data besides. 1 when it was there."""
    try:
        pid = json.loads((data / "run.json").read_text())["pids"][victim]
    except (FileNotFoundError, KeyError, ValueError):
        return 0
    if victim == "valkey":
        shutil.rmtree(data / "valkey" / "data", ignore_errors=True)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return 1
    return 0
