"""What the scheduler's functions do to real rows, by the scheduler's login."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from database import TestInstallation
from messages import DAY, NOW, Messages

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def messages(installation: TestInstallation) -> Messages:
    return Messages(installation)


def kill_lease(messages: Messages, mailbox: UUID) -> None:
    messages.installation.rows(
        "UPDATE mailbox_leases SET expires_at = clock_timestamp() - interval '1 second' "
        "WHERE mailbox_id = %s AND owner IS NOT NULL",
        mailbox,
    )


def reclaim(messages: Messages, now: Any = NOW) -> int:
    return int(messages.scheduler("reclaim", now=now, poll_at=now + 5 * MINUTE))


# -- days ---------------------------------------------------------------------------------------


def test_a_day_is_stored_once_with_all_that_belongs_to_it(messages: Messages) -> None:
    moments = [NOW + HOUR, NOW + 2 * HOUR, NOW + 3 * HOUR]
    assert messages.store(messages.alice, moments) == 1
    assert messages.store(messages.alice, [NOW + 5 * HOUR]) == 0
    rows = messages.installation.rows(
        "SELECT o.slot, o.state, o.due_at, a.state AS act, a.not_after - a.due_at AS window "
        "FROM outbound o JOIN action a ON a.outbound_id = o.id ORDER BY slot"
    )
    assert [(r["slot"], r["due_at"]) for r in rows] == list(enumerate(moments, 1))
    assert {(r["state"], r["act"], r["window"]) for r in rows} == {
        ("planned", "waiting", timedelta(hours=2))
    }
    assert messages.installation.one("SELECT volume, sized_at FROM day_sizes") == {
        "volume": 3,
        "sized_at": NOW,
    }
    assert messages.installation.one("SELECT target_volume FROM controller_rows") == {
        "target_volume": 5
    }
    following = messages.row("mailboxes", messages.alice)["next_size_at"]
    sized = messages.scheduler("to_size", now=following - timedelta(seconds=1), batch=10)
    assert messages.alice not in {row["mailbox_id"] for row in sized}


# -- binding ------------------------------------------------------------------------------------


def test_binding_makes_both_halves_and_lets_the_action_go(messages: Messages) -> None:
    outbound = messages.planned(messages.alice)
    binding = messages.binding(outbound, messages.bob)
    assert messages.bind(binding) == 1
    assert messages.bind(binding) == 0, "it is bound already"
    mine = messages.row("outbound", outbound)
    twin = messages.twin(outbound)
    assert twin is not None
    assert mine["state"] == "bound"
    assert messages.action(outbound)["state"] == "pending"
    assert (twin["workspace_id"], twin["mailbox_id"]) == (messages.south, messages.bob)
    assert twin["sender_address"] == "alice@north.test"
    for field in ("message_id", "subject", "seed", "library", "thread_id", "correlation_id"):
        assert twin[field] == mine[field], field
    recent = messages.scheduler("recent_pairs", since=NOW - HOUR)
    assert [(r["mailbox_id"], r["peer_ref"]) for r in recent] == [
        (messages.alice, str(messages.bob))
    ]
    ledger = messages.scheduler("recipient_ledger", since=DAY)
    assert ledger == [{"mailbox_id": messages.bob, "day": DAY, "taken": 1}]


def test_a_peer_that_is_gone_spoils_no_other_binding(messages: Messages) -> None:
    first = messages.planned(messages.alice)
    second = messages.planned(messages.bob)
    lost = messages.binding(first, messages.bob, peer_ref=str(uuid4()))
    assert messages.bind(lost, messages.binding(second, messages.alice)) == 1
    assert messages.row("outbound", first)["state"] == "planned"


def replied(messages: Messages) -> tuple[UUID, UUID]:
    """Alice wrote, Bob saw it and wishes to answer: Bob's inbound half, and a slot of Bob's."""
    first = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    twin = messages.twin(first)
    assert twin is not None
    messages.observed(twin["id"], NOW + 5 * MINUTE, reply="wished")
    return twin["id"], messages.planned(messages.bob, NOW + HOUR)


def reply_binding(messages: Messages, wish: UUID, slot: UUID) -> dict[str, Any]:
    return messages.binding(
        slot, messages.alice, kind="reply", turn=1, in_reply_to="<seen@x>", refs=["<seen@x>"],
        reply_to_inbound=str(wish),
    )  # fmt: skip


def test_a_reply_takes_a_slot_once_and_its_wish_ends(messages: Messages) -> None:
    wish, slot = replied(messages)
    wishes = messages.scheduler("reply_wishes", until=NOW + HOUR)
    assert [row["inbound_id"] for row in wishes] == [wish]
    binding = reply_binding(messages, wish, slot)
    assert messages.bind(binding) == 1
    assert messages.row("inbound", wish)["reply_state"] == "bound"
    reply = messages.row("outbound", slot)
    assert (reply["kind"], reply["in_reply_to"], reply["refs"]) == (
        "reply",
        "<seen@x>",
        ["<seen@x>"],
    )
    other = messages.planned(messages.bob, NOW + 2 * HOUR, day=date(2026, 3, 3))
    assert messages.bind(reply_binding(messages, wish, other)) == 0, "it is answered already"
    assert messages.row("outbound", other)["state"] == "planned"
    assert messages.scheduler("reply_wishes", until=NOW + HOUR) == []


def test_a_reply_without_its_slot_stays_wished(messages: Messages) -> None:
    wish, slot = replied(messages)
    messages.installation.rows("UPDATE action SET state = 'skipped' WHERE outbound_id = %s", slot)
    assert messages.bind(reply_binding(messages, wish, slot)) == 0
    assert messages.row("inbound", wish)["reply_state"] == "wished"


def test_a_cancelled_reply_is_wished_again_and_no_foreign_key_stops_it(messages: Messages) -> None:
    wish, slot = replied(messages)
    messages.bind(reply_binding(messages, wish, slot))
    messages.installation.rows(
        "UPDATE mailboxes SET state = 'needs_reauth' WHERE id = %s", messages.bob
    )
    assert messages.settle()["cancelled:waits for re-authentication"] == 1
    assert messages.row("inbound", wish)["reply_state"] == "wished"
    assert messages.twin(slot) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mailboxes SET consent = 'none' WHERE id = %(bob)s",
        "UPDATE mailboxes SET consent = 'workspace' WHERE id = %(bob)s",
        "UPDATE mailboxes SET consent = 'workspace' WHERE id = %(alice)s",
        "UPDATE mailboxes SET state = 'paused' WHERE id = %(bob)s",
        "UPDATE mailboxes SET auth_failures = 10 WHERE id = %(bob)s",
        "UPDATE workspaces SET state = 'suspended' WHERE name = 'south'",
        "DELETE FROM inbound",
        "INSERT INTO domain_health SELECT workspace_id, 'south.test', false, NULL, 'no MX', NULL, "
        "'2026-03-02' FROM workspaces WHERE name = 'south'",
    ],
)
def test_an_unsent_message_loses_a_peer_that_no_longer_takes_part(
    messages: Messages, change: str
) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    first = messages.row("outbound", outbound)["message_id"]
    assert messages.scheduler("unbind_lost_peers", now=NOW) == 0
    with messages.installation.superuser() as conn:
        conn.execute(change.encode(), {"alice": messages.alice, "bob": messages.bob})
    assert messages.scheduler("unbind_lost_peers", now=NOW) == 1
    row = messages.row("outbound", outbound)
    assert (row["state"], row["pair_id"], row["peer_address"]) == ("planned", None, None)
    assert messages.action(outbound)["state"] == "waiting"
    assert messages.installation.rows("SELECT 1 FROM inbound") == []
    if "consent" in change and "alice" in change:
        return
    messages.installation.rows(
        "UPDATE mailboxes SET consent = 'network', state = 'active', auth_failures = 0"
    )
    assert messages.bind(messages.binding(outbound, messages.bob)) == 1
    assert messages.row("outbound", outbound)["message_id"] != first


def test_what_is_on_its_way_keeps_its_peer(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    messages.installation.rows("UPDATE mailboxes SET consent = 'none' WHERE id = %s", messages.bob)
    assert messages.scheduler("unbind_lost_peers", now=NOW) == 0
    assert messages.twin(outbound) is not None


# -- leases -------------------------------------------------------------------------------------


def test_what_was_only_claimed_may_be_tried_again(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    token = messages.lease(messages.alice)
    messages.claim(messages.alice, token)
    assert reclaim(messages) == 0, "its holder lives"
    kill_lease(messages, messages.alice)
    assert reclaim(messages) == 1
    assert messages.action(outbound)["state"] == "pending"
    assert messages.row("outbound", outbound)["state"] == "bound"
    again = messages.lease(messages.alice, owner="worker-2")
    assert again > token
    claimed = messages.claim(messages.alice, again)
    stale = {"id": claimed["id"], "token": token, "state": "done", "reason": "", "now": NOW}
    assert messages.worker(messages.north, "finish_action", **stale) == 0, "the fence holds"


def test_what_was_being_sent_is_uncertain_and_evidence_is_looked_for(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sending(messages.alice, messages.lease(messages.alice))
    kill_lease(messages, messages.alice)
    assert reclaim(messages) == 1
    assert messages.row("outbound", outbound)["state"] == "uncertain"
    assert messages.action(outbound)["state"] == "uncertain"
    assert messages.action(outbound, "evidence")["due_at"] == NOW + 5 * MINUTE
    twin = messages.twin(outbound)
    assert twin is not None
    assert (twin["state"], twin["sent_at"]) == ("in_flight", NOW)
    poll = messages.installation.rows(
        "SELECT due_at FROM action WHERE mailbox_id = %s AND kind = 'poll' AND state = 'pending'",
        messages.bob,
    )
    assert poll == [{"due_at": NOW + 5 * MINUTE}]
    assert reclaim(messages) == 0
    assert len(messages.installation.rows("SELECT 1 FROM action WHERE kind = 'evidence'")) == 1


def test_a_message_whose_fate_is_recorded_does_not_stop_the_reclaim(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sending(messages.alice, messages.lease(messages.alice))
    messages.installation.rows("UPDATE outbound SET state = 'sent' WHERE id = %s", outbound)
    kill_lease(messages, messages.alice)
    assert reclaim(messages) == 1
    assert messages.row("outbound", outbound)["state"] == "sent"
    assert messages.installation.rows("SELECT 1 FROM action WHERE kind = 'evidence'") == []


def test_a_reclaimed_poll_is_merged_into_one_asked_for_since(messages: Messages) -> None:
    asked = {"mailbox_id": messages.bob, "due_at": NOW}
    messages.worker(messages.south, "ask_poll", **asked)
    messages.claim(messages.bob, messages.lease(messages.bob))
    messages.worker(messages.south, "ask_poll", **asked)
    kill_lease(messages, messages.bob)
    assert reclaim(messages) == 1
    states = messages.installation.rows(
        "SELECT state, reason FROM action WHERE mailbox_id = %s AND state <> 'done' ORDER BY state",
        messages.bob,
    )
    assert states == [
        {"state": "cancelled", "reason": "merged"},
        {"state": "pending", "reason": ""},
    ]


# -- settling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "after", "outcome"),
    [
        ("UPDATE workspaces SET state = 'suspended' WHERE name = 'north'", MINUTE,
         "cancelled:the workspace is suspended"),
        ("UPDATE mailboxes SET state = 'removed' WHERE id = %(alice)s", MINUTE,
         "cancelled:the mailbox was removed"),
        ("UPDATE mailboxes SET consent = 'none' WHERE id = %(alice)s", MINUTE,
         "cancelled:consent was withdrawn"),
        ("UPDATE mailboxes SET state = 'paused' WHERE id = %(alice)s", MINUTE,
         "cancelled:paused: draining, nothing new is sent"),
        ("UPDATE mailboxes SET state = 'needs_reauth' WHERE id = %(alice)s", MINUTE,
         "cancelled:waits for re-authentication"),
        ("UPDATE installation SET restored_at = '2026-03-02T10:00Z'", MINUTE, "skipped:restored"),
        ("SELECT 1", 3 * HOUR, "skipped:late"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bound", [True, False])
def test_what_can_no_longer_happen_ends_with_its_reason(
    messages: Messages, change: str, after: timedelta, outcome: str, bound: bool
) -> None:
    outbound = (
        messages.bound(messages.alice, messages.bob) if bound else messages.planned(messages.alice)
    )
    assert messages.settle() == {}
    with messages.installation.superuser() as conn:
        conn.execute(change.encode(), {"alice": messages.alice})
    if not bound and outcome == "skipped:late":
        outcome = "skipped:no_peer"
    assert messages.settle(NOW + after) == {outcome: 1}
    state, _, reason = outcome.partition(":")
    for row in (messages.row("outbound", outbound), messages.action(outbound)):
        assert (row["state"], row["reason"]) == (state, reason)
    assert messages.installation.rows("SELECT 1 FROM inbound") == [], "no half is left waiting"
    assert messages.settle(NOW + after) == {}


def test_the_end_of_a_run_takes_what_is_due_after_it(messages: Messages) -> None:
    before = messages.bound(messages.alice, messages.bob, NOW + MINUTE)
    after = messages.bound(messages.bob, messages.alice, NOW + HOUR)
    ends = NOW + HOUR
    assert messages.settle(NOW, ends) == {"cancelled:the run ended": 1}
    assert messages.row("outbound", before)["state"] == "bound"
    assert messages.row("outbound", after)["state"] == "cancelled"


def uncertain(messages: Messages) -> UUID:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sending(messages.alice, messages.lease(messages.alice))
    kill_lease(messages, messages.alice)
    reclaim(messages)
    return outbound


def test_the_recipients_mailbox_settles_an_uncertain_message(messages: Messages) -> None:
    outbound = uncertain(messages)
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], NOW + HOUR, placement="junk")
    row = messages.row("outbound", outbound)
    assert (row["state"], row["evidence"], row["placement"]) == ("sent", "recipient", "junk")
    assert row["sent_at"] == NOW


def test_seen_before_the_sender_was_killed_is_settled_too(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sending(messages.alice, messages.lease(messages.alice))
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], NOW + MINUTE)
    kill_lease(messages, messages.alice)
    reclaim(messages)
    assert messages.settle() == {"settled:recipient": 1}
    row = messages.row("outbound", outbound)
    assert (row["state"], row["evidence"], row["placement"]) == ("sent", "recipient", "inbox")


def test_without_evidence_it_is_unconfirmed_after_five_days(messages: Messages) -> None:
    outbound = uncertain(messages)
    assert messages.settle(NOW + timedelta(days=5)) == {"unobservable": 1}
    assert messages.settle(NOW + timedelta(days=5, seconds=1)) == {"settled:unconfirmed": 1}
    assert messages.row("outbound", outbound)["state"] == "unconfirmed"
    messages.scheduler("recompute_rollups", now=NOW + timedelta(days=5))
    assert messages.installation.one("SELECT sent, unobservable FROM rollups") == {
        "sent": 0,
        "unobservable": 0,
    }


def test_nobody_could_look_for_two_days(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    assert messages.settle(NOW + timedelta(hours=48)) == {}
    assert messages.settle(NOW + timedelta(hours=48, seconds=1)) == {"unobservable": 1}
    assert messages.row("outbound", outbound)["placement"] == "unobservable"
    twin = messages.twin(outbound)
    assert twin is not None
    assert messages.observed(twin["id"], NOW + timedelta(days=3)) == 0, "the first one stays"


def test_a_wish_to_answer_ends(messages: Messages) -> None:
    wish, _ = replied(messages)
    assert "reply_expired" not in messages.settle(NOW + timedelta(days=7))
    assert messages.settle(NOW + timedelta(days=8))["reply_expired"] == 1
    assert messages.row("inbound", wish)["reply_state"] == "expired"


# -- waking -------------------------------------------------------------------------------------


def due_polls(messages: Messages, count: int) -> None:
    pool = messages.row("mailboxes", messages.alice)["pool_id"]
    for n in range(count):
        mailbox = messages.installation.mailbox(messages.north, pool, f"m{n}@north.test")
        messages.worker(messages.north, "ask_poll", mailbox_id=mailbox, due_at=NOW)


def take(messages: Messages, cap: int = 100, again: float = 60.0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = messages.scheduler(
        "take_wakes", now=NOW, batch=100, host_cap=cap, again_after=again
    )
    return rows


def test_a_mailbox_is_woken_once_until_it_is_time_again(messages: Messages) -> None:
    due_polls(messages, 3)
    first = take(messages)
    assert {row["wake_number"] for row in first} == {1}
    assert len({row["mailbox_id"] for row in first}) == 3
    assert {row["worker_group"] for row in first} == {"local"}
    assert take(messages) == []
    assert {row["wake_number"] for row in take(messages, again=0.0)} == {2}
    messages.scheduler("forget_wakes")
    assert len(take(messages)) == 3
    messages.scheduler("forget_wakes")
    held = first[0]["mailbox_id"]
    messages.lease(held)
    assert held not in {row["mailbox_id"] for row in take(messages)}


def test_a_lease_in_use_holds_no_scheduler_up(messages: Messages) -> None:
    """Nobody waits for anybody, so that no two can wait for each other."""
    due_polls(messages, 3)
    held = sorted(row["mailbox_id"] for row in take(messages))[1]
    with messages.installation.superuser() as other, messages.installation.superuser() as mine:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM mailbox_leases WHERE mailbox_id = %s FOR UPDATE", [held])
        mine.execute("SET lock_timeout = '2s'")
        forgotten = mine.execute("SELECT sched.forget_wakes()").fetchone()
        woken = mine.execute("SELECT * FROM sched.take_wakes(%s, 100, 100, 0.0)", [NOW]).fetchall()
        other.execute("ROLLBACK")
    assert forgotten is not None
    assert forgotten["forget_wakes"] == 2
    assert len(woken) == 2
    assert held not in {row["mailbox_id"] for row in woken}


def test_a_host_is_not_crowded(messages: Messages) -> None:
    due_polls(messages, 5)
    first = take(messages, cap=2)
    assert len(first) == 2
    assert take(messages, cap=2) == [], "two are under way"
    token = messages.lease(first[0]["mailbox_id"])
    messages.worker(messages.north, "release_lease", mailbox_id=first[0]["mailbox_id"], token=token)
    assert len(take(messages, cap=2)) == 1


# -- demand, domains, roll-ups ------------------------------------------------------------------


def demand(messages: Messages) -> dict[str, Any]:
    (row,) = messages.scheduler("pool_demand", now=NOW)
    return dict(row)


def test_demand_covers_every_verb(messages: Messages) -> None:
    messages.planned(messages.alice, NOW + HOUR)
    row = demand(messages)
    assert (row["due_now"], row["backlog"], row["reason"]) == (0, 1, "nothing is due")
    assert row["next_due_at"] == NOW + HOUR
    messages.worker(messages.south, "ask_poll", mailbox_id=messages.bob, due_at=NOW - MINUTE)
    messages.installation.rows(
        "INSERT INTO connection_attempts (workspace_id, mailbox_id, worker_group, settings, "
        "key_version, sealed, created_at, expires_at) "
        "VALUES (%s, %s, 'local', '{}', 1, '{}', clock_timestamp(), 'infinity')",
        messages.north, messages.alice,
    )  # fmt: skip
    with messages.installation.superuser() as conn:
        conn.execute(
            "UPDATE key_versions SET state = 'retiring' WHERE workspace_id = %s", [messages.south]
        )
        conn.execute(
            "INSERT INTO key_versions SELECT workspace_id, 2, 'active', public_key, 'f', "
            "created_at, created_at FROM key_versions WHERE workspace_id = %s",
            [messages.south],
        )
    row = demand(messages)
    assert (row["due_now"], row["backlog"], row["reason"]) == (3, 4, "poll, reseal, test")
    assert row["oldest_due_at"] == NOW - MINUTE


def test_demand_counts_an_hour_ahead_and_names_what_comes_later(messages: Messages) -> None:
    for mailbox, hours in ((messages.alice, 5), (messages.bob, 4)):
        messages.planned(mailbox, NOW + hours * HOUR)
    assert messages.scheduler("pool_demand", now=NOW) == [], "none of it has a peer yet"
    for workspace, mailbox, hours in (
        (messages.north, messages.alice, 5),
        (messages.south, messages.bob, 4),
    ):
        messages.worker(workspace, "ask_poll", mailbox_id=mailbox, due_at=NOW + hours * HOUR)
    assert demand(messages)["next_due_at"] == NOW + 4 * HOUR
    messages.planned(messages.alice, NOW + HOUR / 2, day=DAY + timedelta(days=1))
    row = demand(messages)
    assert (row["due_now"], row["backlog"], row["next_due_at"]) == (0, 1, NOW + HOUR / 2)


def blocked(messages: Messages, now: Any = NOW) -> str | None:
    with messages.installation.database("cli").tx() as conn:
        row = conn.execute(
            "SELECT sched.domain_blocked(%s, 'south.test', %s) AS why", (messages.south, now)
        ).fetchone()
    assert row is not None
    why: str | None = row["why"]
    return why


def test_three_bounces_of_mail_bound_to_it_block_a_domain_for_seven_days(
    messages: Messages,
) -> None:
    for n in range(3):
        assert blocked(messages) is None
        outbound = messages.bound(messages.alice, messages.bob, day=DAY + timedelta(days=n))
        bounce = {"outbound_id": outbound, "domain": "south.test", "status": "5.1.1", "at": NOW}
        messages.worker(messages.north, "add_bounce", **bounce)
        messages.worker(messages.north, "add_bounce", **bounce)
    assert blocked(messages) == "three bounces in 7 days"
    assert blocked(messages, NOW + timedelta(days=7)) is None
    # What a worker makes up about a domain it never wrote to counts for nothing.
    messages.installation.rows("UPDATE outbound SET peer_domain = 'elsewhere.test'")
    assert blocked(messages) is None


def test_a_domain_is_blocked_by_its_own_failure_not_by_ours(messages: Messages) -> None:
    health = {"detail": "no answer", "now": NOW}
    messages.worker(
        messages.south,
        "save_domain_health",
        domain="south.test",
        mx_ok=True,
        smtp_ok=False,
        **health,
    )
    assert blocked(messages) is None, "nobody is reached from here: port 25 may be closed"
    messages.worker(
        messages.north,
        "save_domain_health",
        domain="north.test",
        mx_ok=True,
        smtp_ok=True,
        **health,
    )
    assert blocked(messages) == "mail server unreachable: no answer"
    messages.worker(
        messages.south,
        "save_domain_health",
        domain="south.test",
        mx_ok=False,
        smtp_ok=None,
        **health,
    )
    assert blocked(messages) == "no mail server: no answer"


def test_domains_are_checked_each_two_hours_by_one_mailbox(messages: Messages) -> None:
    def plan(now: Any) -> int:
        return int(messages.scheduler("plan_domain_checks", now=now, slot=now))

    assert plan(NOW) == 2
    assert plan(NOW + HOUR) == 0
    assert plan(NOW + 2 * HOUR) == 0, "the first has not been done yet"
    done = "UPDATE action SET state = 'done' WHERE kind = 'check_domain'"
    messages.installation.rows(done)
    assert plan(NOW + 4 * HOUR) == 2
    # Others write to a mailbox that waits for re-authentication, but not to one that is removed.
    messages.installation.rows(done)
    states = "UPDATE mailboxes SET state = CASE id WHEN %s THEN 'needs_reauth' ELSE 'removed' END"
    messages.installation.rows(states, messages.alice)
    assert plan(NOW + 6 * HOUR) == 1


def test_roll_ups_are_recomputed_not_added_to(messages: Messages) -> None:
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], NOW + MINUTE, placement="tab")
    for _ in range(2):
        assert messages.scheduler("recompute_rollups", now=NOW + HOUR) == 1
    row = messages.installation.one("SELECT * FROM rollups")
    assert (row["planned"], row["sent"], row["inbox"], row["junk"]) == (1, 1, 1, 0)
    assert (row["day"], row["mailbox_id"]) == (DAY, messages.alice)
    messages.installation.rows("UPDATE outbound SET placement = 'junk'")
    assert messages.scheduler("recompute_rollups", now=NOW + timedelta(days=9)) == 0, "frozen"
    assert messages.installation.one("SELECT inbox FROM rollups") == {"inbox": 1}
