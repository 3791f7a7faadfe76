"""What the wake-up queues hold: lengths and names, which is all that the web's login may read.

The keys are those of `mailhearth_worker.wakeups.record`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from redis import Redis, RedisError

log = structlog.get_logger()


@dataclass(frozen=True)
class Listener:
    """A worker process that listens to a queue.

    Args:
        taken: wake-ups in its hands.
        alive: it has said so within its time.
    """

    name: str
    taken: int
    alive: bool


@dataclass(frozen=True)
class Queue:
    group: str
    waiting: int
    listeners: tuple[Listener, ...]


def queues(redis: Redis, groups: Iterable[str]) -> dict[str, Queue] | None:
    """By group; None when Redis does not answer. Two round trips."""
    names = list(groups)
    try:
        first = redis.pipeline(transaction=False)
        for group in names:
            first.llen(_key(group))
            first.smembers(f"{_key(group)}:workers")
        answers = first.execute()
        known = [
            (group, waiting, sorted(_text(name) for name in members))
            for group, waiting, members in zip(names, answers[0::2], answers[1::2], strict=True)
        ]
        second = redis.pipeline(transaction=False)
        for group, _, members in known:
            for name in members:
                second.llen(f"{_key(group)}:taken:{name}")
                second.exists(f"{_key(group)}:alive:{name}")
        figures = iter(second.execute())
    except RedisError as error:
        log.warning("queues_unavailable", reason=type(error).__name__)
        return None
    return {
        group: Queue(
            group,
            waiting,
            tuple(Listener(name, next(figures), bool(next(figures))) for name in members),
        )
        for group, waiting, members in known
    }


def _key(group: str) -> str:
    return f"rq:queue:{group}"


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
