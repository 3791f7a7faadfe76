"""Hostile servers and hostile mail: an error for that mailbox at most, nothing for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from campaign import Campaign
from database import TestInstallation
from engine import MONDAY
from mailhearth_core.mail import imap_link
from mailhearth_core.mail.domains import DomainReachability, check_domain
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import why
from mailhearth_core.warmup import matching
from mailhearth_core.warmup.engagement import plan_engagement
from mailhearth_core.warmup.matching import Binding, Snapshot
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.window import local_date
from mailhearth_local.sandbox.accounts import DemoUser, write_users
from mailhearth_worker import compose as composing
from mailhearth_worker import domains, send
from mailhearth_worker.scheduler import bind, passes
from misbehaving_imap import HostileImap

OPENED = b"* 9 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT %s] x\r\n"
MESSAGES = 60
EACH_PERSONA = 3
"""Messages that each hostile mailbox is sent."""
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
SILENT = ("crowd", "others")
"""Those that tell nothing that is wrong in itself."""


@pytest.fixture
def campaign(installation: TestInstallation, tmp_path: Path) -> Iterator[Campaign]:
    made = Campaign(installation, tmp_path, messages=MESSAGES)
    try:
        yield made
    finally:
        made.close()


def _seat(
    monkeypatch: pytest.MonkeyPatch, guests: list[UUID], hosts: list[UUID], each: int
) -> None:
    """Lets the guests' first messages go to each of the hosts, `each` of them, and no other do."""
    places = [host for host in hosts for _ in range(each)]
    wanted = {guest: places[n :: len(guests)] for n, guest in enumerate(guests)}
    real = matching.match

    def match(snapshot: Snapshot) -> list[Binding]:
        peers = {peer.mailbox_id: peer for peer in snapshot.peers}
        chosen, slots = [], []
        for slot in sorted(snapshot.slots, key=lambda slot: slot.due_at):
            if wanted.get(slot.mailbox_id):
                peer = peers[wanted[slot.mailbox_id].pop()]
                day = local_date(slot.due_at, peer.timezone)
                chosen.append(Binding(slot, peer, day, None, "chosen"))
            else:
                slots.append(slot)
        rest = tuple(
            replace(peer, accepts=False) if peer.mailbox_id in hosts else peer
            for peer in snapshot.peers
        )
        return chosen + real(replace(snapshot, peers=rest, slots=tuple(slots)))

    monkeypatch.setattr(bind, "match", match)


