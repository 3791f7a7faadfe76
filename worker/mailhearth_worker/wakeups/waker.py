"""The scheduler's side: ringing for workers."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import redis
from redis import Redis
from rq.queue import Queue

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_worker.wakeups.record import WAKE_TTL, WakeUp, Wish, check_group, queue_key

_CHUNK = 500  # wake-ups in one round trip

# RQ's own unique enqueue cannot be pipelined; this is that of one wish. In one step, so that an id
# is never recorded without being queued, nor queued twice.
_RING = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
"""


class Waker:
    """Rings for workers; safe from several schedulers at once, and cheap to repeat.

    Raises ServiceUnavailable when Redis cannot be reached or refuses; nothing is lost then, since
    the work stays due in Postgres and the next tick rings again.
    """

    def __init__(self, redis_url: Secret) -> None:
        self._redis: Redis = Redis.from_url(redis_url.reveal(), socket_timeout=5)
        self._ring = self._redis.register_script(_RING)

    def wake(
        self, group: str, verb: str, workspace_id: UUID, subject_id: UUID, nonce: int | str
    ) -> bool:
        """Ring once; False when this very wake-up is queued or running already."""
        return self.wake_many([Wish(group, verb, workspace_id, subject_id, nonce)]) == 1

    def wake_many(self, wishes: Iterable[Wish]) -> int:
        """Ring for all, in few round trips; the number that was not queued or running already."""
        wanted = list(wishes)
        rung = 0
        try:
            for start in range(0, len(wanted), _CHUNK):
                chunk = wanted[start : start + _CHUNK]
                with self._redis.pipeline(transaction=False) as pipe:
                    for group in {wish.group for wish in chunk}:
                        pipe.sadd(Queue.redis_queues_keys, queue_key(group))  # for RQ's own tools
                    names = len(pipe)
                    for wish in chunk:
                        job = WakeUp.of(wish, self._redis)
                        fields = [part for item in job.to_dict().items() for part in item]
                        self._ring(
                            keys=[job.key, queue_key(wish.group)],
                            args=[job.id, WAKE_TTL, *fields],
                            client=pipe,
                        )
                    rung += sum(pipe.execute()[names:])
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return rung

    def depth(self, group: str) -> int:
        """How many wake-ups wait for a group."""
        try:
            return int(self._redis.llen(queue_key(check_group(group))))
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def is_empty_handed(self, groups: Iterable[str]) -> bool:
        """Whether Redis knows nothing of these groups' queues: it is new, or it lost its data."""
        keys = [queue_key(check_group(group)) for group in groups]
        try:
            added = self._redis.sadd(Queue.redis_queues_keys, *keys)
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return int(added) == len(keys)

    def close(self) -> None:
        self._redis.close()


def _unavailable(error: redis.RedisError) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Redis did not take wake-ups ({type(error).__name__}).",
        hint="See whether it runs, and whether MAILHEARTH_REDIS_URL and its login are right.",
    )
