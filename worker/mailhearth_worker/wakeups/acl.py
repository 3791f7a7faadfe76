"""What a worker's Redis login may do: its own groups' keys, and the few commands it needs."""

from __future__ import annotations

from rq.job import Job

from mailhearth_worker.wakeups.record import check_group, queue_key

_COMMANDS = (
    # taking a wake-up, and giving back those of a lost worker
    "blmove",
    "blpop",
    "lmove",
    "rpush",
    "lrem",
    # reading and ending one
    "hgetall",
    "del",
    # being known to be alive
    "set",
    "exists",
    "sadd",
    "srem",
    "smembers",
    # the connection itself
    "ping",
    "client|setinfo",
    "client|setname",
)


def acl_rules(*groups: str) -> list[str]:
    """Rules for `ACL SETUSER <name> <rules...> ><password>`; no password among them.

    With them a worker can neither see nor write other groups' wake-ups, and has no scripts, no
    pub/sub, no configuration and no listing of keys. Raises InvalidValue on a bad group name.
    """
    keys = []
    for group in groups:
        key = queue_key(check_group(group))
        keys += [f"~{key}", f"~{key}:*", f"~{Job.redis_job_namespace_prefix}{group}_*"]
    return _rules(keys)


def rules_of_all_groups() -> list[str]:
    """As `acl_rules`, for one login that the workers of every group share.

    It can see and drop other groups' wake-ups, no more: each worker takes those of its own groups
    only, and what is lost is due in Postgres still.
    """
    return _rules([f"~{queue_key('*')}", f"~{Job.redis_job_namespace_prefix}*_*"])


def _rules(keys: list[str]) -> list[str]:
    return ["reset", "on", *keys, *(f"+{command}" for command in _COMMANDS)]
