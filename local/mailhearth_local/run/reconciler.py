"""The thread of the supervisor that turns wishes into fact, by the local `Provisioner`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import structlog

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.ports import Provisioner
from mailhearth_core.provisioning.outbox import CHANNEL
from mailhearth_core.secrets import Secret

log = structlog.get_logger()

POLL_SECONDS = 1.0
"""For a wish whose announcement was missed."""
REPAIR_SECONDS = 10.0
"""Between two looks at everything while nobody wishes for anything."""
PAUSE_SECONDS = 0.5
"""After a failure."""


class Reconciler(threading.Thread):
    """Runs until `stop`; a failing pass is logged and tried again.

    Args:
        url: of the operator's login, asked anew at each connection.
        provisioner: asked anew after each failure.
    """

    def __init__(self, url: Callable[[], Secret], provisioner: Callable[[], Provisioner]) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._url = url
        self._provisioner = provisioner
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join(30)

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._serve()
            except (psycopg.OperationalError, ServiceUnavailable) as error:
                log.warning("reconciler_waits", reason=type(error).__name__)
            except Exception:  # logged whole; one bad wish must not end the others
                log.exception("reconciler_failed")
                self._ended.wait(REPAIR_SECONDS)
            self._ended.wait(PAUSE_SECONDS)

    def _serve(self) -> None:
        provisioner = self._provisioner()
        repaired = float("-inf")
        with psycopg.connect(self._url().reveal(), autocommit=True, connect_timeout=5) as conn:
            conn.execute(f"LISTEN {CHANNEL}")
            while not self._ended.is_set():
                if time.monotonic() - repaired > REPAIR_SECONDS or _has_wishes(conn):
                    provisioner.reconcile()
                    repaired = time.monotonic()
                for _ in conn.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass


def _has_wishes(conn: psycopg.Connection[tuple[object, ...]]) -> bool:
    return conn.execute("SELECT 1 FROM warden.open_commands() LIMIT 1").fetchone() is not None
