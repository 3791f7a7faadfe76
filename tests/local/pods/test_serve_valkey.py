"""The bundled Valkey of a trial: TLS only, each user confined, nothing lost by a crash."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis

from mailhearth_core.secrets import Secret
from mailhearth_worker.wakeups.record import queue_key
from mailhearth_worker.wakeups.waker import Waker

USERS = ("web", "worker", "scheduler", "admin")


@pytest.fixture
def words(pod: Any) -> list[str]:
    """The options of the service."""
    users = pod.root / "users"
    users.mkdir()
    for name in USERS:
        (users / name).write_text(f"word-of-{name}")
    folders = {"--data": pod.data, "--tls": pod.root / "tls", "--users": users}
    return [*(str(word) for pair in folders.items() for word in pair), "--listen", "127.0.0.1"]


@pytest.fixture
def url(pod: Any) -> Callable[..., Secret]:
    """A user's URL, as a process of the cluster has it."""

    def made(user: str, port: int, ca: Path | None = None) -> Secret:
        trusted = quote(str(ca or pod.ca))
        return Secret(f"rediss://{user}:word-of-{user}@localhost:{port}/0?ssl_ca_certs={trusted}")

    return made


@contextmanager
def client(url: Secret) -> Iterator[Any]:
    with redis.Redis.from_url(url.reveal(), socket_timeout=10) as opened:
        yield opened


def test_each_user_does_its_work_over_tls_and_no_more(
    pod: Any, words: list[str], url: Callable[..., Secret]
) -> None:
    program = pod.start("serve-valkey", *words, "--port", "0")
    port = program.await_event("ready")["port"]
    check = ["serve-valkey", *words, "--port", str(port), "--check"]
    assert pod.run(*check).returncode == 0

    waker = Waker(url("scheduler", port))
    assert waker.wake("sales", "drain", uuid4(), uuid4(), 1)
    waker.close()
    with client(url("worker", port)) as worker:
        taken = worker.lmove(queue_key("sales"), f"{queue_key('sales')}:taken:w1", "LEFT", "RIGHT")
        assert taken.startswith(b"sales_drain_")
        assert worker.hgetall(f"rq:job:{taken.decode()}")[b"status"] == b"queued"
        for forbidden in (["KEYS", "*"], ["CONFIG", "GET", "*"], ["GET", "limits:x"], ["FLUSHALL"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                worker.execute_command(*forbidden)
    with client(url("web", port)) as web:
        assert web.llen(queue_key("sales")) == 0
        with pytest.raises(redis.exceptions.NoPermissionError):
            web.execute_command("RPUSH", queue_key("sales"), "forged")

    with pytest.raises(redis.ConnectionError), redis.Redis(port=port) as plain:
        plain.ping()
    with (
        pytest.raises(redis.AuthenticationError),
        client(Secret(url("web", port).reveal().replace("word-of-web", "guessed"))) as guesser,
    ):
        guesser.ping()
    pod.certify("another")
    with (
        pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
        client(url("web", port)) as old,
    ):
        old.ping()
    with client(url("web", port, pod.root / "another" / "ca.pem")) as renewed:
        assert renewed.ping()
    assert program.stop() == 0
    assert pod.run(*check).returncode == 1


def test_a_crash_of_the_child_ends_the_process_and_loses_nothing(
    pod: Any, words: list[str], url: Callable[..., Secret]
) -> None:
    program = pod.start("serve-valkey", *words, "--port", "0")
    ready = program.await_event("ready")
    with client(url("admin", ready["port"])) as admin:
        admin.set("word", "kept")
        assert admin.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
    os.kill(ready["pid"], signal.SIGKILL)
    assert program.process.wait(30) == 1
    again = pod.start("serve-valkey", *words, "--port", "0")
    with client(url("admin", again.await_event("ready")["port"])) as admin:
        assert admin.get("word") == b"kept"


def test_the_printed_users_of_a_redis_of_ones_own_are_these(
    pod: Any, words: list[str], url: Callable[..., Secret]
) -> None:
    printed = pod.run("redis-acl")
    assert printed.returncode == 0
    lines = [line.split(" ") for line in printed.stdout.splitlines()]
    assert sorted(line[1] for line in lines) == sorted(USERS)
    program = pod.start("serve-valkey", *words, "--port", "0")
    port = program.await_event("ready")["port"]

    def rights(admin: Any, name: str) -> Any:
        found = admin.execute_command("ACL", "GETUSER", name)
        return {key: value for key, value in found.items() if key != b"passwords"}

    with client(url("admin", port)) as admin:
        for _, name, *rules in lines:
            admin.execute_command("ACL", "SETUSER", f"own-{name}", *rules)
            assert rights(admin, f"own-{name}") == rights(admin, name)
