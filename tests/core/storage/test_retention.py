"""What is forgotten and when, on a real database: never what is unfinished, retained or needed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from database import TestInstallation
from mailhearth_core.settings import SchedulerSettings
from mailhearth_core.storage.named import named
from mailhearth_worker.scheduler import retention
from messages import DAY, NOW, Messages

SQL = named("retention")
LATER = NOW + timedelta(days=200)
SETTINGS = SchedulerSettings.load(
    {
        "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1/0",
        "MAILHEARTH_DATABASE_URL": "postgresql://x:y@127.0.0.1/z",
        "MAILHEARTH_DATA_FOLDER": "/nowhere",
    }
)


@pytest.fixture
def messages(installation: TestInstallation) -> Messages:
    made = Messages(installation)
    installation.rows("DELETE FROM action")  # the first look into each, of the machine's time
    return made


def sweep(messages: Messages, now: datetime = LATER) -> list[int]:
    """All sweeps, each in its transaction, until nothing is left."""
    removed = []
    for work in retention.sweeps(now, SETTINGS):
        with messages.installation.database("scheduler").tx() as conn:
            removed.append(work(conn))
    return removed


def plan(messages: Messages, now: datetime) -> int:
    with messages.installation.database("scheduler").tx() as conn:
        return retention.plan_expunges(conn, now)


def delivered(messages: Messages, day: date = DAY, *, reply: str = "none") -> tuple[UUID, UUID]:
    """A message from Alice that Bob's worker has observed; both halves."""
    at = NOW + (day - DAY)
    outbound = messages.bound(messages.alice, messages.bob, at, day=day)
    assert messages.sent(messages.alice, at) == outbound
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], at, reply=reply)
    return outbound, twin["id"]


def gone_from_mailboxes(messages: Messages, outbound: UUID, inbound: UUID) -> None:
    messages.worker(messages.north, "sent_expunged", id=outbound, now=NOW + timedelta(days=14))
    messages.worker(messages.south, "mark_expunged", id=inbound, now=NOW + timedelta(days=14))


def rows(messages: Messages, table: str) -> list[dict[str, Any]]:
    return messages.installation.rows(f"SELECT * FROM {table}")


def test_cold_and_ended_messages_go_once_their_mail_and_their_jobs_are_gone(
    messages: Messages,
) -> None:
    outbound, inbound = delivered(messages)
    messages.installation.rows("UPDATE action SET state = 'done', finished_at = due_at")
    sweep(messages)
    assert rows(messages, "action") == []
    assert len(rows(messages, "outbound")) == len(rows(messages, "inbound")) == 1, (
        "still in mailboxes"
    )
    gone_from_mailboxes(messages, outbound, inbound)
    sweep(messages, NOW + timedelta(days=89))
    assert len(rows(messages, "outbound")) == len(rows(messages, "inbound")) == 1, "not cold yet"
    sweep(messages, NOW + timedelta(days=92))
    assert rows(messages, "outbound") == rows(messages, "inbound") == []


def test_what_is_unfinished_stays_however_old(messages: Messages) -> None:
    outbound, inbound = delivered(messages, reply="wished")
    planned = messages.planned(messages.alice, day=DAY + timedelta(days=1))
    bound = messages.bound(messages.alice, messages.bob, day=DAY + timedelta(days=2))
    gone_from_mailboxes(messages, outbound, inbound)
    messages.installation.rows(
        "UPDATE action SET state = 'done', finished_at = due_at WHERE kind <> 'send'"
    )
    waiting = messages.installation.rows(
        "SELECT 1 FROM action WHERE state IN ('waiting', 'pending')"
    )
    sweep(messages)
    assert {row["id"] for row in rows(messages, "outbound")} == {planned, bound}
    assert inbound in {row["id"] for row in rows(messages, "inbound")}, "a reply is wished"
    assert len(rows(messages, "action")) == len(waiting) == 2


def test_a_mailbox_that_may_not_be_signed_in_to_holds_nothing_back(messages: Messages) -> None:
    delivered(messages)
    messages.installation.rows("UPDATE action SET state = 'cancelled', finished_at = due_at")
    messages.installation.rows(
        "UPDATE mailboxes SET state = 'removed' WHERE id = %s", messages.alice
    )
    messages.installation.rows("UPDATE mailboxes SET consent = 'none' WHERE id = %s", messages.bob)
    sweep(messages)
    assert rows(messages, "outbound") == rows(messages, "inbound") == []


