"""The process `mailhearth scheduler`: one pass after another until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence

import structlog
from prometheus_client import CollectorRegistry

from mailhearth_core import logs, metrics
from mailhearth_core.errors import MailhearthError, ServiceUnavailable
from mailhearth_core.settings import SchedulerSettings
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.installation import UNPREPARED, unprepared
from mailhearth_worker.scheduler.generation import GenerationCopy
from mailhearth_worker.scheduler.passes import Passes
from mailhearth_worker.wakeups import Waker

log = structlog.get_logger()

DEAD_AFTER_S = 180.0
"""A scheduler that ends no pass for so long hangs: one that fails at once for want of a service is
not dead, and to end it would mend nothing."""
LATE_AFTER_S = 15.0
"""Without a whole pass for so long it is not ready: a service it needs is away."""
LONGEST_PAUSE_S = 2.0


class Pulse:
    """When the last pass ended.

    Args:
        what: for people, as in "no whole pass".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._at = time.monotonic()

    def beat(self) -> None:
        self._at = time.monotonic()

    def older_than(self, seconds: float) -> list[str]:
        age = time.monotonic() - self._at
        return [f"no {self._what} for {age:.0f} s"] if age > seconds else []


def serve(settings: SchedulerSettings) -> int:
    """Runs until a signal; 0 after a clean stop."""
    registry = CollectorRegistry()
    counters = metrics.Metrics(registry)
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    alive, whole = Pulse("end of a pass"), Pulse("whole pass")
    servers = [
        metrics.serve(
            port,
            registry,
            lambda: alive.older_than(DEAD_AFTER_S),
            lambda: whole.older_than(LATE_AFTER_S),
            settings.listen_host,
        )
        for port in dict.fromkeys((settings.metrics_port, settings.health_port))
    ]
    database = Database(settings.database_url, max_size=1, name="mailhearth-scheduler")
    waker = Waker(settings.redis_url)
    passes = Passes(database, waker, counters, settings)
    kept = GenerationCopy(settings.data_folder)
    log.info("scheduler_started")
    pause = settings.tick_ms / 1000
    failed = 0
    while not stop.wait(pause):
        try:
            try:
                kept.check(database)
                passes.run()
            except UNPREPARED as error:
                log.warning("database_unprepared", reason=str(error).partition("\n")[0])
                raise unprepared() from None
        except ServiceUnavailable as error:
            counters.failure(error, "pass")
            log.warning("pass_failed", reason=error.message)
            failed += 1
            pause = min(settings.tick_ms / 1000 * 2**failed, LONGEST_PAUSE_S)
        else:
            whole.beat()
            failed = 0
            pause = settings.tick_ms / 1000
        alive.beat()
    waker.close()
    database.close()
    for server in servers:
        server.close()
    log.info("scheduler_stopped")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. 0 after a clean stop, 1 when it could not work, 2 for wrong settings."""
    argparse.ArgumentParser(prog="mailhearth scheduler", description=__doc__).parse_args(arguments)
    try:
        settings = SchedulerSettings.load()
    except MailhearthError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure("scheduler", settings.log_level)
    try:
        return serve(settings)
    except (MailhearthError, OSError) as error:
        log.error("scheduler_failed", reason=str(error))
        return 1
