"""One-shot commands: beside a running `up`, and alone; and servers of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from database import TestInstallation
from mailhearth_core.errors import Conflict, MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import SettingsError, WorkerSettings
from mailhearth_core.verbs import mailboxes, pools, workspaces
from mailhearth_core.verbs.mailbox_spec import parse_spec
from mailhearth_core.verbs.wishes import Actor, await_wish
from mailhearth_local.embedded.postgres import EmbeddedPostgres
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_local.run.days import DaysRun
from mailhearth_local.services.attach import Attached, attach
from mailhearth_local.services.stack import Stack
from running_up import Up
from waiting import wait_for

ACTOR = Actor("tester", "cli")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def environ(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **more}


def add_mailbox(attached: Attached, host: str) -> None:
    workspace_id = workspaces.create(attached.cli, "north", ACTOR)
    assert attached.reconcile is not None
    attached.reconcile()
    wish = pools.create(attached.door, workspace_id, "main", {}, ACTOR, sandbox=attached.sandbox)
    await_wish(attached.door, workspace_id, wish, reconcile=attached.reconcile)
    pool_id = pools.find(attached.door, workspace_id, "main")["id"]
    values = {"address": "ann@harbour.test", "imap": f"{host}:993", "smtp": f"{host}:465"}
    spec = parse_spec({**values, "consent": "workspace"}, Secret("quiet water"))
    mailboxes.add(attached.door, workspace_id, pool_id, spec, ACTOR)


def test_alone_it_starts_the_database_for_itself_and_ends_it(data: Path) -> None:
    with attach(data, environ()) as attached:
        assert not attached.running
        assert attached.environment == "development"
        workspaces.create(attached.cli, "north", ACTOR)
        assert attached.reconcile is not None
        attached.reconcile()
        assert workspaces.find(attached.cli, "north")["state"] == "active"
        settings = WorkerSettings.load(attached.worker_environment())
        assert settings.keys_folder == data / "keys"
    assert not (data / "postgres" / "data" / "postmaster.pid").exists()
    assert not (data / "valkey" / "data").exists(), "no Redis unless asked for"


def test_beside_a_running_up_that_one_fulfils_the_wishes(
    data: Path, make_up: Callable[..., Up]
) -> None:
    up = make_up().start()
    with attach(data, environ()) as attached:
        assert attached.running
        assert attached.reconcile is None
        workspaces.create(attached.cli, "north", ACTOR)
        wait_for(lambda: workspaces.find(attached.cli, "north")["state"] == "active", 10)
        WorkerSettings.load(attached.worker_environment())
    assert up.end()[0] == 0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedValkey]]:
    postgres, valkey = EmbeddedPostgres(tmp_path / "pg"), EmbeddedValkey(tmp_path / "vk")
    try:
        postgres.ensure_started()
        valkey.ensure_started()
        yield postgres, valkey
    finally:
        valkey.stop()
        postgres.stop()


def test_it_uses_the_servers_it_is_given_and_several_share_them(
    data: Path,
    tmp_path: Path,
    make_up: Callable[..., Up],
    servers: tuple[EmbeddedPostgres, EmbeddedValkey],
) -> None:
    postgres, valkey = servers
    secret = tmp_path / "database-url"
    secret.write_text(postgres.provision("someone", "first").reveal())
    up = make_up(DATABASE_URL_FILE=str(secret), REDIS_URL=valkey.admin_url.reveal()).start()
    assert set(up.pids()) == {"supervisor", "worker", "scheduler", "web"}
    assert not (data / "postgres").exists()
    (own,) = up.rows("SELECT current_user AS login FROM mailhearth.installation")
    with redis.Redis.from_url(valkey.admin_url.reveal(), decode_responses=True) as client:
        users = [name for name in client.acl_users() if name.startswith("mailhearth-")]
    assert len(users) == 3

    other_url = postgres.provision("another", "second").reveal()
    for _ in range(2):  # the prefix is kept
        with (
            attach(tmp_path / "other", environ(DATABASE_URL=other_url)) as attached,
            attached.cli.tx() as conn,
        ):
            row = conn.execute("SELECT current_user AS login").fetchone()
    assert row is not None
    assert row["login"].endswith("_cli")
    assert row["login"] != own["login"]
    assert up.end()[0] == 0


def test_a_server_that_is_not_there_is_named_without_its_password(data: Path) -> None:
    url = "postgresql://someone:canary@127.0.0.1:1/db"
    with (
        pytest.raises(MailhearthError, match=r"127\.0\.0\.1:1/db") as caught,
        attach(data, environ(DATABASE_URL=url)),
    ):
        pass
    assert "canary" not in str(caught.value)
    with pytest.raises(SettingsError, match="MAILHEARTH_DATABASE_URL"):
        Stack(data, environ(DATABASE_URL="mysql://x"))


def test_the_environment_is_kept_and_guarded(data: Path) -> None:
    with attach(data, environ(MAILHEARTH_ENVIRONMENT="staging")) as attached:
        assert attached.environment == "staging"
    with attach(data, environ()) as attached:
        assert attached.environment == "staging", "what was set once holds"
        attached.stack.enter_sandbox(60)
    with (
        pytest.raises(Conflict, match="sandbox for good"),
        attach(data, environ(MAILHEARTH_ENVIRONMENT="production")),
    ):
        pass


def test_production_cannot_be_left_and_scales_no_clock(
    data: Path, make_up: Callable[..., Up]
) -> None:
    with attach(data, environ(MAILHEARTH_ENVIRONMENT="production")) as attached:
        assert "MAILHEARTH_ALLOW_PRIVATE_NETWORKS" not in attached.worker_environment()
    code, _, err = make_up().start("--demo", ready=False).wait()
    assert (code, "not allowed in production" in err) == (1, True), err
    with (
        pytest.raises(Conflict, match="is in production"),
        attach(data, environ(MAILHEARTH_ENVIRONMENT="development")),
    ):
        pass


def test_real_mailboxes_never_get_a_scaled_clock(data: Path, make_up: Callable[..., Up]) -> None:
    with attach(data, environ()) as attached:
        add_mailbox(attached, "imap.example.com")
    code, _, err = make_up().start("--day-seconds", "60", ready=False).wait()
    assert (code, "imap.example.com" in err) == (1, True), err
    code, _, err = make_up().start("--days", "1", ready=False).wait()
    assert (code, "needs a scaled clock" in err) == (1, True), err
    with attach(data, environ()) as attached:
        assert not attached.sandbox


def test_a_run_that_stands_still_says_what_is_due(data: Path) -> None:
    with attach(data, environ()) as attached:
        add_mailbox(attached, "127.0.0.1")
        attached.stack.enter_sandbox(60)
        run = DaysRun(lambda: attached.cli, 1, done=lambda found: None, stuck_seconds=0.5)
        run.begin()
        with pytest.raises(MailhearthError, match=r"stuck .* due in local \(poll\)"):
            wait_for(run.step, 10)


def test_it_works_with_an_installation_elsewhere(
    data: Path, installation: TestInstallation
) -> None:
    workspace = installation.workspace()
    there = environ(MAILHEARTH_CLI_DATABASE_URL=installation.url("cli").reveal())
    with attach(data, there) as attached:
        assert workspaces.find(attached.cli, "north")["workspace_id"] == workspace
        assert attached.reconcile is None, "its provisioner runs there"
        assert [row["name"] for row in pools.listing(attached.door, workspace)] == []
        with pytest.raises(MailhearthError, match="run elsewhere"):
            attached.worker_environment()
    assert not (data / "postgres").exists()
