"""`mailhearth up` on a fresh folder: the time to the first sized day, and what it weighs idle.

Memory is PSS (proportional set size: pages that processes share are counted once in all), read from
/proc for each process of the product and its children.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.results import goal
from bench.world import wait_for
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.verbs import workspaces

GOAL_SECONDS = 3.0
GOAL_MEGABYTES = 340.0
SETTLE_S = 15.0
PROGRAM = (sys.executable, "-c", "from mailhearth_local.cli import main; main()")


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mailhearth-bench-") as folder:
        first = start(Path(folder) / "data", demo=True)
        again = start(Path(folder) / "plain", demo=False)
        again_started = start(Path(folder) / "plain", demo=False)
    total = sum(again_started["megabytes"].values())
    return {
        "first_start_with_demo": first,
        "first_start": again,
        "second_start": again_started,
        "goal_seconds_to_first_sized_day": goal(
            GOAL_SECONDS, first["seconds_to_first_sized_day"], at_most=True
        ),
        "goal_megabytes": goal(GOAL_MEGABYTES, total, at_most=True),
    }


def start(data: Path, *, demo: bool) -> dict[str, Any]:
    """One `up` in a folder; with the demo's mailboxes a day is sized as soon as they signed in."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    options = ["--demo"] if demo else []
    with (data.parent / "up.log").open("ab") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*PROGRAM, "up", "--data", str(data), *options],
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        found: dict[str, Any] = {}
        wait_for(lambda: pids(data).get("supervisor") == process.pid, 120, "up is not ready")
        found["seconds_to_ready"] = time.perf_counter() - started
        if demo:
            database = Database(Secret(json.loads((data / "run.json").read_text())["database_url"]))
            wait_for(lambda: _sized(database), 120, "no day was sized")
            found["seconds_to_first_sized_day"] = time.perf_counter() - started
            database.close()
        time.sleep(SETTLE_S)
        found["megabytes"] = {name: megabytes(pid) for name, pid in sorted(pids(data).items())}
        found["megabytes_in_all"] = sum(found["megabytes"].values())
        return found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def pids(data: Path) -> dict[str, int]:
    try:
        return dict(json.loads((data / "run.json").read_text())["pids"])
    except (FileNotFoundError, KeyError, ValueError):
        return {}


def _sized(database: Database) -> bool:
    door = TenantDoor(database)
    for workspace in workspaces.listing(database):
        with door.tenant_tx(workspace["workspace_id"]) as conn:
            if conn.execute("SELECT 1 FROM day_sizes LIMIT 1").fetchone():
                return True
    return False


def megabytes(pid: int) -> float:
    """PSS of a process and its children; the supervisor's children are listed by themselves."""
    total = _pss(pid)
    named_apart = Path(f"/proc/{pid}/comm").read_text().startswith("python")
    if not named_apart:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += megabytes(int(child))
    return total


def _pss(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0