def _hurry_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Gives up soon on the server at one port; all others have the time they always have."""
    monkeypatch.setattr(imap_link, "_GOODBYE_S", 0.1)
    real = ImapSmtpProvider.open_reader

    def open_reader(
        self: ImapSmtpProvider, config: Any, login: Any, dialer: Any, **more: Any
    ) -> Any:
        if config.imap.port == port:
            more["deadline_s"] = 0.3
        return real(self, config, login, dialer, **more)

    monkeypatch.setattr(ImapSmtpProvider, "open_reader", open_reader)


def test_a_hostile_server_costs_its_own_mailbox_an_error_and_nobody_else_anything(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = campaign.engine
    with ExitStack() as stack:
        servers = {name: HostileImap(answer) for name, answer in PERSONAS.items()}
        for server in servers.values():
            stack.callback(server.close)
        _hurry_at(monkeypatch, servers["drip"].port)
        added = {
            name: DemoUser(f"{name}@summit.test", Secret("word-word"), "X", "Y")
            for name in PERSONAS
        }
        campaign.connect()
        write_users(engine.post, [*engine.users, *added.values()])
        strangers = {
            name: engine.installation.mailbox(
                campaign.workspace,
                campaign.pool,
                user.address,
                password=user.password.reveal(),  # connected: it was well-behaved once
                imap=f"127.0.0.1:{servers[name].port}",
                tls="",
                imap_tls="none",
                smtp=f"127.0.0.1:{engine.info.smtps_port}",
                smtp_tls="implicit",
                ca=engine.info.ca_file,
                timezone="UTC",
                username=user.address,
            )
            for name, user in added.items()
        }
        good = list(campaign.mailboxes.values())
        _seat(monkeypatch, good, list(strangers.values()), EACH_PERSONA)
        campaign.plan()
        campaign.run_to(16)
        for name, mailbox in strangers.items():
            came = engine.one(
                "SELECT count(*) AS n FROM outbound WHERE state = 'sent' AND peer_ref = %s",
                str(mailbox),
            )
            assert came["n"] == EACH_PERSONA, name
            asked = servers[name].asked
            assert asked[b"EXAMINE"], (name, asked)
            assert asked[b"UID"] or name == "numbers", (name, asked)
            row = engine.one("SELECT state, last_error FROM mailboxes WHERE id = %s", mailbox)
            assert row["state"] == "active", row
            assert bool(row["last_error"]) == (name not in SILENT), (name, row)
            assert "Something unexpected happened" not in row["last_error"], row
        # They were asked again and again, ever more rarely, and not in a loop.
        tries = engine.rows("SELECT max(attempt) AS n FROM action GROUP BY mailbox_id")
        assert max(row["n"] for row in tries) <= 30
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


def test_forged_copied_and_malformed_mail_changes_nothing(campaign: Campaign) -> None:
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
    campaign.run_to(20)
    rows = engine.rows("SELECT id FROM inbound WHERE message_id = %s", bound["message_id"])
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
    copies = [mail for mail in engine.mail(other) if mail.raw == real.raw]
    assert [(mail.folder, mail.flags) for mail in copies] == [("INBOX", "")]


def test_automatic_mail_is_answered_by_nobody(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever would have been answered comes with `Auto-Submitted`, and so do replies to it."""
    engine = campaign.engine
    half = '{"reply_rate_percent": 50}'
    engine.rows("UPDATE pools SET policy = policy || %s::jsonb", half)
    campaign.connect()
    campaign.plan()
    policy = Policy.from_json(
        engine.one("SELECT policy FROM pools WHERE id = %s", campaign.pool)["policy"]
    )
    real = composing.compose
    automatic: set[str] = set()

    def compose(work: Any, out: dict[str, Any]) -> bytes:
        raw = real(work, out)
        plan = plan_engagement(
            seed=out["seed"] + out["turn"],
            policy=policy,
            placement="inbox",
            observed_at=engine.now,
            auto_submitted=False,
            turns_left=1,
        )
        if plan.reply_at is None:
            return raw
        automatic.add(out["message_id"])
        return b"Auto-Submitted: auto-generated\r\n" + raw

    monkeypatch.setattr(send, "compose", compose)
    campaign.run_to(13)
    sent = engine.rows(
        "SELECT o.message_id, o.peer_address, m.address FROM outbound o "
        "JOIN mailboxes m ON m.id = o.mailbox_id WHERE o.state = 'sent'"
    )
    for row in sent:  # each reader is on holiday, and has a program that says so
        lines = (
            f"From: {row['peer_address']}",
            f"To: {row['address']}",
            f"Message-ID: <away.{row['message_id'].strip('<>')}>",
            f"In-Reply-To: {row['message_id']}",
            f"References: {row['message_id']}",
            "Auto-Submitted: auto-replied (vacation)",
            "Subject: Away",
        )
        engine.append(row["address"], "INBOX", "\r\n".join((*lines, "", "Away.", "")).encode())
    campaign.run_out()
    assert len(automatic) >= 5
    marked = engine.rows("SELECT message_id, reply_state FROM inbound WHERE auto_submitted")
    assert {row["message_id"] for row in marked} == automatic
    assert {row["reply_state"] for row in marked} == {"none"}
    assert engine.rows("SELECT id FROM outbound WHERE kind = 'reply'") == []
    away = [
        mail
        for user in engine.users
        for mail in engine.mail(user.address)
        if mail.message_id.startswith("<away.")
    ]
    assert len(away) == len(sent) > 20
    assert {(mail.folder, mail.flags) for mail in away} == {("INBOX", "")}
    campaign.check(messages=MESSAGES // 2)


def test_why_tells_of_refused_sign_ins_and_of_a_dead_domain(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = campaign.engine
    monkeypatch.setitem(passes.EVERY_S, "domains", 0.0)  # by the business clock alone
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
