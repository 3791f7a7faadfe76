"""A drain's own statements: what is claimed, given back and settled, and under which lease."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from database import TestInstallation
from mailhearth_core.storage.named import named
from messages import NOW, Messages

SENDING = named("sending")
MINUTE = timedelta(minutes=1)
POLL_OUTCOME = {
    "machine": NOW,
    "began": NOW,
    "folders": Jsonb([{"folder": "INBOX", "uidvalidity": 1, "uidnext": 9, "modseq": None}]),
    "works": True,
    "again": NOW + 5 * MINUTE,
}
SEND_OUTCOME = {
    "machine": NOW,
    "state": "sent",
    "reason": "",
    "smtp_reply": "250 ok",
    "poll_at": NOW + 5 * MINUTE,
    "evidence_after": 10 * MINUTE,
    "retention": 60 * MINUTE,
}

Ask = Callable[..., Any]


@pytest.fixture
def messages(installation: TestInstallation) -> Messages:
    made = Messages(installation)
    installation.rows("DELETE FROM action")
    return made


@pytest.fixture
def ask(messages: Messages) -> Ask:
    """A statement as alice's worker makes it, committed."""
    door = messages.installation.worker_doors().door(messages.north)

    def asked(name: str, **parameters: Any) -> Any:
        with door.tx() as conn:
            keys = {"workspace_id": messages.north, "mailbox_id": messages.alice}
            return getattr(SENDING, name)(conn, **(keys | parameters))

    return asked


def look_due(messages: Messages) -> UUID:
    found: UUID = messages.installation.one(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at) VALUES (%s, %s, 'poll', %s) "
        "RETURNING id",
        *(messages.north, messages.alice, NOW),
    )["id"]
    return found


def take(
    ask: Ask, owner: str = "worker-1", seconds: float = 60, *, sealed: bool = False
) -> dict[str, Any] | None:
    row: dict[str, Any] | None = ask(
        "take", owner=owner, seconds=seconds, machine=NOW, sealed=sealed
    )
    return row


def test_sealed_records_come_with_the_lease_where_they_are_asked_for(
    messages: Messages, ask: Ask
) -> None:
    asked = {field: ask("credential", field=field) for field in ("imap_password", "smtp_password")}
    assert all(asked.values())
    row = take(ask, seconds=0, sealed=True)
    assert row is not None
    told = {
        field: record | {"sealed": bytes.fromhex(record["sealed"])}
        for field, record in row["records"].items()
    }
    assert told == asked
    row = take(ask, sealed=False)
    assert row is not None
    assert row["records"] is None


def lease(messages: Messages) -> dict[str, Any]:
    return messages.installation.one(
        "SELECT * FROM mailbox_leases WHERE mailbox_id = %s", messages.alice
    )


def test_the_lease_comes_with_the_first_action_and_goes_with_the_last(
    messages: Messages, ask: Ask
) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    look = look_due(messages)
    first = take(ask)
    assert first is not None
    assert (first["address"], first["now"], first["freed"]) == ("alice@north.test", NOW, False)
    assert (first["c_kind"], first["c_outbound_id"]) == ("send", outbound)
    assert first["o_state"] == "bound"
    assert take(ask, "worker-2") is None, "another holds it"
    token = first["token"]
    sending = {"action_id": first["c_id"], "token": token}
    assert ask("begin", **sending, machine=NOW, gap=MINUTE, seconds=60)
    assert messages.row("outbound", outbound)["state"] == "sending"
    second = ask("settle_and_claim", **sending, **SEND_OUTCOME)
    assert (second["now"], second["c_kind"], second["c_id"]) == (NOW, "poll", look)
    assert messages.row("outbound", outbound)["state"] == "sent"
    last = ask("settle_poll_and_claim", action_id=look, token=token, **POLL_OUTCOME)
    assert (last["c_id"], last["freed"]) == (None, True)
    assert messages.row("action", look)["state"] == "done"
    held = lease(messages)
    assert (held["owner"], held["last_sent_at"], held["last_poll_at"]) == (None, NOW, NOW)


def test_under_a_lease_that_another_took_nothing_is_claimed(messages: Messages, ask: Ask) -> None:
    due = [messages.bound(messages.alice, messages.bob, NOW - n * MINUTE) for n in range(1)]
    look = look_due(messages)
    slow = take(ask, seconds=-1)
    assert slow is not None
    assert slow["c_outbound_id"] == due[0]
    other = take(ask, "worker-2")
    assert other is not None
    assert other["c_id"] == look
    keys = {"token": slow["token"], "machine": NOW}
    assert not ask("begin", **keys, action_id=slow["c_id"], gap=MINUTE, seconds=60)
    ask("give_back", token=other["token"], id=look)
    claimed = ask("claim", **keys)
    assert (claimed["c_id"], claimed["freed"]) == (None, False)
    assert lease(messages)["owner"] == "worker-2"
    # What it was doing may have happened: it is written down; no more is given to it.
    settled = ask("settle_and_claim", **{**SEND_OUTCOME, **keys}, action_id=slow["c_id"])
    assert (settled["now"], settled["c_id"], settled["freed"]) == (NOW, None, False)


def test_what_is_not_the_callers_is_not_settled(messages: Messages, ask: Ask) -> None:
    look = look_due(messages)
    held = take(ask)
    assert held is not None
    row = ask("settle_poll_and_claim", action_id=look, token=held["token"] - 1, **POLL_OUTCOME)
    assert (row["now"], row["c_id"], row["freed"]) == (None, None, False)
    assert ask("settle_poll", action_id=look, token=held["token"] - 1, **POLL_OUTCOME) is None
    assert messages.installation.rows("SELECT 1 FROM folder_states") == []
    assert messages.row("action", look)["state"] == "leased"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mailboxes SET consent = 'none'",
        "UPDATE mailboxes SET state = 'removed'",
        "UPDATE workspaces SET state = 'suspended'",
    ],
)
def test_a_mailbox_that_may_not_be_signed_in_to_is_left_alone(
    messages: Messages, ask: Ask, change: str
) -> None:
    look = look_due(messages)
    with messages.installation.superuser() as conn:
        conn.execute(change.encode())
    assert take(ask) is None
    assert lease(messages)["owner"] is None
    assert messages.row("action", look)["state"] == "pending"


def test_what_was_not_begun_is_given_back(messages: Messages, ask: Ask) -> None:
    look = look_due(messages)
    held = take(ask)
    assert held is not None
    ask("give_back", id=look, token=held["token"] - 1)
    assert messages.row("action", look)["state"] == "leased"
    ask("give_back", id=look, token=held["token"])
    given = messages.row("action", look)
    assert (given["state"], given["attempt"]) == ("pending", 0)


def test_a_look_that_was_asked_for_anew_is_not_given_back_twice(
    messages: Messages, ask: Ask
) -> None:
    first = look_due(messages)
    held = take(ask)
    assert held is not None
    second = look_due(messages)
    ask("give_back", id=first, token=held["token"])
    messages.worker(messages.north, "release_lease", mailbox_id=messages.alice, token=held["token"])
    messages.scheduler("reclaim", now=NOW, poll_at=NOW)
    states = [messages.row("action", look)["state"] for look in (first, second)]
    assert states == ["cancelled", "pending"]
