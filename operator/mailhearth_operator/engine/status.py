"""Writing `status`: on a difference of meaning only, coarse counts at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Lock
from typing import Any

from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import Kind, Object
from mailhearth_operator.cluster.seen import Seen
from mailhearth_operator.engine.context import machine
from mailhearth_operator.engine.differences import is_as_wished
from mailhearth_operator.resources.conditions import Condition, merged

COUNTS = ("mailboxes", "active", "quarantined")
COUNTS_S = 60.0


class Statuses:
    """The last writes of counts, so that they are not written too often."""

    def __init__(self, api: Api, seen: Seen) -> None:
        self._api = api
        self._seen = seen
        self._counted: dict[str, float] = {}
        self._lock = Lock()

    def write(
        self, kind: Kind, obj: Object, conditions: Iterable[Condition], facts: Object
    ) -> bool:
        """Brings the status of `obj` up; True when something was written.

        Args:
            facts: further fields of the status; those of `COUNTS` may wait, but for the first.
        """
        meta, old = obj["metadata"], obj.get("status", {})
        generation: int = meta["generation"]
        wished: dict[str, Any] = {
            "observedGeneration": generation,
            "conditions": merged(
                old.get("conditions", ()), conditions, generation=generation, at=machine()
            ),
            **facts,
        }
        rest = {key: value for key, value in wished.items() if key not in COUNTS}
        first = not old.get(COUNTS[0])
        if is_as_wished(old, rest) and (
            is_as_wished(old, wished) or not (first or self._may_count(meta["uid"]))
        ):
            return False
        with self._lock:
            self._counted[meta["uid"]] = time.monotonic()
        body = {"status": wished}
        made = self._api.merge(kind, meta["namespace"], meta["name"], body, subresource="status")
        self._seen.put(kind, made)
        return True

    def _may_count(self, uid: str) -> bool:
        with self._lock:
            last = self._counted.get(uid)
        return last is None or time.monotonic() - last >= COUNTS_S
