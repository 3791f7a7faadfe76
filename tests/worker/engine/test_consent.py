"""Without consent nothing is sent, nothing received, and nobody signs in."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID

from engine import MONDAY, Engine

Team = tuple[UUID, list[UUID]]


def test_a_peer_that_withdrew_gets_nothing_more_and_another_is_bound(
    engine: Engine, team: Team
) -> None:
    workspace, _ = team
    lost = engine.run_until_bound(MONDAY + timedelta(hours=9))
    first = UUID(lost["peer_ref"])
    engine.consent(workspace, first, "none")
    # The sender's worker comes before the scheduler has seen it.
    withdrawn_at = lost["due_at"] + timedelta(seconds=1)
    engine.set_clock(withdrawn_at)
    engine.drain(workspace, lost["mailbox_id"])
    assert lost["message_id"] not in engine.arrivals()
    engine.run_until(MONDAY + timedelta(hours=18))
    rows = {row["id"]: row for row in engine.rows("SELECT * FROM outbound")}
    ended = rows[lost["id"]]
    if ended["state"] == "sent":
        assert ended["peer_ref"] != str(first)
        assert ended["message_id"] != lost["message_id"]
    else:
        assert (ended["state"], ended["reason"]) == ("skipped", "no_peer")
        assert ended["bind_reason"] == "the peer bound before no longer takes part"
    own = [row for row in rows.values() if row["mailbox_id"] == first]
    assert {(row["state"], row["reason"]) for row in own if row["sent_at"] is None} <= {
        ("cancelled", "consent was withdrawn")
    }
    sent = [row for row in rows.values() if row["state"] == "sent"]
    assert engine.arrivals() == Counter(row["message_id"] for row in sent)
    assert not [
        row for row in sent if row["peer_ref"] == str(first) and row["sent_at"] >= withdrawn_at
    ]


def test_a_mailbox_without_consent_is_not_signed_in_to(
    engine: Engine, team: Team, signins: Counter[str]
) -> None:
    workspace, mailboxes = team
    engine.run_until(MONDAY + timedelta(hours=12))
    addresses = [engine.row(workspace, mailbox)["address"] for mailbox in mailboxes]
    assert all(signins[address] >= 2 for address in addresses)
    engine.consent(workspace, mailboxes[0], "none")
    engine.runtime.sessions.close()
    signins.clear()
    engine.drain(workspace, mailboxes[0])  # a wake-up that was on its way
    engine.run_until(MONDAY + timedelta(hours=36))
    assert signins[addresses[0]] == 0
    assert signins[addresses[1]] > 0
    open_ = engine.rows(
        "SELECT kind FROM action WHERE mailbox_id = %s AND kind <> 'check_domain' "
        "AND state IN ('waiting', 'pending', 'leased')",
        mailboxes[0],
    )
    assert open_ == []


def test_a_paused_mailbox_drains(engine: Engine, team: Team) -> None:
    workspace, mailboxes = team
    engine.run_until(MONDAY + timedelta(hours=12))
    # One to which mail is on its way or has come: which one that is, is chance.
    paused = engine.rows("SELECT mailbox_id FROM inbound ORDER BY due_at LIMIT 1")[0]["mailbox_id"]
    other = next(mailbox for mailbox in mailboxes if mailbox != paused)
    engine.pause(workspace, paused)
    engine.run_until(MONDAY + timedelta(hours=32))
    after = MONDAY + timedelta(hours=12)
    sent = "SELECT count(*) AS n FROM outbound WHERE state = 'sent' AND sent_at > %s AND "
    assert engine.one(sent + "mailbox_id = %s", after, paused)["n"] == 0
    assert engine.one(sent + "peer_ref = %s", after, str(paused))["n"] == 0
    assert engine.one(sent + "mailbox_id = %s", after, other)["n"] > 0
    came = engine.rows("SELECT state, filed_at FROM inbound WHERE mailbox_id = %s", paused)
    assert came
    assert {row["state"] for row in came} == {"observed"}
    assert all(row["filed_at"] for row in came)
    assert engine.one("SELECT count(*) AS n FROM rollups WHERE sent > planned")["n"] == 0


def test_between_workspaces_both_sides_must_agree(engine: Engine) -> None:
    north, south = (engine.installation.workspace(name) for name in ("north", "south"))
    mailboxes = {}
    for workspace, users, consent in (
        (north, engine.users[:2], "network"),
        (south, engine.users[4:6], "workspace"),
    ):
        pool = engine.installation.pool(workspace, pair_gap_hours=24, peering_scope="network")
        mailboxes[workspace] = [
            engine.connect(workspace, pool, user, consent=consent) for user in users
        ]
    engine.run_until(MONDAY + timedelta(hours=18))
    crossed = "SELECT count(*) AS n FROM outbound o JOIN inbound i USING (pair_id) "
    crossed += "WHERE o.workspace_id <> i.workspace_id AND o.state = "
    assert engine.one(crossed + "'sent'")["n"] == 0
    for mailbox in mailboxes[south]:
        engine.consent(south, mailbox, "network")
    engine.run_until(MONDAY + timedelta(hours=35))
    across = engine.one(crossed + "'sent'")["n"]
    assert across > 0
    # A workspace that is suspended neither sends nor receives nor is signed in to.
    engine.rows("UPDATE workspaces SET state = 'suspended' WHERE workspace_id = %s", south)
    since = engine.now + timedelta(minutes=10)
    engine.run_until(MONDAY + timedelta(hours=44))
    late = engine.rows(
        "SELECT state, reason FROM outbound WHERE workspace_id = %s AND day = '2026-03-03' "
        "AND due_at > %s",
        *(south, since),
    )
    assert {(row["state"], row["reason"]) for row in late} == {
        ("cancelled", "the workspace is suspended")
    }
    assert (
        engine.one(crossed + "'sent' AND o.sent_at > %s", MONDAY + timedelta(hours=35, minutes=10))[
            "n"
        ]
        == 0
    )
