"""Whoever can write to Redis can ring for workers, and make them run nothing."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from rq import Queue, Repeat, Retry
from rq.callbacks import Callback
from rq.command import send_command, send_kill_horse_command, send_shutdown_command
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.suspension import suspend

from mailhearth_core.metrics import Metrics
from mailhearth_worker.wakeups import ForgedJob, Waker, WakeUp, WakeUpWorker, Wish

WS, BOX = UUID(int=1), UUID(int=2)
WISH = Wish("a", "drain", WS, BOX, 1)
KEY = f"rq:job:{WISH.id}"
NOTHING_LEFT = {b"rq:queues"}

Make = Callable[..., WakeUpWorker]
Fields = dict[Any, Any]


def genuine(client: Redis) -> Fields:
    return dict(WakeUp.of(WISH, client).to_dict())


def put(client: Redis, fields: Fields, job_id: str | bytes = WISH.id) -> None:
    name = job_id if isinstance(job_id, bytes) else job_id.encode()
    client.hset(b"rq:job:" + name, mapping=fields)
    client.rpush("rq:queue:a", name)


def call(*parts: object) -> bytes:
    return zlib.compress(json.dumps(parts).encode())


def forged(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("mailhearth_forged_jobs_total")


class Touch:
    """Unpickling this touches a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def _data_cases(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}"
    ids = [str(WS), str(BOX)]
    return {
        "json os.system": call("os.system", None, [touch], {}),
        "json os.system with ids": call("os.system", None, ids, {}),
        "plain json os.system": json.dumps(["os.system", None, [touch], {}]).encode(),
        "pickle": zlib.compress(pickle.dumps(("os.system", None, [touch], {}))),
        "pickle that acts": pickle.dumps(Touch(marker)),
        "unknown verb": call("erase", None, ids, {}),
        "method of an instance": call("drain", "os", ids, {}),
        "keywords": call("drain", None, ids, {"command": touch}),
        "keywords null": call("drain", None, ids, None),
        "one argument": call("drain", None, ids[:1], {}),
        "three arguments": call("drain", None, [*ids, touch], {}),
        "arguments by name": call("drain", None, {"a": ids[0], "b": ids[1]}, {}),
        "no uuid": call("drain", None, [touch, str(BOX)], {}),
        "uuid spelt otherwise": call("drain", None, [WS.hex, str(BOX)], {}),
        "a number": call("drain", None, [1, 2], {}),
        "another subject": call("drain", None, [str(WS), str(UUID(int=9))], {}),
        "another verb": call("test", None, ids, {}),
        "verb is a list": call(["drain"], None, ids, {}),
        "not a call": call("drain"),
        "a map": zlib.compress(b"{}"),
        "empty": b"",
        "not utf-8": b"\xff\xfe\xfd",
        "deep": b"[" * 100_000,
        "a bomb": zlib.compress(bytes(50_000_000)),
        "a huge number": b"1" * 5_000,
    }


@pytest.mark.parametrize("case", _data_cases(Path("marker")))
def test_forged_data_is_refused(
    case: str,
    client: Redis,
    make: Make,
    recorder: Any,
    metrics: Metrics,
    tmp_path: Path,
) -> None:
    marker = tmp_path / "marker"
    put(client, genuine(client) | {"data": _data_cases(marker)[case]})
    make().work(burst=True)
    assert recorder.calls == []
    assert not marker.exists()
    assert forged(metrics) == 1
    assert set(client.keys()) <= NOTHING_LEFT


FIELDS: list[Fields] = [
    {"success_callback_name": "os.system"},
    {"failure_callback_name": "os.system"},
    {"stopped_callback_name": "os.system"},
    {"success_callback_timeout": 1},
    {"webhooks": '[{"url": "http://127.0.0.1:1/", "job_status": "finished"}]'},
    {"meta": '{"a": 1}'},
    {"meta": pickle.dumps({})},
    {"result": pickle.dumps(1)},
    {"dependency_id": "x"},
    {"dependency_ids": '["x"]'},
    {"allow_dependency_failures": 1},
    {"retries_left": 3},
    {"number_of_retries": 1},
    {"retry_intervals": "[1]"},
    {"repeats_left": 3},
    {"repeat_intervals": "[1]"},
    {"group_id": "g"},
    {"rate_limit_key": "k"},
    {"rate_limit_concurrency": 1},
    {"worker_name": "w"},
    {"exc_info": "x"},
    {"serializer": "pickle"},
    {"timeout": 1},
    {"result_ttl": 500},
    {"ttl": 9_999_999},
    {"status": "finished"},
    {"status": "never heard of"},
    {"origin": "b"},
    {"origin": ""},
    {b"\xff\xfe": "x"},
]


@pytest.mark.parametrize("extra", FIELDS, ids=str)
def test_a_record_with_more_than_a_wake_up_is_refused(
    extra: Fields, client: Redis, make: Make, recorder: Any, metrics: Metrics
) -> None:
    put(client, genuine(client) | extra)
    make().work(burst=True)
    assert recorder.calls == []
    assert forged(metrics) == 1
    assert set(client.keys()) <= NOTHING_LEFT


