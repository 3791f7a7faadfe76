"""The bundled Postgres of a trial: TLS only, no superuser from the network, whole after a crash."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from waiting import wait_for


def connect(url: Any, **changes: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(url.reveal(), connect_timeout=10, **changes)


def test_only_verified_tls_and_the_right_password_get_in(
    pod: Any, owner_url: Callable[..., Any], tmp_path: Path
) -> None:
    program, port = pod.serve_postgres()
    url = owner_url(port, pod.ca)
    with connect(url) as conn:
        assert conn.info.dbname == "mailhearth"
        (row,) = conn.execute(
            "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        assert row == (False, True)
        big = "x" * 3_000_000  # more than one buffer, both ways
        assert conn.execute("SELECT %s::text", (big,)).fetchone() == (big,)
    with connect(url, sslnegotiation="direct") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)

    with pytest.raises(psycopg.OperationalError, match="this server takes TLS only"):
        connect(url, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(owner_url(port, pod.ca, password="guessed"))
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(url, host="otherhost", hostaddr="127.0.0.1")
    secret = (pod.data / "secrets" / "postgres-postgres").read_text()
    for database in ("postgres", "mailhearth"):
        with pytest.raises(psycopg.OperationalError, match="rejects connection"):
            connect(owner_url(port, pod.ca, user="postgres", password=secret), dbname=database)

    pod.certify("another")  # renewed by another authority, while it runs
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(url)
    with connect(owner_url(port, pod.root / "another" / "ca.pem")) as conn:
        conn.execute("SELECT 1")
    assert program.stop() == 0


def test_the_probe_follows_the_service_and_the_child_s_death_ends_it(
    pod: Any, owner_url: Callable[..., Any]
) -> None:
    program, port = pod.serve_postgres()
    check = ["serve-postgres", *pod.postgres_words(), "--port", str(port), "--check"]
    assert pod.run(*check).returncode == 0
    with connect(owner_url(port, pod.ca)) as conn:
        conn.execute("CREATE TABLE memory (word text)")
        conn.execute("INSERT INTO memory VALUES ('kept')")

    os.kill(program.await_event("ready")["pid"], signal.SIGKILL)
    assert program.process.wait(60) == 1
    assert program.events("service_ended")
    done = pod.run(*check)
    assert done.returncode == 1
    assert "Postgres does not answer" in done.stderr

    (pod.data / "postgres" / "data").chmod(0o2770)  # as an fsGroup leaves it
    again, port = pod.serve_postgres()  # as the kubelet would, over what the crash left
    with connect(owner_url(port, pod.ca)) as conn:
        assert conn.execute("SELECT word FROM memory").fetchall() == [("kept",)]
        wait_for(lambda: again.events("service_said"))  # that it recovered
        assert again.stop() == 0
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            conn.execute("SELECT 1")


@pytest.mark.parametrize("missing", ["tls/tls.key", "owner/password"])
def test_what_is_not_mounted_is_said_in_one_sentence(pod: Any, missing: str) -> None:
    (pod.root / missing).unlink()
    done = pod.run("serve-postgres", *pod.postgres_words(), "--port", "0")
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr
