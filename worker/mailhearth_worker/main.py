"""The process `mailhearth worker`: serves wake-ups of its groups until it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from uuid import UUID

import redis
import structlog
from prometheus_client import CollectorRegistry
from redis import Redis

from mailhearth_core import logs, metrics
from mailhearth_core.errors import MailhearthError
from mailhearth_core.keystore import KeyFolder
from mailhearth_core.mail.dns import Resolver, SystemResolver, ZoneResolver
from mailhearth_core.net import Dialer
from mailhearth_core.providers.base import Providers
from mailhearth_core.providers.gmail.provider import GmailProvider
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider
from mailhearth_core.providers.outlook.provider import OutlookProvider
from mailhearth_core.settings import WorkerSettings
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import WorkerDoors
from mailhearth_core.storage.named import named
from mailhearth_core.storage.roles import Roles
from mailhearth_worker.attempts import test_connection
from mailhearth_worker.credentials import reseal
from mailhearth_worker.drain import drain
from mailhearth_worker.runtime import Runtime
from mailhearth_worker.sessions import Sessions
from mailhearth_worker.tokens import Tokens, clients_of
from mailhearth_worker.wakeups import make_worker

log = structlog.get_logger()
SQL = named("worker")

PURGE_S = 540.0
"""How long `--purge` goes on."""
HANG_S = 240.0
"""A worker silent for longer than a slice and its slowest step may take is called dead."""


class Life:
    """Whether the process was asked to stop, and when its loop last came by."""

    def __init__(self, sessions: Sessions, drain_deadline_s: float) -> None:
        self._sessions = sessions
        self._drain_deadline_s = drain_deadline_s
        self._stop = threading.Event()
        self._seen = time.monotonic()

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """A signal: the mail in hand finishes; at the drain deadline the process ends anyway."""
        if not self._stop.is_set():
            self._stop.set()
            timer = threading.Timer(self._drain_deadline_s, _give_up)
            timer.daemon = True
            timer.start()

    def stopping(self) -> bool:
        return self._stop.is_set()

    def between_wakeups(self) -> bool:
        """Asked by the loop at least once a second while it is idle."""
        self._seen = time.monotonic()
        self._sessions.sweep()
        return self._stop.is_set()

    def health(self) -> list[str]:
        silent = time.monotonic() - self._seen
        return [f"no sign of life for {silent:.0f} s"] if silent > HANG_S else []


def _give_up() -> None:
    log.error("drain_deadline_passed")
    os._exit(1)


def build(settings: WorkerSettings, registry: CollectorRegistry) -> tuple[Runtime, Life]:
    """Wires a worker; connects nothing."""
    resolver: Resolver = (
        ZoneResolver.from_file(settings.zone_file) if settings.zone_file else SystemResolver()
    )
    dialer = Dialer(resolver, allowed=settings.allow_private_networks)
    providers = Providers(
        [
            ImapSmtpProvider(allow_app_passwords=settings.allow_app_passwords),
            GmailProvider(),
            OutlookProvider(),
        ]
    )
    keys = KeyFolder(settings.keys_folder)
    sessions = Sessions(providers, dialer, per_host_cap=settings.per_host_cap)
    life = Life(sessions, settings.drain_deadline_seconds)
    runtime = Runtime(
        settings=settings,
        doors=WorkerDoors(
            settings.database_url,
            settings.logins_folder,
            Roles(settings.role_prefix),
            name=f"mailhearth-worker-{settings.name}",
        ),
        keys=keys,
        dialer=dialer,
        resolver=resolver,
        sessions=sessions,
        tokens=Tokens(clients_of(settings), keys, dialer),
        metrics=metrics.Metrics(registry),
        stopping=life.stopping,
    )
    return runtime, life


def free_own_leases(runtime: Runtime) -> None:
    """Frees what a worker of this name held when it was killed."""
    for workspace_id in runtime.doors.workspaces():
        with runtime.doors.door(workspace_id).tx() as conn:
            SQL.release_leases_of(conn, workspace_id=workspace_id, owner=runtime.settings.name)


def serve(settings: WorkerSettings) -> int:
    """Runs until a signal; 0 after a clean stop."""
    registry = CollectorRegistry()
    runtime, life = build(settings, registry)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, life.stop)
    client: Redis = Redis.from_url(
        settings.redis_url.reveal(), socket_timeout=10, socket_connect_timeout=5
    )

    def ready() -> list[str]:
        try:
            client.ping()
        except redis.RedisError as error:
            return [f"Redis does not answer ({type(error).__name__})"]
        return []

    servers = [
        metrics.serve(port, registry, life.health, ready, settings.listen_host)
        for port in dict.fromkeys((settings.metrics_port, settings.health_port))
    ]
    _await_database(runtime, life)
    worker = make_worker(
        client,
        settings.groups,
        {
            "drain": lambda workspace, mailbox: drain(runtime, workspace, mailbox),
            "test": lambda workspace, attempt: test_connection(runtime, workspace, attempt),
            "reseal": lambda workspace, _: _reseal(runtime, workspace),
        },
        runtime.metrics,
        life.between_wakeups,
        name=settings.name,
    )
    log.info("worker_started", groups=list(settings.groups))
    try:
        worker.work()
    finally:
        runtime.sessions.close()
        runtime.doors.close()
        for server in servers:
            server.close()
    log.info("worker_stopped")
    return 0


def _await_database(runtime: Runtime, life: Life) -> None:
    while not life.between_wakeups():
        try:
            free_own_leases(runtime)
            return
        except MailhearthError as error:
            log.warning("waiting_for_the_database", reason=error.message)
            time.sleep(1)


def _reseal(runtime: Runtime, workspace_id: UUID) -> None:
    done = reseal(runtime.doors.door(workspace_id), runtime.keys, workspace_id)
    if done:
        log.info("resealed", workspace_id=str(workspace_id), credentials=done)


def attempt_once(settings: WorkerSettings, workspace_id: UUID, attempt_id: UUID) -> int:
    """One connection test without a queue, for a machine on which no worker runs."""
    runtime, _ = build(settings, CollectorRegistry())
    try:
        test_connection(runtime, workspace_id, attempt_id)
    finally:
        runtime.sessions.close()
        runtime.doors.close()
    return 0


def purge_once(settings: WorkerSettings, workspace_id: UUID) -> int:
    """Takes a deleted workspace's mail out of its mailboxes without a queue, each tried once."""
    runtime, _ = build(settings, CollectorRegistry())
    end = time.monotonic() + PURGE_S
    try:
        door = runtime.doors.door(workspace_id)
        while time.monotonic() < end:
            with door.tx() as conn:
                now = business_now(conn)
                due = list(SQL.purges_due(conn, workspace_id=workspace_id, now=now))
            if not due:
                break
            for row in due:
                drain(runtime, workspace_id, row["mailbox_id"])
        with door.tx() as conn:
            SQL.give_up_purges(conn, workspace_id=workspace_id, now=business_now(conn))
    finally:
        runtime.sessions.close()
        runtime.doors.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. 0 after a clean stop, 1 when it could not work, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="mailhearth worker", description=__doc__)
    parser.add_argument(
        "--attempt",
        nargs=2,
        metavar=("WORKSPACE", "ATTEMPT"),
        type=UUID,
        help="do one connection test and end",
    )
    parser.add_argument(
        "--purge",
        metavar="WORKSPACE",
        type=UUID,
        help="take a deleted workspace's mail out of its mailboxes and end",
    )
    options = parser.parse_args(arguments)
    try:
        settings = WorkerSettings.load()
    except MailhearthError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure("worker", settings.log_level)
    try:
        if options.attempt:
            return attempt_once(settings, *options.attempt)
        if options.purge:
            return purge_once(settings, options.purge)
        return serve(settings)
    except (MailhearthError, OSError) as error:
        log.error("worker_failed", reason=str(error))
        return 1
