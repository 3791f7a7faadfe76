"""The embedded Valkey: logins by ACL, whole again after a crash, usable again after a wipe."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailhearth_core.errors import InvalidValue
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import FolderBusy
from mailhearth_local.embedded.valkey import EmbeddedValkey, binary

RULES = ["~group:*", "+@read", "+@write", "-@dangerous"]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    try:
        yield server
    finally:
        server.stop()


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def client(url: Secret) -> redis.Redis:
    return redis.Redis.from_url(url.reveal(), decode_responses=True, retry=Retry(NoBackoff(), 0))


def answers(url: Secret) -> bool:
    with client(url) as asked:
        try:
            return bool(asked.ping())
        except redis.exceptions.ConnectionError:
            return False


def test_each_login_reaches_its_own_keys_and_a_nameless_one_nothing(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    valkey.ensure_started()
    url = valkey.set_user("group1", Secret("quiet-harbour"), RULES)
    with client(url) as group:
        group.set("group:1", "x")
        with pytest.raises(redis.exceptions.NoPermissionError):
            group.set("other:1", "x")
        with pytest.raises(redis.exceptions.NoPermissionError):
            group.flushall()
    with (
        redis.Redis(host="127.0.0.1", port=valkey.port, retry=Retry(NoBackoff(), 0)) as nameless,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nameless.ping()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        assert b"quiet-harbour" not in path.read_bytes()
    admin = tmp_path / "secrets" / "valkey-admin"
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600
    assert admin.read_text().encode() not in (tmp_path / "valkey" / "users.acl").read_bytes()


@pytest.mark.parametrize(
    ("name", "rules"),
    [("admin", RULES), ("default", RULES), ("a b", RULES), ("g", ["+nonsense"]), ("g", ["nopass"])],
)
def test_what_would_open_a_door_is_refused(
    valkey: EmbeddedValkey, name: str, rules: list[str]
) -> None:
    valkey.ensure_started()
    with pytest.raises(InvalidValue):
        valkey.set_user(name, Secret("word"), rules)


def test_keys_and_users_survive_a_stop_and_a_kill(valkey: EmbeddedValkey) -> None:
    valkey.ensure_started()
    port = valkey.port
    url = valkey.set_user("group1", Secret("word"), RULES)
    with client(url) as group:
        group.set("group:1", "before the stop")
    valkey.stop()
    valkey.ensure_started()
    with client(url) as group:
        assert group.get("group:1") == "before the stop"
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)
    valkey.ensure_started()
    assert valkey.port == port
    with client(url) as group:
        assert group.get("group:1") == "before the stop"


@pytest.mark.parametrize("lost", ["valkey/data", "valkey/users.acl", "valkey", "secrets"])
def test_it_starts_again_after_a_wipe(valkey: EmbeddedValkey, tmp_path: Path, lost: str) -> None:
    valkey.ensure_started()
    url = valkey.set_user("group1", Secret("word"), RULES)
    valkey.stop()
    path = tmp_path / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)
    valkey.ensure_started()
    with client(valkey.admin_url) as admin:
        assert admin.acl_whoami() == "admin"
        kept = lost in ("valkey/data", "secrets")
        assert ("group1" in admin.acl_users()) is kept
    url = valkey.set_user("group1", Secret("word"), RULES)
    with client(url) as group:
        assert group.set("group:1", "x")


def test_a_removed_user_is_out_for_good(valkey: EmbeddedValkey) -> None:
    valkey.ensure_started()
    url = valkey.set_user("group1", Secret("word"), RULES)
    valkey.remove_user("group1")
    valkey.remove_user("group1")
    valkey.stop()
    valkey.ensure_started()
    late = valkey.url("group1", Secret("word"))
    assert url.reveal().rsplit("@")[0] == late.reveal().rsplit("@")[0]
    with client(late) as group, pytest.raises(redis.exceptions.AuthenticationError):
        group.ping()


def test_an_orphan_is_replaced_and_a_second_owner_refused(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    valkey.ensure_started()
    with pytest.raises(FolderBusy):
        EmbeddedValkey(tmp_path / "valkey").ensure_started()
    url = valkey.admin_url
    valkey.stop()
    folder = tmp_path / "valkey"
    config = str(folder / "valkey.conf")
    with subprocess.Popen([str(binary()), config], stdout=subprocess.DEVNULL) as orphan:
        try:
            (folder / "pid").write_text(f"{orphan.pid}\n")
            until(lambda: answers(url), "the orphan serves")
            valkey.ensure_started()
            assert orphan.wait(10) == 0, "shut down, not killed"
        finally:
            orphan.kill()
    with client(valkey.admin_url) as admin:
        assert admin.ping()
