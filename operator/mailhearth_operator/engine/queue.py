"""The work queue: each key once and in one thread at a time, with back-off after errors."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from threading import Condition, Thread

import structlog

from mailhearth_core.errors import MailhearthError

log = structlog.get_logger()

Key = tuple[str, str, str]
"""Kind, namespace, name."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 300.0


class WorkQueue:
    """Calls `ensure(key)` for each key added, in several threads.

    A key added while it is worked on is worked on once more. After an error it waits, twice as long
    each time, up to five minutes; a permanent error is not tried again until the key is added.

    Args:
        ensure: makes the cluster as the key's object says; level-based, so that once is enough.
        failed: told of each error.
    """

    def __init__(
        self,
        ensure: Callable[[Key], None],
        *,
        threads: int = 4,
        failed: Callable[[Key, BaseException], None] = lambda *_: None,
    ) -> None:
        self._ensure = ensure
        self._failed = failed
        self._changed = Condition()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._waits: dict[Key, float] = {}
        self._stopping = False
        self._threads = [Thread(target=self._work, name=f"ensure-{n}") for n in range(threads)]
        self.busy_since: dict[Key, float] = {}
        """Machine time (monotonic) since which each key is being worked on."""

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when what was begun has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:  # it may never have been started
                thread.join()

    def add(self, key: Key, *, after: float = 0.0) -> None:
        """The key is due, `after` seconds from now at the latest."""
        with self._changed:
            self._add(key, after)

    def hurry(self) -> None:
        """What waits after an error is due now: whatever was away is back."""
        with self._changed:
            for key in self._waits:
                if key in self._due:
                    self._add(key, 0.0)

    def depth(self) -> int:
        """Keys due now or being worked on."""
        now = time.monotonic()
        with self._changed:
            return len(self._running) + sum(at <= now for at in self._due.values())

    def _add(self, key: Key, after: float) -> None:
        if key in self._running and after == 0.0:
            self._again.add(key)
            return
        at = time.monotonic() + after
        known = self._due.get(key)
        if known is not None and known <= at:
            return
        self._due[key] = at
        heapq.heappush(self._heap, (at, key))
        self._changed.notify()

    def _take(self) -> Key | None:
        """The next key; None when it is time to stop."""
        with self._changed:
            while not self._stopping:
                wait = None
                while self._heap:
                    at, key = self._heap[0]
                    if self._due.get(key) != at:
                        heapq.heappop(self._heap)  # another time was set since
                        continue
                    if at > time.monotonic():
                        wait = at - time.monotonic()
                        break
                    heapq.heappop(self._heap)
                    del self._due[key]
                    if key in self._running:
                        self._again.add(key)
                        continue
                    self._running.add(key)
                    self.busy_since[key] = time.monotonic()
                    return key
                self._changed.wait(wait)
            return None

    def _work(self) -> None:
        while (key := self._take()) is not None:
            wait: float | None = None
            try:
                self._ensure(key)
            except Exception as error:  # noqa: BLE001 - told, logged and tried again
                wait = self._after(key, error)
            with self._changed:
                if wait is None:
                    self._waits.pop(key, None)
                self._running.discard(key)
                self.busy_since.pop(key, None)
                if key in self._again:
                    self._again.discard(key)
                    self._add(key, 0.0)
                elif wait is not None:
                    self._add(key, wait)

    def _after(self, key: Key, error: Exception) -> float | None:
        """How long to wait before the next try; None: not at all."""
        self._failed(key, error)
        if isinstance(error, MailhearthError):
            log.warning("not_ensured", key="/".join(key), reason=str(error), code=error.code)
            if error.permanent:
                return None
        else:
            log.exception("ensure_failed", key="/".join(key))
        with self._changed:
            wait = min(self._waits.get(key, FIRST_WAIT_S / 2) * 2, LONGEST_WAIT_S)
            self._waits[key] = wait
        return wait
