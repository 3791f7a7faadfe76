"""A few virtual days of a whole pool, seen from mailboxes, database, log and metrics."""

from __future__ import annotations

import io
import json
from collections import Counter
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from uuid import UUID

from engine import MONDAY, Engine, Mail
from mailhearth_local.sandbox.scan import placements

PERSONAL = (
    b"From: Vera Sund <vera.sund@elsewhere.example>\r\nTo: {to}\r\nSubject: Dinner on {when}\r\n"
    b"Message-ID: <{when}@elsewhere.example>\r\nDate: Mon, 02 Mar 2026 07:00:00 +0000\r\n\r\n"
    b"Is seven good for you?\r\n"
)


def test_three_days_of_twelve_mailboxes(engine: Engine, log_lines: io.StringIO) -> None:
    workspace = engine.installation.workspace("demo")
    pool = engine.installation.pool(
        workspace,
        start_volume=5,  # so few that everybody finds peers
        step=1,
        pair_gap_hours=24,
        retention_hours=24,
        reply_delay_max_minutes=720,
    )
    _plant(engine, "before", "INBOX", ["\\Flagged"])
    _plant(engine, "junk", "Junk", [])
    planted = _personal(engine)
    for user in engine.users:
        engine.connect(workspace, pool, user, timezone=user.timezone)
    step = timedelta(minutes=15)
    engine.run_until(MONDAY + timedelta(days=1, hours=12), step=step)
    _plant(engine, "during", "INBOX", [])
    _replies_thread(engine)
    engine.run_until(MONDAY + timedelta(days=2, hours=23), step=step)
    engine.rows("UPDATE business_clock SET sending_ends = %s", MONDAY + timedelta(days=2, hours=23))
    engine.rows("UPDATE mailboxes SET next_size_at = '2027-01-01'")
    engine.run_until(MONDAY + timedelta(days=4, hours=2), step=timedelta(hours=1))

    _each_was_sent_once_and_seen_where_it_was(engine)
    _readers_did_their_deeds(engine)
    _personal_mail_is_untouched(engine, planted)
    _numbers_agree(engine, workspace)
    _nothing_private_is_kept(engine, log_lines)


def _plant(engine: Engine, when: str, folder: str, flags: list[str]) -> None:
    for user in engine.users[::3]:
        raw = PERSONAL.replace(b"{to}", user.address.encode()).replace(b"{when}", when.encode())
        engine.append(user.address, folder, raw, flags)


def _personal(engine: Engine) -> dict[str, list[Mail]]:
    return {
        user.address: [m for m in engine.mail(user.address) if b"elsewhere.example" in m.raw]
        for user in engine.users
    }


def _each_was_sent_once_and_seen_where_it_was(engine: Engine) -> None:
    ended = engine.rows("SELECT state, count(*) AS n FROM outbound GROUP BY 1 ORDER BY 1")
    assert {row["state"] for row in ended} <= {"sent", "cancelled"}, ended
    seen = engine.rows(
        "SELECT i.message_id, o.peer_address, i.placement, o.placement AS carried, i.copies "
        "FROM outbound o JOIN inbound i USING (pair_id) WHERE o.state = 'sent'"
    )
    truth = list(placements(engine.post))
    assert len(seen) > 150
    assert sorted((row["peer_address"], row["message_id"], row["placement"]) for row in seen) == (
        sorted((to, message_id, "junk" if junk else "inbox") for to, _, message_id, junk in truth)
    )
    assert all(row["carried"] == row["placement"] and row["copies"] == 1 for row in seen)


def _readers_did_their_deeds(engine: Engine) -> None:
    counts = engine.one(
        "SELECT count(*) AS n, count(*) FILTER (WHERE placement = 'junk') AS junk, "
        "count(rescued_at) AS rescued, count(read_at) AS read, count(flagged_at) AS flagged, "
        "count(filed_at) AS filed, count(expunged_at) AS expunged FROM inbound"
    )
    n = counts["n"]
    assert 0 < counts["junk"] == counts["rescued"]
    assert n == counts["read"] == counts["filed"] == counts["expunged"]
    assert 0.05 * n < counts["flagged"] < 0.30 * n
    ours = {row["message_id"] for row in engine.rows("SELECT message_id FROM inbound")}
    left = [mail for user in engine.users for mail in engine.mail(user.address)]
    assert not [(mail.folder, mail.message_id) for mail in left if mail.message_id in ours]
    wished = engine.one(
        "SELECT count(*) FILTER (WHERE reply_state <> 'none') AS wished, count(*) AS n FROM inbound"
    )
    # Every conversation but the shortest has turns left; 30 % of them is what the policy asks for.
    assert 0.2 < wished["wished"] / wished["n"] < 0.4, wished


def _replies_thread(engine: Engine) -> None:
    replies = engine.rows(
        "SELECT o.message_id, o.peer_address, i.observed_message_id, i.subject FROM outbound o "
        "JOIN inbound i ON i.id = o.reply_to_inbound AND i.workspace_id = o.workspace_id "
        "JOIN inbound t ON t.pair_id = o.pair_id "
        "WHERE o.kind = 'reply' AND o.state = 'sent' AND t.expunged_at IS NULL"
    )
    assert len(replies) > 3
    for reply in replies:
        (mail,) = [
            mail
            for mail in engine.mail(reply["peer_address"])
            if mail.message_id == reply["message_id"]
        ]
        message = message_from_bytes(mail.raw, policy=default)
        assert message["In-Reply-To"].strip() == reply["observed_message_id"]
        assert message["References"].split()[-1] == reply["observed_message_id"]
        assert message["Subject"] == "Re: " + reply["subject"].removeprefix("Re: ")
        body = message.get_body(("plain",))
        assert body is not None
        quoted = body.get_content()
        assert "\n>" in quoted or "-----Original Message-----" in quoted


def _personal_mail_is_untouched(engine: Engine, planted: dict[str, list[Mail]]) -> None:
    now = _personal(engine)
    assert sum(map(len, planted.values())) == 8
    for address, mails in planted.items():
        assert [mail for mail in now[address] if b"Dinner on during" not in mail.raw] == mails
    during = [mail for mails in now.values() for mail in mails if b"Dinner on during" in mail.raw]
    assert [(mail.folder, mail.flags) for mail in during] == [("INBOX", "")] * 4


def _numbers_agree(engine: Engine, workspace: UUID) -> None:
    """Roll-ups and counters equal a recount."""
    with engine.installation.superuser() as conn:
        conn.execute("SELECT sched.recompute_rollups((SELECT business_at FROM business_clock))")
    recount = engine.rows(
        "SELECT mailbox_id, day, count(*) FILTER (WHERE state <> 'cancelled') AS planned, "
        "count(*) FILTER (WHERE state = 'sent') AS sent, "
        "count(*) FILTER (WHERE placement = 'inbox') AS inbox, "
        "count(*) FILTER (WHERE placement = 'junk') AS junk, "
        "count(*) FILTER (WHERE kind = 'reply' AND state = 'sent') AS replied "
        "FROM outbound GROUP BY 1, 2 ORDER BY 1, 2"
    )
    stored = engine.rows(
        "SELECT mailbox_id, day, planned, sent, inbox, junk, replied FROM rollups ORDER BY 1, 2"
    )
    assert stored == recount
    total = Counter({"sent": 0})
    for row in recount:
        total.update({key: row[key] for key in ("sent", "inbox", "junk", "replied")})
    count = engine.registry.get_sample_value
    assert count("mailhearth_sent_total", {"provider": "other"}) == total["sent"]
    assert count("mailhearth_replied_total", {"provider": "other"}) == total["replied"]
    assert count("mailhearth_rescued_total", {"provider": "other"}) == total["junk"]
    for placement in ("inbox", "junk"):
        labels = {"placement": placement, "provider": "other"}
        assert count("mailhearth_placement_total", labels) == total[placement]


def _nothing_private_is_kept(engine: Engine, log_lines: io.StringIO) -> None:
    text = log_lines.getvalue()
    assert "elsewhere.example" not in text
    assert "Dinner" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    (message,) = engine.rows(
        "SELECT correlation_id::text AS id FROM outbound WHERE state = 'sent' ORDER BY id LIMIT 1"
    )
    told = [line["event"] for line in lines if line.get("correlation_id") == message["id"]]
    assert told == ["bound", "sent", "observed"]
    # No column of any table holds a body: a line that every quoted reply has is nowhere.
    tables = engine.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'mailhearth'::regnamespace "
        "AND relkind = 'r'"
    )
    for table in tables:
        found = engine.one(
            f"SELECT count(*) AS n FROM {table['relname']} t "
            "WHERE t::text ~ 'wrote:|Original Message|Is seven good'"
        )
        assert found["n"] == 0, table
