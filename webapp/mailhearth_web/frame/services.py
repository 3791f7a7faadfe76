"""What one web process shares among its requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import cast

from flask import current_app
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailhearth_core.clock import Clock, SystemClock
from mailhearth_core.metrics import Metrics
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_web.frame.correlation import name_the_request
from mailhearth_web.frame.guard import Guard
from mailhearth_web.settings import WebSettings

EXTENSION = "mailhearth"
REDIS_SECONDS = 0.2


@dataclass(frozen=True)
class Services:
    """The ways out of this process; nothing is connected before its first use.

    Args:
        database: the login `web`; workspaces' rows are reached through `door` alone.
        admin: the login `admin`, for the administration's pages; None where it is not configured.
        redis: for the queue's figures; each step takes at most 200 ms.
        clock: machine time.
        stopping: set when the process was asked to stop: open streams end.
    """

    settings: WebSettings
    database: Database
    door: TenantDoor
    admin: Database | None
    redis: Redis
    guard: Guard
    metrics: Metrics
    clock: Clock = field(default_factory=SystemClock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        self.stopping.set()
        self.database.close()
        if self.admin is not None:
            self.admin.close()
        self.redis.close()
        self.guard.close()


def make_services(settings: WebSettings, metrics: Metrics, clock: Clock | None = None) -> Services:
    """Wires a process; connects nothing."""
    database = Database(
        settings.database_url,
        max_size=settings.database_connections,
        name="mailhearth-web",
        opening=name_the_request,
    )
    admin = (
        Database(
            settings.admin_database_url,
            max_size=2,
            name="mailhearth-web-admin",
            opening=name_the_request,
        )
        if settings.admin_database_url
        else None
    )
    redis = Redis.from_url(
        settings.redis_url.reveal(),
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return Services(
        settings=settings,
        database=database,
        door=TenantDoor(database),
        admin=admin,
        redis=redis,
        guard=Guard(settings.redis_url, metrics),
        metrics=metrics,
        clock=clock or SystemClock(),
    )


def services() -> Services:
    """Those of the application that answers the current request."""
    return cast(Services, current_app.extensions[EXTENSION])
