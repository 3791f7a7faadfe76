"""The embedded Postgres: durable, closed, and whole again after every kind of crash."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from mailhearth_local.embedded.folder import FolderBusy
from mailhearth_local.embedded.identity import unprivileged
from mailhearth_local.embedded.postgres import EmbeddedPostgres, binaries
from mailhearth_local.embedded.process import command_line


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    # As root this is the hard case: pytest's folders are closed to others.
    server = EmbeddedPostgres(tmp_path / "postgres")
    try:
        yield server
    finally:
        server.stop()


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def remember(url: str, word: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS memory (word text)")
        conn.execute("INSERT INTO memory VALUES (%s)", [word])


def remembered(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        return [row[0] for row in conn.execute("SELECT word FROM memory ORDER BY word")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down: run as root")
def test_programs_in_a_closed_folder_are_found_and_nothing_can_be_written(tmp_path: Path) -> None:
    closed = tmp_path / "closed"  # as a checkout in root's home is
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    account = unprivileged([program])
    assert account is not None
    probe = "import os; print(*(os.access({!r}, m) for m in (os.X_OK, os.R_OK, os.W_OK)))"
    command = account.wrap([sys.executable, "-c", probe.format(str(program))])
    seen = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    assert seen.split() == ["True", "True", str(account.capability == "dac_override")]


def test_the_owner_owns_its_database_and_is_no_superuser(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    postgres.ensure_started()
    url = postgres.provision("mh_owner", "mailhearth")
    assert postgres.provision("mh_owner", "mailhearth") == url
    with psycopg.connect(url.reveal()) as conn:
        assert conn.execute(
            "SELECT rolsuper, rolcreaterole, rolbypassrls, rolcreatedb FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone() == (False, True, False, False)
        assert conn.execute(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone() == ("mh_owner", "UTF8")
        assert conn.execute("SELECT lower('ÄÖ')").fetchone() == ("äö",)
    for file in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() not in repr(postgres) + repr(vars(postgres))


def test_nobody_enters_without_a_password_or_by_another_way_than_loopback(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.ensure_started()
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(
                host="127.0.0.1", port=postgres.port, user="postgres", password=password
            )
    with psycopg.connect(postgres.superuser_url.reveal()) as conn:
        shown = {
            name: conn.execute(f"SHOW {name}").fetchone()
            for name in ("listen_addresses", "unix_socket_directories", "fsync", "jit")
        }
    assert shown == {
        "listen_addresses": ("127.0.0.1",),
        "unix_socket_directories": ("",),
        "fsync": ("on",),
        "jit": ("off",),
    }
    if os.geteuid() == 0:
        assert os.stat(f"/proc/{postgres.pid}").st_uid != 0


def test_committed_rows_survive_a_stop_and_a_kill(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_started()
    port = postgres.port
    url = postgres.provision("mh_owner", "mailhearth").reveal()
    remember(url, "stop")
    postgres.stop()
    assert not postgres.is_alive()
    postgres.ensure_started()
    remember(url, "kill")
    killed = postgres.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    postgres.ensure_started()
    assert postgres.pid != killed
    assert postgres.port == port
    assert remembered(url) == ["kill", "stop"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_shuts_down_when_its_supervisor_is_killed(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    code = (
        "import signal; from pathlib import Path;"
        "from mailhearth_local.embedded.postgres import EmbeddedPostgres;"
        f"p = EmbeddedPostgres(Path({str(tmp_path / 'postgres')!r})); p.ensure_started();"
        "print(p.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        with pytest.raises(FolderBusy):
            postgres.ensure_started()
        assert command_line(pid), "the refused start must not harm the running server"
        supervisor.kill()
    until(lambda: not command_line(pid), "Postgres is gone")
    postgres.ensure_started()


def test_an_orphan_is_shut_down_and_replaced(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    postgres.ensure_started()
    url = postgres.provision("mh_owner", "mailhearth").reveal()
    postgres.stop()
    folder = tmp_path / "postgres"
    command = [str(binaries() / "postgres"), "-D", str(folder / "data")]
    command += ["-c", f"config_file={folder / 'postgresql.conf'}"]
    command += ["-c", f"hba_file={folder / 'pg_hba.conf'}"]
    account = unprivileged([folder / "data", binaries() / "postgres"])
    if account is not None:
        command = account.wrap(command)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as orphan:
        pid_file = folder / "data" / "postmaster.pid"
        try:
            until(lambda: "ready" in read(pid_file), "the orphan serves")
            remember(url, "from the orphan's time")
            postgres.ensure_started()
            assert orphan.wait(10) == 0, "a fast shutdown, not a crash"
        finally:
            orphan.kill()
    assert remembered(url) == ["from the orphan's time"]


def test_a_stale_pid_file_that_names_a_stranger_harms_neither(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    postgres.ensure_started()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    until(lambda: not postgres.is_alive(), "the postmaster is dead")
    pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        try:
            pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            postgres.ensure_started()
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_taken_port_is_replaced(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_started()
    port = postgres.port
    postgres.stop()
    with socket.create_server(("127.0.0.1", port)):
        postgres.ensure_started()
        assert postgres.port != port
        psycopg.connect(postgres.superuser_url.reveal()).close()


def test_a_crash_within_initdb_leaves_nothing_in_the_way(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    postgres.ensure_started()
    assert not half.exists()
    assert not list((tmp_path / "postgres").glob("*password*"))
