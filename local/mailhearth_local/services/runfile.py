"""`<data>/run.json`: where a running `mailhearth up` is found, there only while it serves."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import FolderBusy, FolderLock, write_atomically

RUN_FILE = "run.json"
SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class RunFile:
    """What is written there, mode 0600.

    Args:
        database_url: of the command line's login.
        redis_url: of the login that administers the embedded Valkey, or the REDIS_URL given.
        metrics: URLs of the processes' metrics.
        pids: process ids by name, `supervisor` among them.
        url: of the dashboard; empty when none runs.
        sign_in_url: the one-time link that was made at the start; empty where people sign in with
            a provider.
    """

    database_url: Secret
    redis_url: Secret
    metrics: list[str] = field(default_factory=list)
    pids: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    sign_in_url: Secret = field(default_factory=lambda: Secret(""))


def write_run(data: Path, run: RunFile) -> None:
    content = {
        "database_url": run.database_url.reveal(),
        "redis_url": run.redis_url.reveal(),
        "metrics": run.metrics,
        "pids": dict(run.pids),
        "url": run.url,
        "sign_in_url": run.sign_in_url.reveal(),
    }
    write_atomically(data / RUN_FILE, json.dumps(content, indent=1) + "\n")


def read_run(data: Path) -> RunFile | None:
    """None when there is none."""
    try:
        raw = json.loads((data / RUN_FILE).read_text())
    except FileNotFoundError:
        return None
    return RunFile(
        Secret(raw["database_url"]),
        Secret(raw["redis_url"]),
        raw["metrics"],
        raw["pids"],
        raw.get("url", ""),
        Secret(raw.get("sign_in_url", "")),
    )


def remove_run(data: Path) -> None:
    (data / RUN_FILE).unlink(missing_ok=True)


def running(data: Path) -> RunFile | None:
    """The `up` that serves this folder now: its process lives and holds the folder's lock."""
    run = read_run(data)
    if run is None or not _lives(run.pids.get(SUPERVISOR, 0)) or not is_locked(data):
        return None
    return run


def is_locked(data: Path) -> bool:
    """Whether another process, or another lock of this one, claims the folder."""
    lock = FolderLock(data)
    try:
        lock.acquire()
    except FolderBusy:
        return True
    lock.release()
    return False


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