@pytest.mark.parametrize(
    "job_id",
    [
        b"",
        b"../../etc",
        b"a",
        b"a_drain_x_1",
        b"a_" + b"x" * 1_000_000,
        b"a_\xff\xfe",
        b"a_dr*in",
        WISH.id.replace("a_", "b_", 1).encode(),  # another group's
        f"a_drain_{BOX}_1_2".encode(),
        f"a_drain_{BOX}_".encode(),
        f"a_drain_{str(BOX).replace('2', '3')}_1".encode(),
    ],
)
def test_a_forged_id_is_refused(
    job_id: bytes, client: Redis, make: Make, recorder: Any, metrics: Metrics
) -> None:
    put(client, genuine(client), job_id)
    make().work(burst=True)
    assert recorder.calls == []
    assert forged(metrics) == 1
    assert client.llen("rq:queue:a") == 0
    assert not [key for key in client.scan_iter() if b"taken" in key]


def test_a_record_of_another_type_is_refused(client: Redis, make: Make, metrics: Metrics) -> None:
    client.set(KEY, b"text")
    client.rpush("rq:queue:a", WISH.id)
    make().work(burst=True)
    assert forged(metrics) == 1
    assert set(client.keys()) <= NOTHING_LEFT


@pytest.mark.parametrize("serializer", [JSONSerializer, DefaultSerializer])
def test_jobs_that_rq_itself_would_run_are_refused(
    serializer: Any, valkey: Any, client: Redis, make: Make, metrics: Metrics, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    touch = f"touch {marker}"

    def enqueue(name: str) -> None:
        queue = Queue(name, connection=client, serializer=serializer)
        first = queue.enqueue("os.system", touch)
        queue.enqueue("os.system", touch, job_id="a_x", retry=Retry(max=3))
        queue.enqueue("os.system", touch, repeat=Repeat(times=2))
        queue.enqueue("os.system", touch, on_failure=Callback("os.system"))
        queue.enqueue("os.system", touch, depends_on=first)

    enqueue("a")
    make().work(burst=True)
    assert forged(metrics) == 4  # the fifth waits for the first, and no longer in a queue
    assert not marker.exists()

    enqueue("control")  # the same jobs do act where RQ runs them
    alias = "json" if serializer is JSONSerializer else "pickle"
    command = [sys.executable, "-m", "rq.cli", "worker", "control", "--burst", "--url", valkey.url]
    subprocess.run([*command, "--serializer", alias], capture_output=True, check=True)
    assert marker.exists()


def test_rq_cannot_perform_a_wake_up_by_any_door(client: Redis) -> None:
    job = WakeUp.of(WISH, client)
    doors: list[Callable[[], object]] = [
        job.perform,
        job._execute,
        lambda: job.func,
        lambda: job.success_callback,
        lambda: job.failure_callback,
        lambda: job.stopped_callback,
        lambda: job.send_webhooks("failed"),
    ]
    job.data = call("os.system", None, ["true"], {})
    doors += [lambda: job.func_name, lambda: job.args, lambda: job.instance, lambda: job.kwargs]
    for door in doors:
        with pytest.raises(ForgedJob):
            door()


def test_commands_and_suspension_of_rq_are_not_obeyed(
    client: Redis, running: Make, waker: Waker, recorder: Any, wait: Callable[..., None]
) -> None:
    suspend(client)
    worker = running()
    wait(lambda: client.exists(f"rq:queue:a:alive:{worker.name}"))
    send_shutdown_command(client, worker.name)
    send_kill_horse_command(client, worker.name)
    send_command(client, worker.name, "stop-job", job_id=WISH.id)
    assert client.pubsub_channels() == []
    waker.wake("a", "drain", WS, BOX, 1)
    wait(lambda: recorder.calls == [("drain", WS, BOX)])


def test_a_webhook_is_not_called(client: Redis, make: Make, metrics: Metrics) -> None:
    hits: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        hooks = [
            {"url": f"http://127.0.0.1:{server.server_port}/{status}", "job_status": status}
            for status in ("finished", "failed")
        ]
        put(client, genuine(client) | {"webhooks": json.dumps(hooks)})
        make().work(burst=True)
        server.shutdown()
        thread.join()
    assert hits == []
    assert forged(metrics) == 1


def test_forged_names_of_workers_and_held_ids_do_no_harm(
    client: Redis, make: Make, waker: Waker, recorder: Any, metrics: Metrics
) -> None:
    client.sadd("rq:queue:a:workers", b"\xff\xfe", b"*", b"ghost")
    client.rpush("rq:queue:a:taken:ghost", b"a_\xff", b"os.system")
    waker.wake("a", "drain", WS, BOX, 1)
    make().work(burst=True)
    assert recorder.calls == [("drain", WS, BOX)]
    assert forged(metrics) == 2
    assert set(client.keys()) <= NOTHING_LEFT
