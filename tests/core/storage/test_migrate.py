"""Migrations: once, by whoever comes first, never over something edited or newer, never blocked."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from database import OWNER, Cluster, in_database
from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.storage import migrate as module
from mailhearth_core.storage import roles as roles_module
from mailhearth_core.storage.migrate import Migration, migrate, migrations, pending
from mailhearth_core.storage.roles import (
    LOGIN_ROLES,
    Roles,
    ensure_roles,
    login_url,
    new_password,
    without_login,
)

SCRIPT = """
import sys
from mailhearth_core.storage.migrate import migrate
from mailhearth_core.storage.roles import Roles
print(len(migrate(sys.stdin.readline().strip(), Roles())))
"""


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    """The owner's URL of a database with nothing in it."""
    url = cluster.create_database(template="template0")
    try:
        yield url
    finally:
        cluster.drop_database(url)


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.01)


def recorded(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT name FROM mailhearth.schema_checksums ORDER BY name")
        return [str(row[0]) for row in rows]


def start(url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(url + "\n")
    process.stdin.flush()
    return process


def ended(process: subprocess.Popen[str]) -> int:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return int(out)


def test_they_apply_once_and_the_environment_is_kept(cluster: Cluster, empty: str) -> None:
    names = [m.name for m in migrations()]
    assert pending(empty) == names
    assert migrate(empty, cluster.roles, environment="staging") == names
    assert pending(empty) == []
    assert migrate(empty, cluster.roles) == []
    assert recorded(empty) == names
    with psycopg.connect(empty) as conn:
        query = "SELECT environment, sandbox FROM mailhearth.installation"
        assert conn.execute(query).fetchall() == [("staging", False)]
        conn.commit()
        assert migrate(empty, cluster.roles, environment="production") == []
        assert conn.execute(query).fetchall() == [("production", False)]


def test_two_processes_take_turns(empty: str) -> None:
    both = [start(empty), start(empty)]
    assert sorted(ended(process) for process in both) == [0, len(migrations())]
    assert recorded(empty) == [m.name for m in migrations()]


def test_a_run_killed_in_the_middle_blocks_nobody(cluster: Cluster, empty: str) -> None:
    """Killed while a migration waits for a lock, after others were applied."""
    with (
        psycopg.connect(cluster.superuser_url, autocommit=True) as watch,
        psycopg.connect(in_database(cluster.superuser_url, name_of(empty))) as block,
    ):
        first = start(empty)
        until(lambda: len(safely(empty)) >= 1, "something is applied")
        block.execute("LOCK TABLE mailhearth.workspaces IN ACCESS EXCLUSIVE MODE")
        until(
            lambda: (
                bool(
                    watch.execute(
                        "SELECT 1 FROM pg_stat_activity WHERE datname = %s "
                        "AND wait_event_type = 'Lock' AND usename = %s",
                        (name_of(empty), OWNER),
                    ).fetchall()
                )
                or first.poll() is not None
            ),
            "a migration waits",
        )
        assert first.poll() is None
        done = recorded(empty)
        assert 1 <= len(done) < len(migrations())
        first.send_signal(signal.SIGKILL)
        first.communicate()
        block.rollback()
    rest = ended(start(empty))
    assert rest + len(done) >= len(migrations()), "the killed one may have ended one more"
    assert recorded(empty) == [m.name for m in migrations()]
    assert migrate(empty, cluster.roles) == []


def test_a_failed_migration_leaves_nothing(
    cluster: Cluster, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations()
    broken = Migration("9000_break", "CREATE TABLE half (id int);\nSELECT nothing_of_that_name();")
    monkeypatch.setattr(module, "migrations", lambda: [*known, broken])
    with pytest.raises(MailhearthError, match=r"9000_break failed.*nothing_of_that_name") as caught:
        migrate(empty, cluster.roles)
    assert caught.value.code == "migration_failed"
    with psycopg.connect(empty) as conn:
        assert conn.execute("SELECT to_regclass('mailhearth.half')").fetchone() == (None,)
    mended = Migration("9000_break", "CREATE TABLE half (id int);")
    monkeypatch.setattr(module, "migrations", lambda: [*known, mended])
    assert migrate(empty, cluster.roles) == ["9000_break"]

    edited = Migration("9000_break", "CREATE TABLE half (id bigint);")
    monkeypatch.setattr(module, "migrations", lambda: [*known, edited])
    with pytest.raises(MailhearthError, match="9000_break differs") as caught:
        migrate(empty, cluster.roles)
    assert caught.value.code == "migration_edited"

    monkeypatch.setattr(module, "migrations", lambda: known)
    with pytest.raises(MailhearthError, match="does not know: 9000_break") as caught:
        migrate(empty, cluster.roles)
    assert caught.value.code == "database_newer"


def test_an_owner_without_createrole_is_told_what_to_do(cluster: Cluster, empty: str) -> None:
    passwords = {role: new_password() for role in LOGIN_ROLES}
    with psycopg.connect(cluster.superuser_url, autocommit=True) as conn:
        conn.execute("CREATE ROLE plain LOGIN PASSWORD 'it''s p@ss/w%rd?#'")
        url = login_url(empty, "plain", Secret("it's p@ss/w%rd?#")).reveal()
        try:
            with pytest.raises(MailhearthError, match="ALTER ROLE <owner> CREATEROLE") as caught:
                ensure_roles(url, Roles("other"), passwords)
            assert caught.value.code == "owner_lacks_createrole"
        finally:
            conn.execute("DROP ROLE plain")


def test_an_old_server_is_told(
    cluster: Cluster, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles_module, "MIN_SERVER_VERSION", 990000)
    with pytest.raises(MailhearthError, match=r"is too old.*needs Postgres 16") as caught:
        ensure_roles(empty, cluster.roles, cluster.passwords)
    assert caught.value.code == "postgres_too_old"


def test_two_installations_share_a_cluster(cluster: Cluster, empty: str) -> None:
    """Another prefix, roles made twice, passwords changed by the second time."""
    other = Roles("second")
    awkward = "p@ss/w%rd?#&=: '\""
    ensure_roles(empty, other, {role: new_password() for role in LOGIN_ROLES})
    passwords = {role: Secret(awkward) for role in LOGIN_ROLES}
    ensure_roles(empty, other, passwords)
    migrate(empty, other)
    url = login_url(empty, other.name("scheduler"), passwords["scheduler"])
    with psycopg.connect(url.reveal()) as conn:
        assert conn.execute("SELECT * FROM sched.pool_demand('2026-03-02')").fetchall() == []
        assert conn.execute("SHOW search_path").fetchone() == ("mailhearth",)
    shown = without_login(url.reveal())
    assert "scheduler" not in shown
    assert "p%40ss" not in shown
    first = login_url(empty, cluster.roles.name("web"), cluster.passwords["web"])
    with psycopg.connect(first.reveal()) as conn, pytest.raises(psycopg.Error):
        conn.execute("SELECT * FROM mailhearth.installation")


def test_the_owners_url_may_have_an_awkward_password_and_the_short_scheme(
    cluster: Cluster, empty: str
) -> None:
    awkward = Secret("p@ss/w%rd?#&=:+ '\"")
    before = cluster.server.provision(OWNER, name_of(empty)).reveal()
    try:
        with psycopg.connect(cluster.superuser_url, autocommit=True) as conn:
            conn.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(OWNER), sql.Literal(awkward.reveal())
                )
            )
        url = login_url(empty, OWNER, awkward).reveal().replace("postgresql://", "postgres://")
        assert migrate(url, cluster.roles) == [m.name for m in migrations()]
    finally:
        assert cluster.server.provision(OWNER, name_of(empty)).reveal() == before


@pytest.mark.parametrize("prefix", ["", "1a", "Mh", "a-b", "a" * 16])
def test_a_bad_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidValue, match="role prefix"):
        Roles(prefix)


def test_every_migration_is_named_by_number_verb_and_noun() -> None:
    names = [m.name for m in migrations()]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    folder = Path(module.__file__).parent / "migrations"
    assert sorted(path.stem for path in folder.iterdir() if path.suffix == ".sql") == names


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1].split("?")[0]


def safely(url: str) -> list[str]:
    try:
        return recorded(url)
    except psycopg.errors.UndefinedTable:
        return []