def test_a_conversation_goes_from_its_end(messages: Messages) -> None:
    outbound, inbound = delivered(messages, reply="wished")
    answer = messages.planned(messages.bob)
    messages.bind(
        messages.binding(answer, messages.alice, kind="reply", reply_to_inbound=str(inbound))
    )
    gone_from_mailboxes(messages, outbound, inbound)
    messages.installation.rows(
        "UPDATE action SET state = 'done', finished_at = due_at WHERE outbound_id <> %s", answer
    )
    sweep(messages)
    assert {row["id"] for row in rows(messages, "outbound")} == {answer}
    assert inbound in {row["id"] for row in rows(messages, "inbound")}
    messages.settle(LATER)  # too late for the answer
    messages.installation.rows("UPDATE inbound SET reply_state = 'expired'")
    sweep(messages, LATER + timedelta(days=15))
    assert rows(messages, "outbound") == rows(messages, "inbound") == []


def test_the_last_day_of_a_mailbox_stays(messages: Messages) -> None:
    for n in range(3):
        messages.store(messages.alice, [], day=DAY + timedelta(days=n), volume=5)
    sweep(messages)
    for table in ("day_sizes", "controller_rows"):
        assert [row["day"] for row in rows(messages, table)] == [DAY + timedelta(days=2)]
    kept = LATER.date() - timedelta(days=5)
    messages.store(messages.alice, [], day=kept, volume=5)
    sweep(messages)
    assert [row["day"] for row in rows(messages, "day_sizes")] == [kept]


def test_ended_wishes_and_long_removed_mailboxes_go(messages: Messages) -> None:
    old = datetime.now(UTC) - timedelta(days=31)
    open_before = len(rows(messages, "commands"))
    messages.installation.rows("UPDATE commands SET finished_at = %s", old)
    messages.installation.rows(
        "UPDATE commands SET state = 'open' WHERE ctid = (SELECT min(ctid) FROM commands)"
    )
    sweep(messages)
    assert open_before > 1
    assert [row["state"] for row in rows(messages, "commands")] == ["open"]
    messages.installation.rows(
        "UPDATE mailboxes SET state = 'removed', state_since = %s WHERE id = %s",
        NOW,
        messages.alice,
    )
    messages.installation.rows("DELETE FROM action")
    sweep(messages, NOW + timedelta(days=729))
    assert len(rows(messages, "mailboxes")) == 2
    sweep(messages, NOW + timedelta(days=731))
    assert [row["id"] for row in rows(messages, "mailboxes")] == [messages.bob]
    left = messages.installation.rows(
        "SELECT 1 FROM consent_ledger WHERE mailbox_id = %s", messages.alice
    )
    assert left == []


def test_a_batch_is_the_most_that_goes_at_once(
    messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    messages.store(messages.alice, [NOW] * 5)
    messages.installation.rows("UPDATE outbound SET state = 'skipped'")
    messages.installation.rows("UPDATE action SET state = 'skipped', finished_at = due_at")
    before = len(rows(messages, "action"))
    assert sweep(messages)[:2] == [2, 2]
    assert len(rows(messages, "action")) == before - 2
    assert len(rows(messages, "outbound")) == 3
    with messages.installation.superuser() as conn:  # a locked row stops nobody
        conn.execute("SELECT 1 FROM action ORDER BY finished_at LIMIT 1 FOR UPDATE")
        assert sweep(messages)[0] == 2
    while any(sweep(messages)):
        pass
    assert rows(messages, "outbound") == rows(messages, "action") == []


def test_mail_whose_end_was_never_planned_is_ended(messages: Messages) -> None:
    outbound, inbound = delivered(messages)
    messages.installation.rows("DELETE FROM action WHERE kind IN ('expunge', 'expunge_sent')")
    assert plan(messages, NOW + timedelta(days=14)) == 0, "it is still kept"
    when = NOW + timedelta(days=14, hours=2)
    assert plan(messages, when) == 2
    assert plan(messages, when) == 0, "it is planned"
    planned = messages.installation.rows(
        "SELECT kind, due_at, coalesce(outbound_id, inbound_id) AS message FROM action "
        "WHERE kind LIKE 'expunge%%' ORDER BY kind"
    )
    assert [(row["kind"], row["message"]) for row in planned] == [
        ("expunge", inbound),
        ("expunge_sent", outbound),
    ]
    assert all(row["due_at"] == when for row in planned)
    messages.installation.rows(
        "UPDATE action SET state = 'failed', finished_at = %s WHERE kind LIKE 'expunge%%'", when
    )
    assert plan(messages, when + timedelta(hours=23)) == 0, "once a day"
    assert plan(messages, when + timedelta(hours=25)) == 2
    messages.installation.rows("DELETE FROM action WHERE kind LIKE 'expunge%%'")
    messages.installation.rows("UPDATE mailboxes SET consent = 'none' WHERE id = %s", messages.bob)
    assert plan(messages, when) == 1, "nobody signs in without consent"
    messages.installation.rows("DELETE FROM action WHERE kind LIKE 'expunge%%'")
    messages.installation.rows("UPDATE mailboxes SET consent = 'workspace'")
    gone_from_mailboxes(messages, outbound, inbound)
    assert plan(messages, LATER) == 0
