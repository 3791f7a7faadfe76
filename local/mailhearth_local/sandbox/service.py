"""The sandbox as a child of the supervisor, with the same verbs as the embedded services."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from mailhearth_local.embedded.folder import LOOPBACK
from mailhearth_local.embedded.process import (
    ServiceFailed,
    answers_again,
    start_child,
    stop_child,
    wait_until_ready,
)
from mailhearth_local.sandbox.server import SandboxInfo, read_info

START_SECONDS = 30.0
STOP = ((signal.SIGTERM, 5.0),)


class MailSandbox:
    """One sandbox process on `data`; needs no stopping in order, as every change is committed.

    Start it from the main thread, or one that lives as long as it should (see `start_child`).
    """

    def __init__(self, data: Path, *, seed: int = 1) -> None:
        self._data = data.resolve()
        self._seed = seed
        self._log = self._data / "sandbox.log"
        self._process: subprocess.Popen[bytes] | None = None

    def ensure_started(self) -> SandboxInfo:
        """Returns when all ports take connections.

        Raises:
            ServiceFailed: it did not start, for example as another one runs on the same folder.
        """
        if not answers_again(self._process, self._await_ready):
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._process = start_child(
                [
                    *(sys.executable, "-m", "mailhearth_local.sandbox"),
                    *("--data", str(self._data), "--seed", str(self._seed)),
                ],
                log=self._log,
                death_signal=signal.SIGKILL,
                environment={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2"},
            )
            self._await_ready()
        return self.info

    @property
    def info(self) -> SandboxInfo:
        """Ports, CA and users of the running sandbox; raises ServiceFailed when it is not ready."""
        found = read_info(self._data)
        if found is None or self._process is None or found.pid != self._process.pid:
            raise ServiceFailed("The mail sandbox does not run.", hint="Start it first.")
        return found

    def stop(self) -> None:
        """Harmless when stopped."""
        if self._process is not None:
            stop_child(self._process, STOP)
            self._process = None

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.is_alive() else None

    def _await_ready(self) -> None:
        assert self._process is not None
        process = self._process
        wait_until_ready(
            lambda: self._ready(process.pid),
            process,
            name="The mail sandbox",
            logs=lambda: [self._log],
            seconds=START_SECONDS,
        )

    def _ready(self, pid: int) -> bool:
        """The file is written once all ports listen; the greeting shows that it still lives."""
        found = read_info(self._data)
        return found is not None and found.pid == pid and greets(found.smtp_port)


def greets(port: int) -> bool:
    """Whether SMTP on this machine's port says its first word."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
            return connection.recv(4) == b"220 "
    except OSError:
        return False
