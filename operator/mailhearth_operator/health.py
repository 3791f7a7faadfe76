"""What tells whether the operator lives: its watches move, its threads are not stuck.

Postgres being away is no reason to be ended: nothing would be better for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import WATCHED, Kind, Object
from mailhearth_operator.cluster.seen import Key, Seen, concerns_us

STUCK_S = 300.0
"""A key that is worked on for so long hangs."""
BLIND_S = 60.0
"""A watch that has not shown for so long what a listing shows is stuck."""


class Health:
    """Compares listings with what the watches have shown.

    Args:
        gone: told of each object that a watch still shows and two listings no longer have: a watch
            that begins anew, after the API server was away, does not tell of what went meanwhile.
        busy: for each key being worked on, since when (monotonic seconds).
    """

    def __init__(
        self,
        api: Api,
        seen: Seen,
        namespaces: tuple[str, ...],
        busy: Callable[[], dict[tuple[str, str, str], float]],
        gone: Callable[[Kind, Object], None],
    ) -> None:
        self._api = api
        self._seen = seen
        self._namespaces = namespaces
        self._busy = busy
        self._gone = gone
        self._missing: set[tuple[Key, str]] = set()
        self._unseen: dict[Key, tuple[str, float]] = {}
        self._lock = Lock()

    def compare(self) -> None:
        """One look; reads only. Raises ServiceUnavailable, and says nothing about watches then."""
        now = time.monotonic()
        unseen: dict[Key, tuple[str, float]] = {}
        missing: set[tuple[Key, str]] = set()
        for kind in WATCHED:
            shown = dict(self._seen.versions(kind))
            listed = {
                (kind.name, meta["namespace"], meta["name"]): meta["resourceVersion"]
                for namespace in self._namespaces
                for meta in self._api.list_metadata(kind, namespace)
                if concerns_us(kind, meta)
            }
            for key, version in listed.items():
                if int(shown.get(key, "0")) < int(version):
                    unseen[key] = (version, now)
            for key in shown.keys() - listed.keys():
                missing.add((key, shown[key]))
                obj = self._seen.get(kind, key[1], key[2])
                if (key, shown[key]) in self._missing and obj is not None:
                    self._gone(kind, obj)
        self._missing = missing
        with self._lock:
            self._unseen = {
                key: (version, min(at, self._unseen.get(key, ("", at))[1]))
                for key, (version, at) in unseen.items()
            }

    def reasons(self) -> list[str]:
        """Why this process should be ended; empty when it lives."""
        now = time.monotonic()
        with self._lock:
            blind = [key for key, (_, at) in self._unseen.items() if now - at > BLIND_S]
        told = [f"the watch of {key[0]} has not shown {'/'.join(key[1:])}" for key in blind[:3]]
        for key, since in self._busy().items():
            if now - since > STUCK_S:
                told.append(f"{'/'.join(key)} is worked on for {now - since:.0f} s")
        return told
