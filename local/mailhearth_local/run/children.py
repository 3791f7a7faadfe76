"""The processes that the supervisor runs besides the services: started, looked after, drained."""

from __future__ import annotations

import http.client
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from mailhearth_local.embedded.folder import LOOPBACK, remembered_port
from mailhearth_local.embedded.process import start_child, stop_child

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a child that died soon is started again; doubled each time."""
SETTLED_SECONDS = 30.0
"""A child that lived this long counts as healthy: its next death is its first."""


class Child:
    """One process, on a port of its own for health and metrics.

    Start it from the main thread: it is killed when the thread that started it ends.

    Args:
        environment: everything it gets, asked anew at each start, given the port.
        stop_seconds: from SIGTERM to SIGKILL.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        data: Path,
        environment: Callable[[int], Mapping[str, str]],
        *,
        stop_seconds: float,
    ) -> None:
        self.name = name
        self.port = 0
        self.log = data / "log" / f"{name}.log"
        self._command = command
        self._port_file = data / "ports" / name
        self._environment = environment
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def metrics_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/metrics"

    def start(self) -> None:
        """Starts it; does not wait until it is ready."""
        self._port_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.port = remembered_port(self._port_file)
        self._process = start_child(
            self._command,
            log=self.log,
            death_signal=signal.SIGKILL,
            environment=self._environment(self.port),
        )
        self._started_at = time.monotonic()

    def heal(self) -> bool:
        """Starts it again when it died, with growing pauses; True when it did."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return False
        now = time.monotonic()
        if self._not_before == 0:
            if now - self._started_at > SETTLED_SECONDS:
                self._deaths = 0
            pause = min(FIRST_PAUSE * 2**self._deaths, LONGEST_PAUSE) if self._deaths else 0.0
            self._deaths += 1
            self._not_before = now + pause
            log.warning("child_died", name=self.name, code=code, deaths=self._deaths, pause=pause)
        if now < self._not_before:
            return False
        self._not_before = 0.0
        self.start()
        return True

    def is_ready(self) -> bool:
        """Whether it says so itself."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """SIGTERM, and time to finish what is in hand; harmless when stopped."""
        if self._process is not None:
            stop_child(self._process, ((signal.SIGTERM, self._stop_seconds),))
            self._process = None
        self._not_before = 0.0
