"""The process `mailhearth operator`: Kopf watches, the queue works, a few threads look around."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import kopf
import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from mailhearth_core import logs, metrics
from mailhearth_core.errors import MailhearthError
from mailhearth_core.provisioning.outbox import CHANNEL
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.storage.installation import read_installation
from mailhearth_operator import watching
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.seen import Seen
from mailhearth_operator.engine.context import Context
from mailhearth_operator.engine.events import Events
from mailhearth_operator.engine.reconciler import Reconciler
from mailhearth_operator.health import Health
from mailhearth_operator.letting_go import let_go_of_all, stop
from mailhearth_operator.metrics import PoolCollector
from mailhearth_operator.settings import OperatorSettings, PlatformFile, read_platform

log = structlog.get_logger()
DEMAND_S = 2.0
OUTBOX_S = 5.0
HANG_UP_S = 0.25
"""For Kopf's connections to end: TLS says good-bye first, and the loop must still run for it.
Source: https://docs.aiohttp.org/en/stable/client_advanced.html#graceful-shutdown."""
STOP_S = 0.25
"""How soon a wait for the database notices that it is time to stop."""
COMPARE_S = 20.0
RESYNC_S = 300.0
DATABASE_WAIT_S = 2.0


class Operator:
    """One running operator; `run` returns when `stop` was called, or after a signal."""

    def __init__(
        self,
        settings: OperatorSettings,
        platform: PlatformFile,
        registry: CollectorRegistry,
    ) -> None:
        self.settings = settings
        calls = Counter(
            "mailhearth_operator_api_requests",
            "Requests to the Kubernetes API.",
            ["verb", "kind"],
            registry=registry,
        )
        self.api = Api.connect(calls)
        depth = Gauge("mailhearth_operator_queue_depth", "Resources due.", registry=registry)
        self._registry = registry
        self._stopping = threading.Event()
        self._stop_kopf: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._database = Database(
            settings.database_url, max_size=settings.threads + 3, name="mailhearth-operator"
        )
        self._cli = Database(
            settings.cli_database_url, max_size=settings.threads, name="mailhearth-operator"
        )
        self.context = Context(
            installation=platform.installation,
            namespace=settings.namespace,
            platform=platform.platform(),
            api=self.api,
            seen=Seen(),
            database=self._database,
            door=TenantDoor(self._cli),
            events=Events(self.api, settings.name),
            sandbox=False,
        )
        self.reconciler = Reconciler(
            self.context,
            namespaces=settings.watched(),
            threads=settings.threads,
            allow_app_passwords=settings.allow_app_passwords,
        )
        depth.set_function(self.reconciler.queue.depth)
        registry.register(PoolCollector(self.context.seen, self.reconciler.demands))
        self.health = Health(
            self.api,
            self.context.seen,
            settings.watched(),
            lambda: dict(self.reconciler.queue.busy_since),
            lambda kind, obj: self.reconciler.took_place(kind, "DELETED", obj),
        )
        self._ready = threading.Event()

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Until a signal or `stop`; 0 after a clean end."""
        settings = self.settings
        servers = [
            metrics.serve(
                port, self._registry, self.health.reasons, self._unready, settings.listen_host
            )
            for port in dict.fromkeys((settings.metrics_port, settings.health_port))
        ]
        self.ports = [server.port for server in servers]
        threads = [
            threading.Thread(target=self._around, args=about, name=about[0], daemon=True)
            for about in (
                ("demand", 0.0, DEMAND_S, self.reconciler.demands.read),
                # What there is has just been read.
                ("compare", COMPARE_S, COMPARE_S, self.health.compare),
                ("resync", RESYNC_S, RESYNC_S, self.reconciler.add_all),
            )
        ]
        threads.append(threading.Thread(target=self._serve_outbox, name="outbox", daemon=True))
        try:
            asyncio.run(self._main(threads))
        finally:
            self._stopping.set()
            self.reconciler.queue.stop()
            for thread in threads:
                if thread.is_alive():
                    thread.join(30)
            for server in servers:
                server.close()
            self._database.close()
            self._cli.close()
        return 0

    def stop(self) -> None:
        """From any thread: `run` returns soon."""
        self._stopping.set()
        loop, event = self._loop, self._stop_kopf
        if loop is not None and event is not None and not loop.is_closed():
            loop.call_soon_threadsafe(event.set)

    async def _main(self, threads: list[threading.Thread]) -> None:
        self._loop, self._stop_kopf = asyncio.get_running_loop(), asyncio.Event()
        if not await asyncio.to_thread(self._take_in):
            return
        self.reconciler.queue.start()
        for thread in threads:
            thread.start()
        namespaces = self.settings.watched()
        self._ready.set()
        await kopf.operator(
            registry=watching.registry(self.reconciler, self.api),
            settings=watching.settings(),
            standalone=True,
            namespaces=list(namespaces),
            stop_flag=self._stop_kopf,
        )
        await asyncio.sleep(HANG_UP_S)

    def _take_in(self) -> bool:
        """All that is there, once API and database answer; False when it is time to stop."""
        listed = False
        while not self._stopping.is_set():
            try:
                if not listed:
                    self.reconciler.list_objects()
                    listed = True
                with self._database.tx() as conn:
                    self.context.sandbox = read_installation(conn).sandbox
                self.reconciler.list_bindings()
            except MailhearthError as error:
                log.warning("operator_waits", reason=str(error))
                self.reconciler.tell_all(error)
                self._stopping.wait(DATABASE_WAIT_S)
            else:
                return True
        return False

    def _unready(self) -> list[str]:
        return [] if self._ready.is_set() else ["what there is has not been read yet"]

    # -- around ---------------------------------------------------------------------------------

    def _around(self, name: str, first: float, pause: float, work: Callable[[], Any]) -> None:
        failing = False
        self._stopping.wait(first)
        while not self._stopping.is_set():
            try:
                work()
                if failing:  # the database or the API is back
                    self.reconciler.queue.hurry()
                failing = False
            except MailhearthError as error:
                failing = True
                log.warning("not_done", task=name, reason=str(error))
            except Exception:
                failing = True
                log.exception("task_failed", task=name)
            # A little apart, so that replicas and restarts do not march in step.
            self._stopping.wait(pause * random.uniform(0.9, 1.1))

    def _serve_outbox(self) -> None:
        """Woken by the database when a wish is made, and every few seconds."""
        url = self.settings.database_url
        while not self._stopping.is_set():
            try:
                with psycopg.connect(url.reveal(), autocommit=True, connect_timeout=5) as conn:
                    conn.execute(f"LISTEN {CHANNEL}")
                    while not self._stopping.is_set():
                        self.reconciler.outbox.serve()
                        self._await_wish(conn)
            except (psycopg.Error, MailhearthError) as error:
                log.warning("outbox_waits", reason=type(error).__name__)
            except Exception:
                log.exception("outbox_failed")
            self._stopping.wait(1.0)

    def _await_wish(self, listening: psycopg.Connection[Any]) -> None:
        """Until the database tells of a wish, for OUTBOX_S at most, or until it is time to stop."""
        until = time.monotonic() + OUTBOX_S
        while not self._stopping.is_set() and time.monotonic() < until:
            if list(listening.notifies(timeout=STOP_S, stop_after=1)):
                return


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. 0 after a clean stop, 1 when it could not work, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="mailhearth operator", description=__doc__)
    parser.add_argument(
        "--let-go",
        metavar="DEPLOYMENT",
        help="stop the operator of this Deployment, take its finalizers off all resources, and end",
    )
    asked = parser.parse_args(arguments)
    try:
        settings = OperatorSettings.load()
        platform = read_platform(settings.platform_file)
    except MailhearthError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure("operator", settings.log_level)
    watching.quieten()
    try:
        if asked.let_go:
            api = Api.connect()
            stop(api, settings.namespace, asked.let_go)
            let_go_of_all(api, settings.watched())
            return 0
        return Operator(settings, platform, CollectorRegistry()).run()
    except (MailhearthError, OSError) as error:
        log.error("operator_failed", reason=str(error))
        return 1
