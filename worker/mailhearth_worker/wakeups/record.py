"""The record of one wake-up in Redis: how it is written, and how strictly it is read.

Keys, all led by the worker group so that a Redis login can be confined to one:

    rq:queue:<group>                               ids that wait (list, RQ's own key)
    rq:queue:<group>:taken:<worker>                ids in a worker's hands (list)
    rq:queue:<group>:workers                       names of workers that may hold some (set)
    rq:queue:<group>:alive:<worker>                expires when a worker is gone (string)
    rq:job:<group>_<verb>_<subject>_<nonce>        the record (hash, RQ's own key and fields)
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, NoReturn, cast
from uuid import UUID

from redis import Redis
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.serializers import JSONSerializer

from mailhearth_core.errors import InvalidValue, MailhearthError

#: Life of a record, seconds. A wake-up that waited longer is dropped; its work is still due in
#: Postgres, so the scheduler rings again. This also frees the id of a wake-up lost with its worker.
WAKE_TTL = 300
_MAX_DATA = 400  # bytes of JSON; a genuine record has about 130

_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VERB = re.compile(r"[a-z][a-z0-9-]{0,30}")
_NONCE = re.compile(r"[A-Za-z0-9-]{1,64}")

# Every field that RQ 3 writes for a bare job. What is not listed (callbacks' time limits, webhooks,
# meta, dependencies, retries, repeats, rate limits, results) a genuine record does not have.
_FREE = frozenset({"created_at", "enqueued_at", "data", "description"})
_EMPTY = frozenset(
    {
        "success_callback_name",
        "failure_callback_name",
        "stopped_callback_name",
        "started_at",
        "ended_at",
        "last_heartbeat",
        "worker_name",
        "group_id",
    }
)
_EXACT = {
    "status": JobStatus.QUEUED.value.encode(),
    "timeout": b"-1",
    "result_ttl": b"0",
    "failure_ttl": str(WAKE_TTL).encode(),
    "ttl": str(WAKE_TTL).encode(),
}


class ForgedJob(MailhearthError):
    """A record in Redis that the scheduler did not write, or not so."""

    code = "forged_job"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"A job from Redis was refused: {why}.",
            hint="Find out who else can write to this Redis.",
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """One wake-up: a verb of the closed table for a subject (a mailbox, an attempt).

    `nonce` tells this occasion from the next (such as the claim number): while a wish is queued or
    running the same wish again is the same wake-up; once it has ended it can be made anew.
    Raises InvalidValue on a group, verb or nonce that cannot be part of a key.
    """

    group: str
    verb: str
    workspace_id: UUID
    subject_id: UUID
    nonce: int | str

    def __post_init__(self) -> None:
        check_group(self.group)
        if not _VERB.fullmatch(self.verb):
            raise InvalidValue("verb", self.verb, "lower-case letters, digits, dashes")
        if not _NONCE.fullmatch(str(self.nonce)):
            raise InvalidValue("nonce", self.nonce, "letters, digits and dashes, at most 64")

    @property
    def id(self) -> str:
        return f"{self.group}_{self.verb}_{self.subject_id}_{self.nonce}"


class WakeUp(Job):
    """RQ's job, reduced to a wish: it reads strictly, and cannot be performed by RQ itself."""

    wish: Wish

    @classmethod
    def of(cls, wish: Wish, connection: Redis) -> WakeUp:
        """The record of a wish, ready to be written."""
        created = cls.create(
            wish.verb,
            args=[str(wish.workspace_id), str(wish.subject_id)],
            connection=connection,
            id=wish.id,
            origin=wish.group,
            description=wish.verb,
            status=JobStatus.QUEUED,
            timeout=-1,
            result_ttl=0,
            failure_ttl=WAKE_TTL,
            ttl=WAKE_TTL,
            serializer=JSONSerializer,
        )
        job = cast(WakeUp, created)
        job.wish = wish
        return job

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take a hash as it came from Redis; raises ForgedJob unless it is a wake-up of this id."""
        fields = {key.decode("utf-8", "replace"): value for key, value in raw_data.items()}
        for name, value in fields.items():
            if name in _EMPTY:
                if value:
                    raise ForgedJob(f"it has {name}")
            elif name in _EXACT:
                if value != _EXACT[name]:
                    raise ForgedJob(f"its {name} is {value[:40]!r}")
            elif name not in _FREE and name != "origin":
                raise ForgedJob(f"it has {name[:40]!r}")
        verb, workspace_id, subject_id = _read_call(fields.get("data", b""))
        group, _, rest = self.id.partition("_")
        nonce = rest.rpartition("_")[2]
        if fields.get("origin", b"") != group.encode():
            raise ForgedJob("it comes from another queue")
        try:
            self.wish = Wish(group, verb, workspace_id, subject_id, nonce)
        except InvalidValue as error:
            raise ForgedJob(error.message) from None
        if self.wish.id != self.id:
            raise ForgedJob("its id is not that of its subject")

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise ForgedJob("RQ itself tried to run it")

    # Every door by which RQ would import or call what a record names.
    perform = _refuse
    _execute = _refuse
    _deserialize_data = _refuse
    func = property(_refuse)
    success_callback = property(_refuse)
    failure_callback = property(_refuse)
    stopped_callback = property(_refuse)
    send_webhooks = _refuse


class WakeUpQueue(Queue):
    """A queue that holds wake-ups only."""

    job_class = WakeUp


def check_group(group: str) -> str:
    """The group itself; raises InvalidValue unless it may be part of a key and of an ACL rule."""
    if not _GROUP.fullmatch(group):
        raise InvalidValue("worker group", group, "a DNS label: a-z, 0-9 and dashes, at most 63")
    return group


def queue_key(group: str) -> str:
    return f"{Queue.redis_queue_namespace_prefix}{group}"


def _read_call(data: bytes) -> tuple[str, UUID, UUID]:
    """The verb, workspace and subject; JSON only, deflated or plain as RQ allows."""
    call = _load(data)
    if not (isinstance(call, list) and len(call) == 4):
        raise ForgedJob("its data is no call")
    verb, instance, args, kwargs = call
    if not isinstance(verb, str) or instance is not None or kwargs != {}:
        raise ForgedJob("it is no call of a verb with two arguments")
    if not (isinstance(args, list) and len(args) == 2):
        raise ForgedJob("it has not exactly two arguments")
    return verb, _read_uuid(args[0]), _read_uuid(args[1])


def _load(data: bytes) -> Any:
    try:
        inflater = zlib.decompressobj()
        plain = inflater.decompress(data, _MAX_DATA + 1)
    except zlib.error:
        plain = data
    if len(plain) > _MAX_DATA:
        raise ForgedJob(f"its data is longer than {_MAX_DATA} bytes")
    try:
        return json.loads(plain)
    except ValueError:  # also UnicodeDecodeError
        raise ForgedJob("its data is no JSON") from None


def _read_uuid(value: object) -> UUID:
    try:
        if isinstance(value, str) and str(found := UUID(value)) == value:
            return found
    except ValueError:
        pass
    raise ForgedJob("an argument is no UUID")
