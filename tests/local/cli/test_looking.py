"""status, mailbox why, doctor: what they tell of planted facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Cli = Any  # tests/local/cli/conftest.py: CommandLine
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

Superuser = Callable[[], Any]


@pytest.fixture(scope="module")
def superuser(services: Any) -> Superuser:
    """Past every policy, to plant rows."""
    path = urlsplit(services.stack.urls.owner.reveal()).path
    url = urlunsplit(urlsplit(services.stack.postgres.superuser_url.reveal())._replace(path=path))

    @contextmanager
    def open_() -> Iterator[psycopg.Connection[dict[str, Any]]]:
        with psycopg.connect(url, row_factory=dict_row) as conn:
            conn.execute("SET search_path = mailhearth")
            yield conn

    return open_


@pytest.fixture(scope="module")
def mailbox(cli: Cli, superuser: Superuser) -> dict[str, Any]:
    """One mailbox with a day, placements and mail of today."""
    made: dict[str, Any] = cli.add_mailbox("seen@look.test")
    with superuser() as conn:
        ids = conn.execute(
            "UPDATE mailboxes SET connected_at = created_at WHERE id = %s "
            "RETURNING workspace_id, id AS mailbox_id",
            (made["id"],),
        ).fetchone()
        keys = (ids["workspace_id"], ids["mailbox_id"])
        today = datetime.now(UTC).date()
        reasons = [
            {"code": "target", "text": "the ramp allows 7 on sending day 3", "value": 7},
            {
                "code": "pool_too_small",
                "text": "pool too small: 5 more mailboxes needed",
                "value": 2,
            },
        ]
        conn.execute(
            "INSERT INTO day_sizes VALUES (%s, %s, %s, 2, '{}', %s, now())",
            (*keys, today, Jsonb(reasons)),
        )
        conn.execute(
            "INSERT INTO controller_rows VALUES (%s, %s, %s, 'healthy', 7, '{}', %s)",
            (*keys, today, Jsonb([{"code": "raised", "text": "sending day 3", "value": 7}])),
        )
        for day, inbox, junk in ((0, 8, 1), (3, 9, 3), (9, 0, 50)):
            conn.execute(
                "INSERT INTO rollups VALUES (%s, %s, %s, 20, 20, %s, %s, 0, 0, 0, 0, 0, now())",
                (*keys, today - timedelta(days=day), inbox, junk),
            )
        for slot, state, reason in ((1, "sent", ""), (2, "skipped", "no_peer"), (3, "planned", "")):
            conn.execute(
                "INSERT INTO outbound (workspace_id, mailbox_id, day, slot, state, reason, due_at, "
                "peer_address, bind_reason, placement) VALUES (%s, %s, %s, %s, %s, %s, "
                "now() - interval '1 minute', 'peer@look.test', 'another domain', %s)",
                (*keys, today, slot, state, reason, "inbox" if state == "sent" else None),
            )
    return made


def test_why_tells_the_stored_steps_the_controller_and_recent_mail(
    cli: Cli, mailbox: dict[str, Any]
) -> None:
    seen = cli.ok("mailbox", "why", mailbox["address"])
    assert (seen["volume"], [step["value"] for step in seen["steps"]]) == (2, [7, 2])
    assert (seen["controller"]["state"], seen["controller"]["target_volume"]) == ("healthy", 7)
    assert {k: seen["counts"][k] for k in ("planned", "sent", "skipped", "waiting_peer")} == {
        "planned": 3,
        "sent": 1,
        "skipped": 1,
        "waiting_peer": 1,
    }
    codes = [blocker["code"] for blocker in seen["not_sending"]]
    assert "waiting_peer" in codes
    assert "pool_too_small" in codes
    assert ISO.fullmatch(seen["business_time"])
    text = cli("mailbox", "why", mailbox["address"]).out
    for told in (
        "Today's volume: 2 mails",
        "7  the ramp allows 7 on sending day 3",
        "2  pool too small: 5 more mailboxes needed",
        "Controller: healthy, target 7 a day",
        "Health: 60 (17 of 21 in the inbox; surely at least 60 %)",
        "Sent today: 1 of 3 (1 waiting for a peer, 1 skipped)",
        "no_peer",
        "another domain",
    ):
        assert told in text, told


@pytest.mark.parametrize(
    ("change", "code", "hint"),
    [
        ("consent = 'none'", "no_consent", "mailbox consent"),
        ("state = 'paused', state_reason = 'paused by me'", "paused", "mailbox resume"),
        (
            "state = 'needs_reauth', auth_failures = 3, last_error = '535 no'",
            "needs_reauth",
            "--password-stdin --save",
        ),
        ("auth_failures = 10", "excluded", "--password-stdin --save"),
        ("last_error = 'cannot connect'", "last_error", "mailbox test"),
        ("connected_at = NULL", "not_connected", ""),
        (
            "phase = 'quarantined', phase_since = '2026-03-02', phase_until = '2026-03-09'",
            "quarantined",
            "",
        ),
        (
            "phase = 'blocked', phase_since = '2026-03-02', phase_until = '2026-04-01'",
            "blocked",
            "mailbox resume",
        ),
    ],
)
def test_why_and_status_name_what_is_in_the_way_and_what_to_do(
    cli: Cli,
    mailbox: dict[str, Any],
    superuser: Superuser,
    change: str,
    code: str,
    hint: str,
) -> None:
    with superuser() as conn:
        before = conn.execute("SELECT * FROM mailboxes WHERE id = %s", (mailbox["id"],)).fetchone()
        conn.execute(f"UPDATE mailboxes SET {change} WHERE id = %s".encode(), (mailbox["id"],))
    try:
        seen = cli.ok("mailbox", "why", mailbox["address"])
        found = {blocker["code"]: blocker for blocker in seen["not_sending"]}
        assert code in found
        assert hint in found[code]["hint"]
        pools = cli.ok("status", "-w", "acme")["workspaces"][0]["pools"]
        troubled = {box["address"]: box["reasons"] for pool in pools for box in pool["not_working"]}
        assert found[code] in troubled[mailbox["address"]]
        text = cli("status").out
        assert f"{mailbox['address']}: {troubled[mailbox['address']][0]['text']}" in text
    finally:
        columns = (
            "consent",
            "state",
            "state_reason",
            "auth_failures",
            "last_error",
            "connected_at",
        )
        with superuser() as conn:
            conn.execute(
                f"UPDATE mailboxes SET ({', '.join(columns)}) = ROW(%s,%s,%s,%s,%s,%s) "
                "WHERE id = %s".encode(),
                (*(before[column] for column in columns), mailbox["id"]),
            )


def test_a_blocked_domain_is_named(cli: Cli, mailbox: dict[str, Any], superuser: Superuser) -> None:
    workspace = cli.ok("workspace", "show", "acme")["id"]
    with superuser() as conn:
        conn.execute(
            "INSERT INTO domain_health (workspace_id, domain, mx_ok, detail, next_check_at) "
            "VALUES (%s, 'look.test', false, 'no MX record', now())",
            (workspace,),
        )
    try:
        told = "the domain look.test is blocked as a peer: no mail server: no MX record"
        assert told in cli("mailbox", "why", mailbox["address"]).out
        assert told in cli("doctor").out
    finally:
        with superuser() as conn:
            conn.execute("DELETE FROM domain_health")


def test_status_counts_today_and_seven_days_with_the_sample_size(
    cli: Cli, mailbox: dict[str, Any]
) -> None:
    seen = cli.ok("status")
    assert (seen["running"], seen["sandbox"], seen["environment"]) == (True, False, "development")
    (workspace,) = [w for w in seen["workspaces"] if w["name"] == "acme"]
    (pool,) = [p for p in workspace["pools"] if p["name"] == "sales"]
    assert pool["mailboxes"]["active"] == pool["mailboxes"]["total"] == 1
    today = pool["today"]
    assert (today["volume"], today["planned"], today["sent"], today["skipped"]) == (2, 3, 1, 1)
    placed = pool["placements"]
    assert (placed["sample"], placed["inbox"], placed["junk"], placed["note"]) == (21, 17, 4, "")
    assert placed["inbox_percent"]["low"] < 81.0 == placed["inbox_percent"]["point"]
    assert {group["worker_group"] for group in seen["demand"]} == {"local"}
    assert "81.0 % (" in cli("status", "-w", "acme").out
    assert cli("status", "-w", "nowhere").code == 1


def findings(answer: Any) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for finding in answer.json()["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_doctor_fails_for_processes_that_do_not_run(cli: Cli) -> None:
    answer = cli("doctor", "--json")
    assert (answer.code, answer.json()["ok"]) == (1, False)
    found = findings(answer)
    assert {check for check, rows in found.items() if any(r["level"] == "fail" for r in rows)} == {
        "worker",
        "scheduler",
        "web",
    }
    for check in ("data folder", "redis", "database", "clock", "schema", "roles", "keys", "work"):
        assert found[check][0]["level"] == "ok", found[check]
    text = cli("doctor").out
    assert "fail worker: it does not run" in text
    assert "3 failed" in text.splitlines()[-1]


def test_doctor_finds_keys_that_are_exposed_missing_or_others(
    cli: Cli, folder: Path, superuser: Superuser
) -> None:
    key = folder / "keys" / cli.ok("workspace", "show", "acme")["id"] / "1"
    content = key.read_bytes()
    try:
        key.chmod(0o644)
        assert "has mode 0644" in findings(cli("doctor", "--json"))["keys"][0]["text"]
        key.chmod(0o600)
        key.write_bytes(content[::-1])
        wrong = findings(cli("doctor", "--json"))["keys"][0]
        assert (wrong["level"], "another key" in wrong["text"]) == ("fail", True)
        key.unlink()
        assert "is not in" in findings(cli("doctor", "--json"))["keys"][0]["text"]
        (folder / "secrets").chmod(0o755)
        assert "chmod 700" in findings(cli("doctor", "--json"))["data folder"][0]["hint"]
    finally:
        (folder / "secrets").chmod(0o700)
        key.write_bytes(content)
        key.chmod(0o600)
    # The provisioner looked meanwhile and may have noted it; it clears that on its next pass.


def test_doctor_finds_overdue_work_pending_migrations_and_strong_roles(
    cli: Cli, mailbox: dict[str, Any], superuser: Superuser
) -> None:
    with superuser() as conn:
        conn.execute("UPDATE action SET due_at = now() - interval '1 hour' WHERE kind = 'poll'")
        applied = conn.execute(
            "DELETE FROM schema_checksums WHERE name = (SELECT max(name) FROM schema_checksums) "
            "RETURNING *"
        ).fetchone()
        conn.execute("ALTER ROLE mh_web BYPASSRLS")
    try:
        found = findings(cli("doctor", "--json"))
        assert found["work"][0]["level"] == "fail"
        assert "are due, the oldest since" in found["work"][0]["text"]
        assert applied["name"] in found["schema"][0]["text"]
        assert "mh_web" in found["roles"][0]["text"]
    finally:
        with superuser() as conn:
            conn.execute(
                "INSERT INTO schema_checksums VALUES (%(name)s, %(checksum)s, %(applied_at)s)",
                applied,
            )
            conn.execute("ALTER ROLE mh_web NOBYPASSRLS")
            conn.execute("UPDATE action SET due_at = now() WHERE kind = 'poll'")
