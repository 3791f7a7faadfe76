"""The work queue: each key once at a time, back-off for what passes, none for what does not."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mailhearth_core.errors import InvalidValue, NotYet
from mailhearth_operator.engine import queue
from mailhearth_operator.engine.queue import Key, WorkQueue
from waiting import wait_for

KEY: Key = ("Workspace", "n", "acme")
Make = Callable[..., WorkQueue]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(queue, "FIRST_WAIT_S", 0.02)
    made: list[WorkQueue] = []

    def start(ensure: Callable[[Key], None], threads: int = 2) -> WorkQueue:
        made.append(WorkQueue(ensure, threads=threads))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_a_permanent_error_is_not_tried_again_until_the_key_is_added(make: Make) -> None:
    calls: list[float] = []

    def ensure(_: Key) -> None:
        calls.append(time.monotonic())
        raise InvalidValue("cap", 9, "1 to 5")

    work = make(ensure)
    work.add(KEY)
    wait_for(lambda: len(calls) == 1 and work.depth() == 0)
    work.hurry()
    assert not threading.Event().wait(0.3)
    assert len(calls) == 1
    work.add(KEY)
    wait_for(lambda: len(calls) == 2)


@pytest.mark.parametrize("error", [NotYet("later"), ValueError("a fault")], ids=["ours", "a fault"])
def test_a_passing_error_is_tried_again_after_longer_and_longer(
    make: Make, error: Exception
) -> None:
    calls: list[float] = []

    def ensure(_: Key) -> None:
        calls.append(time.monotonic())
        if len(calls) < 5:
            raise error

    work = make(ensure)
    work.add(KEY)
    wait_for(lambda: len(calls) == 5 and work.depth() == 0)
    waits = [later - before for before, later in itertools.pairwise(calls)]
    for wait, least in zip(waits, (0.02, 0.04, 0.08, 0.16), strict=True):
        assert wait >= least
    assert work._waits == {}  # the next failure begins anew


def test_hurry_ends_the_waits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FIRST_WAIT_S", 3600.0)
    monkeypatch.setattr(queue, "LONGEST_WAIT_S", 3600.0)
    calls: list[Key] = []

    def ensure(key: Key) -> None:
        calls.append(key)
        if len(calls) == 1:
            raise NotYet("the database is away")

    work = make(ensure)
    work.add(KEY)
    wait_for(lambda: len(calls) == 1 and work.depth() == 0)
    work.hurry()
    wait_for(lambda: len(calls) == 2)


def test_a_key_is_never_worked_on_twice_at_once_and_no_change_is_missed(make: Make) -> None:
    running, most, seen = 0, 0, 0
    wanted = 0
    lock = threading.Lock()

    def ensure(_: Key) -> None:
        nonlocal running, most, seen
        with lock:
            running += 1
            most = max(most, running)
            reads = wanted
        time.sleep(0.002)
        with lock:
            seen = reads
            running -= 1

    work = make(ensure, threads=4)
    for _ in range(200):
        with lock:
            wanted += 1
        work.add(KEY)
        time.sleep(0.0005)
    wait_for(lambda: work.depth() == 0)
    assert most == 1
    assert seen == wanted
