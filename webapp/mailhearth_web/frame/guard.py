"""Rate limits by address and by account, counted in Redis, with a rule for Redis being away.

`@limited("10/minute")` on a view is looked at before the view runs; several may stand on one view.
Redis has 200 ms; after it failed it is not asked again for a second, so that an outage costs each
request nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any, Literal, TypeVar

import structlog
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from werkzeug.exceptions import TooManyRequests

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret

log = structlog.get_logger()

By = Literal["ip", "account"]
Outage = Literal["refuse", "pass"]
View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE = "mailhearth_limits"
PREFIX = "limits"
"""Of every key in Redis; the web's Redis login reaches no others for writing."""
SECONDS = 0.2
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Limit:
    item: RateLimitItem
    by: By
    outage: Outage


def limited(rate: str, *, by: By = "ip", outage: Outage = "pass") -> Callable[[View], View]:
    """Marks a view.

    Args:
        rate: such as "10/minute" or "100 per 5 minutes".
        by: the visitor's network address, or the signed-in person (an address where nobody is).
        outage: with Redis away, answer 503 ("refuse") or let through and count it ("pass").
    """
    limit = Limit(parse(rate), by, outage)

    def mark(view: View) -> View:
        setattr(view, ATTRIBUTE, (*limits_of(view), limit))
        return view

    return mark


def limits_of(view: object) -> tuple[Limit, ...]:
    return getattr(view, ATTRIBUTE, ())


def network_of(address: str | None) -> str:
    """What counts as one visitor: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return "unknown"
    if ip.version == 6:
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return f"{ip_address(int(ip) >> 64 << 64)}/64"
    return str(ip)


class Guard:
    """Counts hits; connects at the first."""

    def __init__(self, redis_url: Secret, metrics: Metrics) -> None:
        self._url = redis_url
        self._metrics = metrics
        self._not_before = 0.0

    @cached_property
    def _storage(self) -> RedisStorage:
        options: dict[str, Any] = {
            "socket_timeout": SECONDS,
            "socket_connect_timeout": SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        return RedisStorage(self._url.reveal(), key_prefix=PREFIX, **options)

    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        return SlidingWindowCounterRateLimiter(self._storage)

    def check(self, limit: Limit, route: str, who: str) -> None:
        """Counts one hit.

        Args:
            route: the view's name: each has counters of its own.
            who: the visitor that is counted.
        Raises:
            TooManyRequests: with the time after which to try again.
            ServiceUnavailable: Redis does not answer, and the rule says to refuse then.
        """
        try:
            if time.monotonic() < self._not_before:
                raise RedisError("it failed a moment ago")
            if self._limiter.hit(limit.item, route, who):
                return
            window = self._limiter.get_window_stats(limit.item, route, who)
        except RedisError as error:
            self._outage(limit, route, error)
            return
        self._metrics.web_limited.labels(route=route, outcome="refused").inc()
        raise TooManyRequests(retry_after=max(1, round(window.reset_time - time.time())))

    def _outage(self, limit: Limit, route: str, error: RedisError) -> None:
        if time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            log.warning("limits_unavailable", reason=type(error).__name__)
        if limit.outage == "refuse":
            self._metrics.web_limited.labels(route=route, outcome="unavailable").inc()
            raise ServiceUnavailable(
                "This cannot be done at the moment, because a service that guards it is away.",
                hint="Try again in a minute.",
                code="limits_unavailable",
            ) from None
        self._metrics.web_limited.labels(route=route, outcome="let_through").inc()

    def close(self) -> None:
        if "_storage" in self.__dict__:
            self._storage.storage.close()
