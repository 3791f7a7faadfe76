"""`mailhearth up` as a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from mailhearth_local.embedded.process import command_line
from waiting import wait_for


class Up:
    """One `mailhearth up`."""

    def __init__(self, data: Path, **environ: str) -> None:
        self.data = data
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MAILHEARTH_")},
            **environ,
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str, ready: bool = True) -> Up:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from mailhearth_local.cli import main; main()"),
                *("up", "--data", str(self.data), *options),
            ],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                pytest.fail(f"up ended: {self.process.communicate()}")
            return self.pids().get("supervisor") == self.process.pid

        wait_for(ready, 60)

    @property
    def run(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def pids(self) -> dict[str, int]:
        return dict(self.run.get("pids", {}))

    def end(self, sign: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.wait()

    def wait(self, seconds: float = 60) -> tuple[int, str, str]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def close(self, seconds: float = 60) -> None:
        """Ends it, however it stands."""
        if self.process is None or (self.process.stdout and self.process.stdout.closed):
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def rows(self, query: str) -> list[DictRow]:
        with psycopg.connect(self.run["database_url"], row_factory=dict_row) as conn:
            return conn.execute(query.encode()).fetchall()


def is_gone(pid: int) -> bool:
    return not command_line(pid)
