"""The worker's side: an RQ SimpleWorker whose loop touches nothing of RQ that runs callables.

RQ's own loop also subscribes to commands (stop, shutdown), obeys a suspension key, cleans
registries (which calls failure callbacks), moves dependents, repeats and retries jobs, and sends
webhooks, all as records in Redis say. This loop replaces it: take an id, read the record strictly,
call one verb of a closed table, remove the record.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import redis
import structlog
from redis import Redis
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from mailhearth_core.logs import bound
from mailhearth_core.metrics import Metrics
from mailhearth_worker.wakeups.record import ForgedJob, WakeUp, WakeUpQueue, check_group

#: Does one verb for (workspace id, subject id), reading everything else from Postgres.
Verb = Callable[[UUID, UUID], None]

_POP_SECONDS = 1  # longest wait of one pop, hence until a stop is noticed; waking is at once
_ALIVE_SECONDS = 120  # a worker silent for longer (twice a slice) is lost, its wake-ups given back
_BEAT_SECONDS = 15.0
_LONGEST_PAUSE = 2.0  # seconds between two tries to reach Redis

_log = structlog.get_logger(__name__)


class WakeUpWorker(SimpleWorker):
    """Serves the wake-ups of some groups, one at a time, in this thread.

    A verb that raises is logged and counted, and its wake-up ends: whether to try again is decided
    in Postgres. Redis may vanish and return at any time. Signals are the process's own business:
    `should_stop` is asked before each wake-up and at least once a second. With one group a
    wake-up passes into this worker's hands in one step; with several there is an instant in which
    a kill loses it, and the scheduler rings again (see WAKE_TTL).
    """

    job_class = WakeUp
    queue_class = WakeUpQueue

    def __init__(
        self,
        connection: Redis,
        groups: Sequence[str],
        verbs: Mapping[str, Verb],
        metrics: Metrics,
        should_stop: Callable[[], bool],
        *,
        name: str,
        alive_seconds: int = _ALIVE_SECONDS,
        beat_seconds: float = _BEAT_SECONDS,
    ) -> None:
        super().__init__(
            [check_group(group) for group in groups],
            name=f"{name}-{secrets.token_hex(4)}",  # a restarted worker is another one
            connection=connection,
            serializer=JSONSerializer,
            prepare_for_work=False,
        )
        self._verbs = dict(verbs)
        self._metrics = metrics
        self._should_stop = should_stop
        self._alive_seconds = alive_seconds
        self._beat_seconds = beat_seconds
        self._next_beat = 0.0
        self._order = [cast(str, queue.key) for queue in self.queues]

    def work(self, burst: bool = False, *_: Any, **__: Any) -> bool:
        """Serve until told to stop, or with `burst` until nothing waits; True if any was served."""
        try:
            return self._loop(burst)
        finally:
            self._leave()

    def _loop(self, burst: bool) -> bool:
        served = False
        pause = 0.1
        while not self._should_stop():
            try:
                self._beat()
                taken = self._take(wait=not burst)
                if taken is not None:
                    served = True
                    self._serve(*taken)
                elif burst:
                    break
                pause = 0.1
            except redis.RedisError as error:
                _log.warning("redis failed; trying again", error=repr(error), seconds=pause)
                self._next_beat = 0.0  # and then take back what a cut connection left in our hands
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        return served

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Call the verb of a wake-up; raises ForgedJob when it is not in the table."""
        wish = cast(WakeUp, job).wish
        verb = self._verbs.get(wish.verb)
        if verb is None:
            raise ForgedJob(f"{wish.verb} is no verb")
        with (
            bound(correlation_id=job.id, workspace=str(wish.workspace_id)),
            self._metrics.wakeup_seconds.labels(wish.verb).time(),
        ):
            try:
                verb(wish.workspace_id, wish.subject_id)
            except Exception as error:  # noqa: BLE001 - logged, counted; Postgres holds the work
                self._metrics.failure(error, wish.verb)
                _log.exception("wake-up failed", verb=wish.verb, subject=str(wish.subject_id))

    def _take(self, wait: bool) -> tuple[str, bytes] | None:
        """The next id and the queue's key, now in our hands; None when nothing came."""
        if len(self._order) == 1:
            key = self._order[0]
            if wait:
                taken: Any = self.connection.blmove(key, self._hands(key), _POP_SECONDS)
            else:
                taken = self.connection.lmove(key, self._hands(key))
            return None if taken is None else (key, taken)
        if not wait:
            for key in self._order:
                taken = self.connection.lmove(key, self._hands(key))
                if taken is not None:
                    return key, taken
            return None
        popped: Any = self.connection.blpop(self._order, _POP_SECONDS)
        if popped is None:
            return None
        key, taken = popped[0].decode(), popped[1]
        self.connection.rpush(self._hands(key), taken)
        self._order.remove(key)  # a busy group goes last, so that it starves no other
        self._order.append(key)
        return key, taken

    def _serve(self, key: str, raw_id: bytes) -> None:
        """Do one wake-up and end it, whatever it was."""
        job_key: str | None = None
        try:
            job = self._blank(key, raw_id)
            job_key = cast(str, job.key)
            record = self._read(job_key)
            if record:  # else it has expired: the scheduler rings again
                job.restore(record)
                self.execute_job(job, self._queue(key))
        except ForgedJob as error:
            self._metrics.forged_jobs.inc()
            _log.error("forged job refused", why=error.message, id=repr(raw_id[:80]), queue=key)
        with self.connection.pipeline(transaction=False) as pipe:
            if job_key is not None:
                pipe.delete(job_key)
            pipe.lrem(self._hands(key), 1, cast(str, raw_id))
            pipe.execute()

    def _blank(self, key: str, raw_id: bytes) -> WakeUp:
        """A job of that id, nothing read yet; raises ForgedJob on an id that is not this group's"""
        group = self._queue(key).name
        if len(raw_id) > 256 or not raw_id.startswith(f"{group}_".encode()):
            raise ForgedJob("its id is not of this group")
        try:
            return WakeUp(raw_id.decode("ascii"), self.connection, JSONSerializer)
        except ValueError:
            raise ForgedJob("its id has other characters than an id may") from None

    def _read(self, job_key: str) -> dict[bytes, bytes]:
        try:
            return cast("dict[bytes, bytes]", self.connection.hgetall(job_key))
        except redis.ResponseError:
            raise ForgedJob("its record is no hash") from None

    def _queue(self, key: str) -> Queue:
        return next(queue for queue in self.queues if queue.key == key)

    def _hands(self, key: str, worker: str | None = None) -> str:
        return f"{key}:taken:{worker or self.name}"

    def _beat(self) -> None:
        """Now and then: be known as alive, and give back what lost workers held."""
        if time.monotonic() < self._next_beat:
            return
        for key in self._order:
            self.connection.set(f"{key}:alive:{self.name}", 1, ex=self._alive_seconds)
            self.connection.sadd(f"{key}:workers", self.name)
            self._give_back(key, self.name)  # between two wake-ups our hands are empty
            members = cast("set[bytes]", self.connection.smembers(f"{key}:workers"))
            for member in members:
                other = member.decode("utf-8", "replace")
                if not self.connection.exists(f"{key}:alive:{other}"):
                    self._give_back(key, other)
                    self.connection.srem(f"{key}:workers", member)
        self._next_beat = time.monotonic() + self._beat_seconds

    def _give_back(self, key: str, worker: str) -> None:
        while self.connection.lmove(self._hands(key, worker), key, "RIGHT", "LEFT") is not None:
            _log.info("wake-up given back", queue=key, worker=worker)

    def _leave(self) -> None:
        """Forget this worker; a Redis that is gone will forget it by itself."""
        try:
            for key in self._order:
                self._give_back(key, self.name)
                self.connection.delete(f"{key}:alive:{self.name}")
                self.connection.srem(f"{key}:workers", self.name)
        except redis.RedisError as error:
            _log.warning("left without a word to redis", error=repr(error))


def make_worker(
    connection: Redis,
    groups: Sequence[str],
    verbs: Mapping[str, Verb],
    metrics: Metrics,
    should_stop: Callable[[], bool],
    *,
    name: str,
) -> WakeUpWorker:
    """A worker ready to `work()`; raises InvalidValue on a group name that cannot be."""
    return WakeUpWorker(connection, groups, verbs, metrics, should_stop, name=name)
