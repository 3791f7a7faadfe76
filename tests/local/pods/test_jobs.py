"""The owner's jobs against a Postgres as a pod serves it: prepare, backup, restore."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import structlog
from psycopg.rows import dict_row

from database import ACTOR
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.roles import LOGIN_ROLES
from mailhearth_core.verbs import workspaces
from mailhearth_local.cli.app import run


@pytest.fixture
def logins(pod: Any) -> Path:
    folder: Path = pod.root / "logins"
    folder.mkdir()
    for role in LOGIN_ROLES:
        (folder / role).write_text(f"word-of-{role}")
    return folder


@pytest.fixture
def job(logins: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Any]]:
    """Runs one job and gives its answer: the JSON it printed, or what it complained of."""

    def done(owner: Secret, *words: str, **settings: str) -> Any:
        environ: Mapping[str, str] = {
            "MAILHEARTH_OWNER_URL": owner.reveal(),
            "MAILHEARTH_ROLE_PASSWORDS_FOLDER": str(logins),
            "MAILHEARTH_ENVIRONMENT": "production",
            **settings,
        }
        code = run([*words, "--json"], environ)
        printed = capsys.readouterr()
        lines = [line for line in printed.err.splitlines() if '"event"' not in line]
        return json.loads(printed.out) if code == 0 else json.loads("\n".join(lines))["error"]

    handlers = logging.getLogger().handlers[:]
    yield done
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def login(port: int, ca: Path, role: str) -> Secret:
    """As the chart writes it for a process."""
    return Secret(
        f"postgresql://mh_{role}:word-of-{role}@localhost:{port}/mailhearth?sslmode=verify-full"
        f"&sslrootcert={quote(str(ca))}&options=-csearch_path%3Dmailhearth"
    )


def names(port: int, ca: Path) -> list[str]:
    database = Database(login(port, ca, "cli"))
    try:
        return [row["name"] for row in workspaces.listing(database)]
    finally:
        database.close()


def add_workspace(port: int, ca: Path, name: str) -> None:
    database = Database(login(port, ca, "cli"))
    try:
        workspaces.create(database, name, ACTOR)
    finally:
        database.close()


def test_prepare_makes_all_that_processes_need_and_runs_again(
    pod: Any, owner_url: Callable[..., Any], job: Callable[..., Any], logins: Path
) -> None:
    _, port = pod.serve_postgres()
    url = owner_url(port, pod.ca)
    first = job(url, "prepare", MAILHEARTH_ENVIRONMENT="staging")
    assert first["applied"]
    assert (first["environment"], first["sandbox"]) == ("staging", False)
    for role in LOGIN_ROLES:
        with psycopg.connect(login(port, pod.ca, role).reveal()) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (f"mh_{role}",)
    add_workspace(port, pod.ca, "north")

    (logins / "web").write_text("changed")  # a rotated password is taken up
    again = job(url, "prepare", MAILHEARTH_ENVIRONMENT="staging")
    assert again == {**first, "applied": []}
    assert names(port, pod.ca) == ["north"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(login(port, pod.ca, "web").reveal())

    def clock() -> Any:
        with psycopg.connect(url.reveal()) as conn:
            return conn.execute(
                "SELECT rate, business_at, ticked_at FROM mailhearth.business_clock"
            ).fetchone()

    sandbox = {"MAILHEARTH_SANDBOX": "true", "MAILHEARTH_ENVIRONMENT": "staging"}
    assert job(url, "prepare", MAILHEARTH_DAY_SECONDS="120", **sandbox)["sandbox"]
    begun = clock()
    assert (begun[0], begun[1].weekday(), begun[1].hour) == (720, 0, 0)
    assert job(url, "prepare", MAILHEARTH_DAY_SECONDS="120", **sandbox)["sandbox"]
    assert clock() == begun  # the clock of a running sandbox is left alone
    (logins / "admin").unlink()
    assert "lacks the password of admin" in job(url, "prepare")["message"]


def test_what_waiting_cannot_mend_is_said_at_once_and_in_one_sentence(
    pod: Any, owner_url: Callable[..., Any], job: Callable[..., Any], monkeypatch: Any
) -> None:
    program, port = pod.serve_postgres()
    pod.certify("another")
    trusted = pod.root / "another" / "ca.pem"
    for url, words in (
        (owner_url(port, pod.ca), "certificate verify failed"),
        (owner_url(port, trusted, password="guessed"), "password authentication failed"),
        (owner_url(port, pod.root / "missing.pem"), 'root certificate file ".*" does not exist'),
    ):
        error = job(url, "prepare", MAILHEARTH_WAIT_SECONDS="3600")
        assert error["code"] == "database_unavailable"
        assert re.search(words, error["message"])
        assert "\n" not in error["message"]
        assert "guessed" not in json.dumps(error)
    program.stop()
    error = job(owner_url(port, trusted), "prepare", MAILHEARTH_WAIT_SECONDS="0.2")
    assert "Connection refused" in error["message"]
    plain = owner_url(port, trusted).reveal().replace("verify-full", "require")
    assert (
        "sslmode=verify-full" in job(Secret(plain.replace("localhost", "db")), "prepare")["message"]
    )


def test_a_backup_comes_back_into_a_new_database_and_is_announced(
    make_pod: Callable[[str], Any], owner_url: Callable[..., Any], job: Callable[..., Any],
    pod: Any, tmp_path: Path,
) -> None:  # fmt: skip
    _, port = pod.serve_postgres()
    url = owner_url(port, pod.ca)
    to = tmp_path / "backups"
    to.mkdir()
    job(url, "prepare")
    add_workspace(port, pod.ca, "north")
    kept = job(url, "backup", "database", "--to", str(to))["path"]
    add_workspace(port, pod.ca, "south")

    other = make_pod("other")
    _, other_port = other.serve_postgres()
    other_url = owner_url(other_port, other.ca)
    back = job(other_url, "restore", "database", kept)
    assert back.get("applied") == [], back
    assert names(other_port, other.ca) == ["north"]
    assert structure(other_url) == structure(url)
    with psycopg.connect(url.reveal(), row_factory=dict_row) as conn:
        before = conn.execute("SELECT generation FROM mailhearth.installation").fetchone()
    assert before is not None
    assert back["generation"] > before["generation"]

    # Where something is, it is replaced only when that was asked for, and as a whole.
    assert (
        job(url, "restore", "database", kept)["message"]
        == "The database holds 2 workspaces already."
    )
    torn = tmp_path / "torn.dump"
    torn.write_bytes(Path(kept).read_bytes()[:-2000])
    assert job(url, "restore", "database", str(torn), "--force")["code"] == "program_failed"
    assert sorted(names(port, pod.ca)) == ["north", "south"]
    assert "generation" in job(url, "restore", "database", kept, "--force")
    assert names(port, pod.ca) == ["north"]
    assert structure(url) == structure(other_url)
    assert job(url, "prepare")["applied"] == []

    for _ in range(2):
        job(url, "backup", "database", "--to", str(to), "--keep", "1")
    (left,) = to.iterdir()
    assert left.stat().st_mode & 0o777 == 0o600


OWNERS_AND_RIGHTS = """
SELECT 'table', c.oid::regclass::text, relowner::regrole::text, relrowsecurity, relforcerowsecurity,
  ARRAY(SELECT a::text FROM unnest(coalesce(relacl, acldefault('r', relowner))) a ORDER BY 1)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname IN ('mailhearth', 'admin')
UNION ALL
SELECT 'function', p.oid::regprocedure::text, proowner::regrole::text, prosecdef, true,
  ARRAY(SELECT a::text FROM unnest(coalesce(proacl, acldefault('f', proowner))) a ORDER BY 1)::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
WHERE nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT 'policy', tablename || ' ' || policyname, ARRAY(SELECT unnest(roles) ORDER BY 1)::text,
  true, true, qual FROM pg_policies
UNION ALL
SELECT 'member', roleid::regrole::text, member::regrole::text, inherit_option, set_option, ''
FROM pg_auth_members WHERE roleid > 16384
"""


def structure(url: Secret) -> Any:
    """Who owns what, who may do what, and who sees which rows."""
    with psycopg.connect(url.reveal()) as conn:
        return set(conn.execute(OWNERS_AND_RIGHTS.encode()))
