"""Genuine wake-ups: each runs once, soon, and survives the death of its worker or of Redis."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
import structlog
from redis import Redis
from redis.exceptions import NoPermissionError

from mailhearth_core.errors import InvalidValue, ServiceUnavailable
from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret
from mailhearth_worker.wakeups import Waker, WakeUpWorker, Wish, acl_rules

WS, BOX = UUID(int=1), UUID(int=2)
Make = Callable[..., WakeUpWorker]
Wait = Callable[..., None]


def wish(number: int, group: str = "a", verb: str = "drain") -> Wish:
    return Wish(group, verb, WS, UUID(int=number), 1)


def test_wake_ups_run_in_order_and_leave_nothing(
    client: Redis, waker: Waker, make: Make, recorder: Any, metrics: Metrics
) -> None:
    assert waker.wake("a", "drain", WS, BOX, 7)
    assert waker.wake_many([wish(n, verb="test") for n in range(1200)]) == 1200
    assert waker.depth("a") == 1201
    assert make().work(burst=True)
    assert recorder.calls[0] == ("drain", WS, BOX)
    assert [subject.int for _, _, subject in recorder.calls[1:]] == list(range(1200))
    assert client.keys() == [b"rq:queues"]
    assert not make().work(burst=True)
    assert metrics.registry.get_sample_value("mailhearth_forged_jobs_total") == 0


def test_the_same_wake_up_is_one_while_it_waits_or_runs(
    waker: Waker, running: Make, wait: Wait
) -> None:
    begun, go, ended = Event(), Event(), []

    def drain(workspace: UUID, subject: UUID) -> None:
        begun.set()
        assert go.wait(15)
        ended.append(subject)

    assert waker.wake("a", "drain", WS, BOX, 1)
    assert not waker.wake("a", "drain", WS, BOX, 1)
    assert waker.wake_many([wish(2), wish(2)]) == 0  # BOX is subject 2
    running(verbs={"drain": drain})
    assert begun.wait(15)
    assert not waker.wake("a", "drain", WS, BOX, 1)
    assert waker.wake("a", "drain", WS, BOX, 2)  # the next claim: must not be lost
    go.set()
    wait(lambda: ended == [BOX, BOX])
    wait(lambda: waker.wake("a", "drain", WS, BOX, 1))  # ended: can be made anew
    wait(lambda: len(ended) == 3)


def test_a_waiting_worker_reacts_at_once(waker: Waker, running: Make) -> None:
    delays: list[float] = []
    done = Event()
    sent = 0.0

    def drain(workspace: UUID, subject: UUID) -> None:
        delays.append(time.monotonic() - sent)
        done.set()

    running(verbs={"drain": drain})
    for number in range(20):
        done.clear()
        sent = time.monotonic()
        waker.wake("a", "drain", WS, BOX, number)
        assert done.wait(15)
    assert statistics.median(delays) < 0.2  # far below the one second of a pop


def test_a_verb_that_fails_ends_its_own_wake_up_only(
    client: Redis, waker: Waker, make: Make, recorder: Any, metrics: Metrics
) -> None:
    def fail(workspace: UUID, subject: UUID) -> None:
        raise ServiceUnavailable("The mail server is down.")

    waker.wake_many([wish(1, verb="fail"), wish(2)])
    with structlog.testing.capture_logs() as logs:
        make(verbs=recorder.verbs | {"fail": fail}).work(burst=True)
    assert [subject.int for _, _, subject in recorder.calls] == [2]
    [line] = [line for line in logs if line["event"] == "wake-up failed"]
    assert line["exc_info"]
    assert (
        metrics.registry.get_sample_value(
            "mailhearth_failures_total", {"class": "unavailable", "stage": "fail"}
        )
        == 1
    )
    assert client.keys() == [b"rq:queues"]


CHILD = """
import sys, threading
from pathlib import Path
from prometheus_client import CollectorRegistry
from redis import Redis
from mailhearth_core.metrics import Metrics
from mailhearth_worker.wakeups import WakeUpWorker

url, marker, groups = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(",")

def drain(workspace, subject):
    marker.touch()
    threading.Event().wait()

WakeUpWorker(Redis.from_url(url), groups, {"drain": drain}, Metrics(CollectorRegistry()),
             lambda: False, name="w", alive_seconds=1).work()
"""


@pytest.mark.parametrize("groups", ["a", "a,b"])
def test_a_killed_workers_wake_up_is_given_to_another(
    groups: str,
    valkey: Any,
    client: Redis,
    waker: Waker,
    running: Make,
    recorder: Any,
    wait: Wait,
    tmp_path: Path,
) -> None:
    marker = tmp_path / "begun"
    child = subprocess.Popen([sys.executable, "-c", CHILD, valkey.url, str(marker), groups])
    try:
        waker.wake("a", "drain", WS, BOX, 1)
        wait(marker.exists)
    finally:
        child.kill()
        child.wait()
    running(beat_seconds=0.1)
    wait(lambda: recorder.calls == [("drain", WS, BOX)])
    wait(lambda: not client.keys("rq:queue:a:taken:*"))
    wait(lambda: client.scard("rq:queue:a:workers") == 1)  # the dead one is forgotten


def test_a_worker_that_must_leave_gives_its_wake_up_back(
    client: Redis, waker: Waker, make: Make, recorder: Any
) -> None:
    def leave(workspace: UUID, subject: UUID) -> None:
        raise SystemExit(1)

    waker.wake("a", "drain", WS, BOX, 1)
    with pytest.raises(SystemExit):
        make(verbs={"drain": leave}).work()
    assert waker.depth("a") == 1
    make().work(burst=True)
    assert recorder.calls == [("drain", WS, BOX)]


def test_redis_may_die_and_return(
    valkey: Any, waker: Waker, running: Make, recorder: Any, wait: Wait
) -> None:
    running()
    waker.wake("a", "drain", WS, BOX, 1)
    wait(lambda: len(recorder.calls) == 1)
    valkey.kill()
    with pytest.raises(ServiceUnavailable):
        waker.wake("a", "drain", WS, BOX, 2)
    valkey.start()
    assert waker.wake("a", "drain", WS, BOX, 2)
    wait(lambda: len(recorder.calls) == 2)


def test_a_record_that_expired_is_passed_over(
    client: Redis, waker: Waker, make: Make, recorder: Any, metrics: Metrics
) -> None:
    waker.wake_many([wish(1), wish(2)])
    assert 0 < int(client.ttl(f"rq:job:{wish(1).id}")) <= 300
    client.delete(f"rq:job:{wish(1).id}")
    make().work(burst=True)
    assert [subject.int for _, _, subject in recorder.calls] == [2]
    assert metrics.registry.get_sample_value("mailhearth_forged_jobs_total") == 0


def test_a_busy_group_starves_no_other(
    waker: Waker, running: Make, recorder: Any, wait: Wait
) -> None:
    waker.wake_many([wish(n, "a") for n in range(50)] + [wish(n, "b") for n in range(100, 103)])
    running("a", "b")
    wait(lambda: len(recorder.calls) == 53)
    assert [subject.int for _, _, subject in recorder.calls[:6]] == [0, 100, 1, 101, 2, 102]


@pytest.mark.parametrize("groups", [("a",), ("a", "b")])
def test_a_confined_login_is_enough_and_no_more(
    groups: tuple[str, ...],
    valkey: Any,
    client: Redis,
    waker: Waker,
    running: Make,
    recorder: Any,
    wait: Wait,
) -> None:
    client.execute_command("ACL", "SETUSER", "w", *acl_rules(*groups), ">pw")  # type: ignore[no-untyped-call]
    url = valkey.url.replace("redis://", "redis://w:pw@")
    waker.wake_many([wish(n, group) for n, group in enumerate(groups)])
    waker.wake_many([wish(7, "other")])
    client.sadd("rq:queue:a:workers", "lost")
    client.rpush("rq:queue:a:taken:lost", wish(50).id)
    running(*groups, url=url, beat_seconds=0.1)
    wait(lambda: len(recorder.calls) == len(groups))
    wait(lambda: not client.exists("rq:queue:a:taken:lost"))
    with Redis.from_url(url) as confined:
        forbidden: list[Callable[[], object]] = [
            lambda: confined.hgetall(f"rq:job:{wish(7, 'other').id}"),
            lambda: confined.lmove("rq:queue:other", "rq:queue:a"),
            lambda: confined.rpush("rq:queue:other", "x"),
            lambda: confined.rpush("rq:queue:a-other", "x"),
            lambda: confined.delete("rq:job:a-other_drain_x_1"),
            lambda: confined.set("rq:suspended", 1),
            lambda: confined.hset(f"rq:job:{wish(1).id}", "data", "x"),
            lambda: confined.keys(),
            lambda: confined.eval("return 1", 0),
            lambda: confined.publish("rq:pubsub:x", "x"),
            lambda: confined.config_get("*"),
            lambda: confined.acl_list(),
            lambda: confined.client_list(),
            lambda: confined.flushall(),
        ]
        for act in forbidden:
            with pytest.raises(NoPermissionError):
                act()
    client.acl_deluser("w")
    assert waker.depth("other") == 1


@pytest.mark.parametrize("group", ["", "A", "a_b", "a*", "a:b", "-a", "a" * 64, "a\n"])
def test_a_group_that_could_reach_beyond_its_keys_is_refused(group: str) -> None:
    with pytest.raises(InvalidValue):
        acl_rules(group)
    with pytest.raises(InvalidValue):
        Wish(group, "drain", WS, BOX, 1)


def test_an_unreachable_redis_is_said_without_its_password() -> None:
    waker = Waker(Secret("redis://u:c4nary@127.0.0.1:1/0"))
    with pytest.raises(ServiceUnavailable) as caught:
        waker.wake("a", "drain", WS, BOX, 1)
    assert "c4nary" not in str(caught.value) + repr(caught.value.__cause__)
    assert not caught.value.permanent
    waker.close()
