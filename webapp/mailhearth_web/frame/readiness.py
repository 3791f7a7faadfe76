"""Whether this process can serve: the database, its migrations and Redis."""

from __future__ import annotations

from functools import lru_cache

import redis

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.storage.migrate import migrations
from mailhearth_web.frame.services import Services


@lru_cache(maxsize=1)
def _newest_migration() -> str:
    return migrations()[-1].name


def reasons_not_ready(services: Services) -> list[str]:
    """Why not, in words without addresses; empty when all is well."""
    reasons = []
    try:
        with services.database.tx() as conn:
            row = conn.execute(
                "SELECT count(*) AS n FROM schema_checksums WHERE name = %s", (_newest_migration(),)
            ).fetchone()
        if row is None or not row["n"]:
            reasons.append("the database has not been migrated to this version")
    except ServiceUnavailable:
        reasons.append("the database does not answer")
    try:
        services.redis.ping()
    except redis.RedisError:
        reasons.append("Redis does not answer")
    return reasons


class Endpoint:
    """Whether an orchestrator should send people here.

    Not before everything was well once, and no more when it stops. In between a service that is
    away takes no process out: all would go at once, and people see the page that says what is
    wrong sooner than a refused connection.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._was_ready = False

    def reasons_not_ready(self) -> list[str]:
        if self._services.stopping.is_set():
            return ["this process is stopping"]
        if self._was_ready:
            return []
        reasons = reasons_not_ready(self._services)
        self._was_ready = not reasons
        return reasons
