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
