"""What crosses from one workspace to another, by a worker's own login."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from database import TestInstallation
from messages import NOW, Messages

MINUTE = timedelta(minutes=1)


@pytest.fixture
def messages(installation: TestInstallation) -> Messages:
    return Messages(installation)


def claim(messages: Messages, outbound: Any, *, by: Any = None) -> Any:
    return messages.worker(by or messages.north, "claim_send", outbound_id=outbound)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("SELECT 1", "ok"),
        ("UPDATE mailboxes SET state = 'needs_reauth' WHERE id = %(bob)s", "ok"),
        ("UPDATE mailboxes SET consent = 'none' WHERE id = %(bob)s", "peer"),
        ("UPDATE mailboxes SET consent = 'workspace' WHERE id = %(bob)s", "peer"),
        ("UPDATE mailboxes SET consent = 'workspace' WHERE id = %(alice)s", "peer"),
        ("UPDATE mailboxes SET state = 'paused' WHERE id = %(bob)s", "peer"),
        ("UPDATE mailboxes SET state = 'removed' WHERE id = %(bob)s", "peer"),
        ("UPDATE mailboxes SET auth_failures = 10 WHERE id = %(bob)s", "peer"),
        ("UPDATE workspaces SET state = 'deleting' WHERE name = 'south'", "peer"),
        ("DELETE FROM inbound", "peer"),
        ("UPDATE mailboxes SET consent = 'none' WHERE id = %(alice)s", "own_mailbox"),
        ("UPDATE mailboxes SET state = 'paused' WHERE id = %(alice)s", "own_mailbox"),
        ("UPDATE mailboxes SET state = 'needs_reauth' WHERE id = %(alice)s", "own_mailbox"),
        ("UPDATE workspaces SET state = 'suspended' WHERE name = 'north'", "own_mailbox"),
    ],
)
def test_the_claim_looks_at_consent_on_both_sides_again(
    messages: Messages, change: str, answer: str
) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    with messages.installation.superuser() as conn:
        conn.execute(change.encode(), {"alice": messages.alice, "bob": messages.bob})
    assert claim(messages, outbound) == answer
    assert claim(messages, outbound, by=messages.south) is None, "it is not theirs to ask"


def test_inside_a_workspace_its_own_consent_is_enough(messages: Messages) -> None:
    pool = messages.row("mailboxes", messages.alice)["pool_id"]
    carol = messages.installation.mailbox(messages.north, pool, "carol@north.test")
    messages.installation.rows("UPDATE mailboxes SET consent = 'workspace'")
    outbound = messages.bound(messages.alice, carol)
    assert claim(messages, outbound) == "ok"
    assert messages.scheduler("unbind_lost_peers", now=NOW) == 0


def test_a_message_that_left_is_looked_for(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    left = {"outbound_id": outbound, "sent_at": NOW, "poll_at": NOW + 5 * MINUTE}
    messages.worker(messages.north, "left_sender", **left)
    twin = messages.twin(outbound)
    assert twin is not None
    assert twin["state"] == "expected", "it has not left yet"
    messages.sent(messages.alice)
    messages.worker(messages.south, "left_sender", **left | {"sent_at": NOW - timedelta(days=9)})
    twin = messages.twin(outbound)
    assert twin is not None
    assert (twin["state"], twin["sent_at"]) == ("in_flight", NOW)
    polls = messages.installation.rows(
        "SELECT workspace_id, due_at FROM action WHERE kind = 'poll' AND state = 'pending'"
    )
    assert polls == [{"workspace_id": messages.south, "due_at": NOW + 5 * MINUTE}]


def test_polls_of_one_mailbox_are_ten_minutes_apart_and_merged(messages: Messages) -> None:
    messages.worker(messages.south, "note_polled", mailbox_id=messages.bob, at=NOW)
    messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    polls = messages.installation.rows(
        "SELECT due_at FROM action WHERE kind = 'poll' AND state = 'pending'"
    )
    assert polls == [{"due_at": NOW + 10 * MINUTE}]


def test_the_first_observation_is_carried_across_and_stays(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    twin = messages.twin(outbound)
    assert twin is not None
    messages.worker(messages.north, "carry_observed", inbound_id=twin["id"])
    assert messages.row("outbound", outbound)["placement"] is None
    assert messages.observed(twin["id"], NOW + MINUTE, placement="junk") == 1
    assert messages.observed(twin["id"], NOW + 2 * MINUTE, placement="inbox") == 0
    row = messages.row("outbound", outbound)
    assert (row["placement"], row["arrived_at"], row["state"]) == ("junk", NOW + MINUTE, "sent")
    messages.installation.rows("UPDATE inbound SET placement = 'inbox'")
    messages.worker(messages.south, "carry_observed", inbound_id=twin["id"])
    assert messages.row("outbound", outbound)["placement"] == "junk"


def test_nothing_but_the_placement_crosses(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    before = messages.row("outbound", outbound)
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], NOW + MINUTE)
    after = messages.row("outbound", outbound)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"placement", "placement_provider", "arrived_at"}


def test_a_withdrawn_message_is_expected_no_more(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.worker(messages.north, "withdrawn", outbound_id=outbound)
    assert messages.twin(outbound) is not None, "it is still to be sent"
    settled = {"id": outbound, "state": "failed", "reason": "550", "sent_at": None}
    messages.worker(messages.north, "settle_outbound", **settled, smtp_reply="", evidence="")
    messages.worker(messages.south, "withdrawn", outbound_id=outbound)
    assert messages.twin(outbound) is not None, "it is not theirs to withdraw"
    messages.worker(messages.north, "withdrawn", outbound_id=outbound)
    assert messages.twin(outbound) is None


def test_one_holder_and_one_claim(messages: Messages) -> None:
    messages.bound(messages.alice, messages.bob)
    token = messages.lease(messages.alice)
    keys = {"mailbox_id": messages.alice}
    assert messages.worker(messages.north, "take_lease", **keys, owner="other", seconds=60) is None
    assert messages.claim(messages.alice, token)["kind"] == "send"
    assert messages.claim(messages.alice, token) is None
    assert messages.worker(messages.north, "renew_lease", **keys, token=token, seconds=60)
    assert not messages.worker(messages.north, "renew_lease", **keys, token=token - 1, seconds=60)
