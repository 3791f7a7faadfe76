"""Wake-ups: the only thing that Redis carries, on RQ's records and none of its callables.

A wake-up says "do this verb for that subject"; what there is to do is read from Postgres. Losing
one costs a tick of the scheduler, doubling one costs a look at a lease. What comes out of Redis is
untrusted: a record that the scheduler could not have written is refused, counted and removed, and
nothing in it is ever imported, unpickled or called.
"""

from __future__ import annotations

from mailhearth_worker.wakeups.acl import acl_rules
from mailhearth_worker.wakeups.record import ForgedJob, WakeUp, Wish
from mailhearth_worker.wakeups.waker import Waker
from mailhearth_worker.wakeups.worker import Verb, WakeUpWorker, make_worker

__all__ = [
    "ForgedJob",
    "Verb",
    "WakeUp",
    "WakeUpWorker",
    "Waker",
    "Wish",
    "acl_rules",
    "make_worker",
]
