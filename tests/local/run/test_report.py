"""Every outcome of a message is counted once, and the observations add up to what was sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mailhearth_local.run.report import COUNTS, Message, is_clean, summarise

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


def message(**changes: Any) -> Message:
    values: dict[str, Any] = {
        "kind": "thread",
        "state": "sent",
        "reason": "",
        "sender": "ann@harbour.test",
        "domain": "meadow.test",
        "provider": "other",
        "sent_at": AT,
        "placement": "inbox",
        "rescued": False,
        "copies": 1,
    }
    return Message(**(values | changes))


def unsent(state: str, reason: str = "") -> Message:
    return message(state=state, reason=reason, sent_at=None, placement=None, copies=0)


def report(*messages: Message) -> dict[str, Any]:
    return summarise(messages, pending=0, seconds=1.0, about={})


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (message(), {"sent": 1, "delivered": 1, "inbox": 1}),
        (message(placement="tab"), {"sent": 1, "delivered": 1, "inbox": 1}),
        (
            message(placement="junk", rescued=True),
            {"sent": 1, "delivered": 1, "junk": 1, "rescued": 1},
        ),
        (message(placement="other"), {"sent": 1, "delivered": 1, "other": 1}),
        (message(kind="reply"), {"sent": 1, "delivered": 1, "inbox": 1, "replied": 1}),
        # found by the last scan only, so not lost; the first observation stays what it was
        (message(placement="missing"), {"sent": 1, "delivered": 1, "missing": 1}),
        (message(placement="missing", copies=0), {"sent": 1, "missing": 1, "lost": 1}),
        (message(placement="unobservable", copies=0), {"sent": 1, "unobservable": 1, "lost": 1}),
        (message(placement=None, copies=0), {"sent": 1, "unobservable": 1, "lost": 1}),
        # expunged after retention: no copy is left, but it was seen
        (message(copies=0), {"sent": 1, "delivered": 1, "inbox": 1}),
        (message(copies=3), {"sent": 1, "delivered": 1, "inbox": 1, "duplicates": 2}),
        (unsent("skipped", "no_peer"), {"skipped": 1}),
        (unsent("uncertain"), {"uncertain": 1}),
        (unsent("unconfirmed"), {"uncertain": 1}),
        (unsent("failed", "refused"), {"failed": 1}),
        (unsent("bounced"), {"bounced": 1}),
        (
            message(state="bounced", placement="missing", copies=0),
            {"sent": 1, "missing": 1, "lost": 1, "bounced": 1},
        ),
        (unsent("bound"), {"unsent": 1}),
        # two copies of a message nobody knows to be sent are still a duplicate
        (message(state="uncertain", placement=None, copies=2), {"uncertain": 1, "duplicates": 1}),
    ],
)
def test_each_outcome_counts_once(one: Message, expected: dict[str, int]) -> None:
    found = report(one)
    wanted = dict.fromkeys((*COUNTS, "bounced", "failed", "unsent"), 0) | {"planned": 1} | expected
    assert {name: found[name] for name in wanted} == wanted
    placements = ("inbox", "junk", "other", "missing", "unobservable")
    assert sum(found[name] for name in placements) == found["sent"]


def test_cancelled_messages_were_not_planned() -> None:
    assert report(unsent("cancelled", "the run ended"))["planned"] == 0


def test_sections_add_up_and_reasons_are_told() -> None:
    found = report(
        message(),
        message(sender="bo@summit.test", domain="harbour.test", placement="junk"),
        unsent("skipped", "no_peer"),
        unsent("skipped", "no_peer"),
        unsent("skipped", "late"),
    )
    assert found["reasons"] == {"skipped": {"no_peer": 2, "late": 1}}
    assert set(found["per_mailbox"]) == {"ann@harbour.test", "bo@summit.test"}
    for section in ("per_mailbox", "per_domain", "per_provider"):
        for name in COUNTS:
            assert sum(part[name] for part in found[section].values()) == found[name]


def test_only_a_run_without_loss_and_doubles_is_clean() -> None:
    assert is_clean(report(message(), unsent("skipped", "late")))
    assert not is_clean(report(message(copies=2)))
    assert not is_clean(report(message(placement="missing", copies=0)))
    unscanned = summarise([message()], pending=0, seconds=1.0, about={"mailboxes_not_scanned": 1})
    assert not is_clean(unscanned)
