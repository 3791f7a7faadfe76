"""A real Valkey on a free loopback port, and workers over it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

import pytest
import redis
from prometheus_client import CollectorRegistry
from redis import Redis

from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.valkey import binary
from mailhearth_worker.wakeups import Verb, Waker, WakeUpWorker


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Return when the condition holds; fails at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        Event().wait(0.01)


class Valkey:
    """A server that can be killed and started again on the same port, with its data if saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = [str(binary()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url, retry=None) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class Recorder:
    """A table of verbs that notes what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, UUID, UUID]] = []
        self.verbs: dict[str, Verb] = {"drain": self._noting("drain"), "test": self._noting("test")}

    def _noting(self, verb: str) -> Verb:
        return lambda workspace, subject: self.calls.append((verb, workspace, subject))


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def valkey(_server: Valkey, client: Redis) -> Valkey:
    return _server


@pytest.fixture
def client(_server: Valkey) -> Iterator[Redis]:
    with Redis.from_url(_server.url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def waker(valkey: Valkey) -> Iterator[Waker]:
    waker = Waker(Secret(valkey.url))
    yield waker
    waker.close()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


WorkerMaker = Callable[..., WakeUpWorker]


@pytest.fixture
def stop() -> Event:
    return Event()


@pytest.fixture
def make(
    valkey: Valkey, recorder: Recorder, metrics: Metrics, stop: Event
) -> Iterator[WorkerMaker]:
    """Makes workers of group `a`; groups, verbs, url and timings can be given."""
    clients: list[Redis] = []

    def make(
        *groups: str,
        url: str = valkey.url,
        verbs: dict[str, Verb] | None = None,
        beat_seconds: float = 15.0,
    ) -> WakeUpWorker:
        clients.append(Redis.from_url(url))
        return WakeUpWorker(
            clients[-1],
            groups or ("a",),
            recorder.verbs if verbs is None else verbs,
            metrics,
            stop.is_set,
            name="w",
            beat_seconds=beat_seconds,
        )

    yield make
    for connection in clients:
        connection.close()


@pytest.fixture
def running(make: WorkerMaker, stop: Event) -> Iterator[Callable[..., WakeUpWorker]]:
    """Makes workers that run in threads until the test ends."""
    threads: list[Thread] = []

    def run(*groups: str, **options: object) -> WakeUpWorker:
        worker = make(*groups, **options)
        threads.append(Thread(target=worker.work))
        threads[-1].start()
        return worker

    yield run
    stop.set()
    for thread in threads:
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def wait() -> Callable[..., None]:
    """Waits for a condition, with a deadline."""
    return wait_for
