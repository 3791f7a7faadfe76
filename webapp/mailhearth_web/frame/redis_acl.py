"""What the web's Redis login may do: count hits under `limits:`, and see how long queues are."""

from __future__ import annotations

from mailhearth_web.frame.guard import PREFIX

_KEYS = (
    f"~{PREFIX}:*",
    # Their length and no more: what waits in them is the scheduler's and the workers' alone.
    "%R~rq:queue:*",
    "%R~rq:queues",
    "%R~rq:workers*",
)
_COMMANDS = (
    # the counters of `limits`, within its scripts
    *("evalsha", "eval", "script|load", "get", "set", "incrby", "incr", "pexpire", "expire"),
    *("pttl", "ttl", "rename", "exists"),
    # figures
    *("llen", "scard", "smembers"),
    # the connection itself
    *("ping", "select", "client|setinfo", "client|setname"),
)


def acl_rules() -> list[str]:
    """Rules for `ACL SETUSER`, without the words for the password and for switching it on."""
    return [*_KEYS, *(f"+{command}" for command in _COMMANDS)]
