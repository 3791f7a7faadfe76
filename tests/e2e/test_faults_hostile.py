"""Hostile servers and hostile mail: an error for that mailbox at most, nothing for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from campaign import Campaign, hurry
from database import TestInstallation
from engine import MONDAY
from mailhearth_core.mail.domains import DomainReachability, check_domain
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import why
from mailhearth_local.sandbox.accounts import DemoUser, write_users
from mailhearth_worker import domains
from misbehaving_imap import HostileImap

OPENED = b"* 9 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT %s] x\r\n"
MESSAGES = 60
MANY = b" ".join(b"%d" % number for number in range(1, 200_001))


def _persona(
    following: bytes, search: bytes, fetch: bytes | None
) -> Callable[[bytes], bytes | None]:
    def answer(command: bytes) -> bytes | None:
        if command.startswith((b"EXAMINE", b"SELECT")):
            return OPENED % following
        if command.startswith(b"UID SEARCH"):
            return search
        return fetch if command.startswith(b"UID FETCH") else b""

    return answer


PERSONAS = {
    "numbers": _persona(b"9" * 30, b"", b""),
    "crowd": _persona(b"200001", b"* SEARCH " + MANY + b"\r\n", b""),
    "literal": _persona(b"9", b"* SEARCH 5\r\n", b"* 1 FETCH (BODY[] {99999999999}\r\n"),
    "line": _persona(b"9", b"* SEARCH 5\r\n", b"* 1 FETCH (" + b"x" * 9_000_000),
    "drip": _persona(b"9", b"* SEARCH 5\r\n", None),
    "nonsense": _persona(b"9", b"\x00\xff\xfe\r\n", b"* 1 FETCH NIL\r\n"),
    "others": _persona(
        b"9", b"* SEARCH 5\r\n", b"* 1 FETCH (UID 99999999999999999999 FLAGS NIL)\r\n" * 50
    ),
}
"""Each has been well-behaved when it was connected: the first look reads no message."""


@pytest.fixture
def campaign(
    installation: TestInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Campaign]:
    hurry(monkeypatch, 1.0)
    made = Campaign(installation, tmp_path, messages=MESSAGES)
    try:
        yield made
    finally:
        made.close()


def test_a_hostile_server_costs_its_own_mailbox_an_error_and_nobody_else_anything(
    campaign: Campaign,
) -> None:
    engine = campaign.engine
    with ExitStack() as stack:
        servers = {name: HostileImap(answer) for name, answer in PERSONAS.items()}
        for server in servers.values():
            stack.callback(server.close)
        strangers = {name: f"{name}@summit.test" for name in PERSONAS}
        added = [DemoUser(address, Secret("word-word"), "X", "Y") for address in strangers.values()]
        campaign.connect()
        write_users(engine.post, [*engine.users, *added])
        for name, user in zip(strangers, added, strict=True):
            engine.installation.mailbox(
                campaign.workspace,
                campaign.pool,
                user.address,
                password=user.password.reveal(),  # connected: it was well-behaved once
                imap=f"127.0.0.1:{servers[name].port}",
                smtp=f"127.0.0.1:{engine.info.smtp_port}",
                tls="none",
                timezone="UTC",
                username=user.address,
            )
        campaign.plan()
        campaign.run_to(16)
        for name, address in strangers.items():
            row = engine.one("SELECT * FROM mailboxes WHERE address = %s", address)
            assert servers[name].asked.total() > 0, name
            assert row["state"] == "active", row
            if name not in ("crowd", "others"):  # those tell nothing that is wrong in itself
                assert row["last_error"], name
                assert "Something unexpected happened" not in row["last_error"], row
        # They were asked again and again, ever more rarely, and not in a loop.
        tries = engine.rows("SELECT max(attempt) AS n FROM action GROUP BY mailbox_id")
        assert max(row["n"] for row in tries) <= 30
        good = list(campaign.mailboxes.values())
        rows = engine.rows(
            "SELECT o.state, o.reason, o.placement FROM outbound o JOIN inbound i USING (pair_id) "
            "WHERE o.mailbox_id = ANY (%s) AND i.mailbox_id = ANY (%s) AND o.due_at < %s",
            *(good, good, MONDAY + timedelta(hours=14)),
        )
        assert len(rows) >= MESSAGES // 4
        assert {(row["state"], row["placement"]) for row in rows} <= {
            ("sent", "inbox"),
            ("sent", "junk"),
        }
        errors = engine.rows(
            "SELECT last_error FROM mailboxes WHERE id = ANY (%s) AND last_error <> ''", good
        )
        assert errors == []


def _forged(row: dict[str, Any], sender: str, *more: str) -> bytes:
    lines = (f"From: {sender}", f"Message-ID: {row['message_id']}", "Subject: x", *more)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\nx\r\n"


def test_forged_copied_and_automatic_mail_changes_nothing(campaign: Campaign) -> None:
    engine = campaign.engine
    campaign.connect()
    campaign.plan()
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))
    to = bound["peer_address"]
    sender = engine.one("SELECT address FROM mailboxes WHERE id = %s", bound["mailbox_id"])
    engine.append(to, "INBOX", _forged(bound, "mallory@evil.test"))
    engine.append(to, "Junk", _forged(bound, "\0"))
    broken = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    for address in (to, sender["address"]):
        engine.append(address, "INBOX", broken + b"--b\r\n" * 200)
    engine.append(to, "INBOX", b"Message-ID: <big@x.test>\r\n\r\n" + b"x" * 5_000_000)
    campaign.run_to(20)
    rows = engine.rows(
        "SELECT message_id, references_count, forwarded FROM (SELECT message_id, "
        "cardinality(observed_refs) AS references_count, folder AS forwarded "
        "FROM inbound WHERE message_id = %s) x",
        bound["message_id"],
    )
    assert len(rows) == 1
    # A copy that its reader forwarded to somebody else in the pool is not that one's mail.
    other = next(
        user.address for user in engine.users if user.address not in (to, sender["address"])
    )
    real = next(
        mail
        for mail in engine.mail(to)
        if mail.message_id == bound["message_id"] and b"mallory" not in mail.raw
    )
    engine.append(other, "INBOX", real.raw)
    campaign.run_out()
    found = campaign.check(messages=MESSAGES // 2)
    assert found.states.keys() == {"sent"}
    errors = engine.rows("SELECT address, last_error FROM mailboxes WHERE last_error <> ''")
    assert errors == []
    kept = [mail for mail in engine.mail(to) if b"mallory@evil.test" in mail.raw]
    assert [mail.flags for mail in kept] == [""]
    assert [mail.raw for mail in engine.mail(other)].count(real.raw) == 1


def test_why_tells_of_refused_sign_ins_and_of_a_dead_domain(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = campaign.engine
    campaign.connect()
    campaign.plan()
    campaign.run_to(9)
    victim = engine.users[1].address
    mailbox = campaign.mailboxes[victim]
    write_users(
        engine.post,
        [
            DemoUser(u.address, Secret("changed") if u.address == victim else u.password)
            for u in engine.users
        ],
    )

    def told() -> set[str]:
        row = engine.row(campaign.workspace, mailbox)
        found = why.explain(engine.installation.database("cli"), campaign.workspace, row)
        return {blocker["code"] for blocker in found["not_sending"]}

    for hour in range(10, 24):
        engine.runtime.sessions.close()
        engine.ask_poll(campaign.workspace, mailbox, engine.now)
        campaign.run_to(hour)
        if engine.row(campaign.workspace, mailbox)["auth_failures"] >= 3:
            break
    assert engine.row(campaign.workspace, mailbox)["state"] == "needs_reauth"
    assert "needs_reauth" in told()
    bound_to = "SELECT 1 FROM outbound WHERE state = 'bound' AND peer_ref = %s"
    engine.rows("UPDATE mailboxes SET auth_failures = 10 WHERE id = %s", mailbox)
    engine.settle_down()
    assert "excluded" in told()
    assert engine.rows(bound_to, str(mailbox)) == []
    own = engine.rows(
        "SELECT 1 FROM outbound WHERE state IN ('planned', 'bound') AND mailbox_id = %s", mailbox
    )
    assert own == []

    dead = victim.rpartition("@")[2]
    real = check_domain
    monkeypatch.setattr(
        domains,
        "check_domain",
        lambda domain, *rest: (
            DomainReachability(False, False, "no MX") if domain == dead else real(domain, *rest)
        ),
    )
    engine.run_until(engine.now + timedelta(hours=3))
    assert "domain_blocked" in told()
    engine.rows("UPDATE mailboxes SET next_size_at = '2026-03-03'")
    engine.run_until(MONDAY + timedelta(hours=35), step=timedelta(hours=1))
    there = engine.rows(
        "SELECT 1 FROM outbound WHERE day = '2026-03-03' AND peer_domain = %s", dead
    )
    others = engine.rows("SELECT 1 FROM outbound WHERE day = '2026-03-03' AND state = 'sent'")
    assert there == []
    assert others
