"""The doors: a workspace for one transaction, back after a break, silent about passwords."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from database import TestInstallation
from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import UNDONE, VANISHED, Database, Kept, TenantDoor, one


def test_a_workspace_is_named_for_one_transaction(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    database = Database(installation.url("web"), max_size=1)
    try:
        with TenantDoor(database).tenant_tx(workspace) as conn:
            assert len(conn.execute("SELECT 1 FROM workspaces").fetchall()) == 1
        with database.tx() as conn:
            assert conn.execute("SELECT 1 FROM workspaces").fetchall() == []
    finally:
        database.close()


def test_an_exception_rolls_back(installation: TestInstallation) -> None:
    workspace = installation.workspace()

    def half_done() -> None:
        with installation.door.tenant_tx(workspace) as conn:
            conn.execute(
                "INSERT INTO audit_events (workspace_id, action, actor, at) "
                "VALUES (%s, 'x', 'x', '2026-03-02')",
                [workspace],
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_done()
    assert installation.rows("SELECT 1 FROM audit_events WHERE action = 'x'") == []


def test_broken_connections_are_replaced(installation: TestInstallation) -> None:
    database = installation.database("scheduler")

    def cut_off() -> int:
        return len(
            installation.rows(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE usename = 'mh_scheduler' AND datname = current_database()"
            )
        )

    def broken_inside() -> None:
        with database.tx() as conn:
            conn.execute("SELECT 1")
            assert cut_off() >= 1
            conn.execute("SELECT 1")

    for _ in range(3):
        with database.tx() as conn:
            assert conn.execute("SELECT environment FROM installation").fetchall()
        assert cut_off() >= 1
    with pytest.raises(ServiceUnavailable):
        broken_inside()
    with database.tx() as conn:
        assert conn.execute("SELECT environment FROM installation").fetchall()


def test_a_server_that_vanished_is_noticed_by_the_kernel(installation: TestInstallation) -> None:
    """Nothing on loopback vanishes without a word; so what the socket itself was told is read."""
    web = installation.database("web")
    with web.tx() as conn, socket.socket(fileno=os.dup(conn.fileno())) as opened:
        told = {
            name: opened.getsockopt(socket.IPPROTO_TCP, option)
            for name, option in (
                ("keepalives_idle", socket.TCP_KEEPIDLE),
                ("keepalives_interval", socket.TCP_KEEPINTVL),
                ("keepalives_count", socket.TCP_KEEPCNT),
                ("tcp_user_timeout", socket.TCP_USER_TIMEOUT),
            )
        }
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert told == VANISHED


def test_a_kept_connection_is_asked_nothing_and_replaced_all_the_same(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = installation.database("scheduler")
    asked: list[psycopg.Connection[Any]] = []
    real = ConnectionPool.check_connection

    def check(conn: psycopg.Connection[Any]) -> None:
        asked.append(conn)
        real(conn)

    monkeypatch.setattr(ConnectionPool, "check_connection", check)

    def used() -> int:
        kept = Kept(database)
        try:
            with kept.statement() as conn:
                return int(one(conn.execute("SELECT pg_backend_pid() AS pid").fetchone())["pid"])
        finally:
            kept.close()

    first = used()
    before = len(asked)
    assert used() == first
    assert len(asked) == before
    for _ in range(3):
        last = used()
        assert installation.rows("SELECT pg_terminate_backend(%s, 5000)", last)
        assert used() != last
    monkeypatch.setattr("mailhearth_core.storage.doors.TRUSTED_S", -1.0)
    before = len(asked)
    used()
    assert len(asked) == before + 1


def test_what_is_out_of_reach_is_named_without_its_login(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhearth_core.storage.doors.CONNECT_SECONDS", 1)
    database = Database(Secret("postgresql://somebody:canary-word@127.0.0.1:1/mail"))
    try:
        with (
            pytest.raises(
                ServiceUnavailable, match=r"at postgresql://127\.0\.0\.1:1/mail does"
            ) as e,
            database.tx(),
        ):
            pass
    finally:
        database.close()
    assert not e.value.permanent
    shown = f"{e.value}{database!r}{vars(database)}"
    assert "canary-word" not in shown
    assert "somebody" not in shown


def test_a_changed_password_opens_a_workers_door_anew(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    doors = installation.worker_doors()
    first = doors.door(workspace)
    assert doors.door(workspace) is first
    with first.tx() as conn:
        conn.execute("SELECT 1")
    (installation.logins / str(workspace)).unlink()
    installation.provisioner.reconcile()
    second = doors.door(workspace)
    assert second is not first
    with second.tx() as conn:
        assert conn.execute("SELECT workspace_id FROM pools").fetchall() == []


def test_a_worker_whose_workspace_is_gone_reads_nothing(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    with installation.worker_doors().door(workspace).tx() as conn:
        assert conn.execute("SELECT 1 FROM workspaces").fetchall()
        conn.commit()
        with installation.database("operator").tx() as operator:
            operator.execute("SELECT warden.drop_worker_login(%s)", [workspace])
        with pytest.raises(psycopg.Error):
            conn.execute("SELECT 1 FROM workspaces")


def test_two_transactions_that_wait_for_each_other_end_with_one_undone(
    installation: TestInstallation,
) -> None:
    """And what is said is not that the database is away."""
    workspaces = [installation.workspace(name) for name in ("north", "south")]
    lock = "SELECT 1 FROM workspaces WHERE workspace_id = %s FOR UPDATE"
    database, both_hold = Database(Secret(installation.superuser_url), max_size=2), Barrier(2)

    def change(first: UUID, second: UUID) -> str:
        try:
            with database.tx() as conn:
                conn.execute("SET LOCAL search_path = mailhearth")
                conn.execute(lock, [first])
                both_hold.wait(30)
                conn.execute(lock, [second])
        except ServiceUnavailable as error:
            return error.code
        return "done"

    try:
        with ThreadPoolExecutor(2) as threads:
            ended = threads.map(change, workspaces, reversed(workspaces))
            assert sorted(ended) == ["done", UNDONE]
    finally:
        database.close()
