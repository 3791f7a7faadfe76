"""What the dashboard says, from rows that the product's own functions made."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from database import ACTOR, TestInstallation
from mailhearth_core.errors import NotFound
from mailhearth_core.verbs import dashboard, mailbox_page, mailboxes
from mailhearth_core.warmup.policy import Policy
from messages import DAY, NOW, Messages

HOUR = timedelta(hours=1)


@pytest.fixture
def messages(installation: TestInstallation) -> Messages:
    made = Messages(installation)
    # Business time is what these rows say; a real installation's is the machine's.
    installation.rows(
        "INSERT INTO business_clock (rate, business_at, ticked_at) "
        "VALUES (1, %s, clock_timestamp())",
        NOW + HOUR,
    )
    return made


def test_the_overview_counts_what_happened_with_its_sample(messages: Messages) -> None:
    inside, outside = messages.north, messages.south
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], NOW + HOUR, placement="junk")
    messages.installation.rows("UPDATE inbound SET rescued_at = %s", NOW + HOUR)
    messages.scheduler("recompute_rollups", now=NOW + HOUR)

    seen = dashboard.overview(messages.installation.web_door, inside)
    assert seen.today == DAY
    assert seen.states["warming"] == seen.mailboxes == 1
    assert seen.day == {
        "volume": 1,
        "planned": 1,
        "sent": 1,
        "replied": 0,
        "bounced": 0,
        "rescued": 0,
    }
    assert (seen.week.junk, seen.week.sample, seen.week.enough) == (1, 1, False)
    assert seen.week.text == "not enough data (1 of 20 placements)"
    assert [(p.name, p.junk) for p in seen.providers] == [("other", 1)]
    assert [(row["day"], row["volume"], row["sent"]) for row in seen.series] == [(DAY, 1, 1)]

    there = dashboard.overview(messages.installation.web_door, outside)
    assert there.day["rescued"] == 1
    assert there.day["sent"] == there.week.sample == 0


def test_a_row_that_did_not_change_is_not_written_again(messages: Messages) -> None:
    messages.bound(messages.alice, messages.bob)
    messages.scheduler("recompute_rollups", now=NOW)
    query = (
        "SELECT xmin::text, workspace_id FROM workspace_days "
        "UNION ALL SELECT xmin::text, workspace_id FROM rollups"
    )
    before = messages.installation.rows(query)
    messages.scheduler("recompute_rollups", now=NOW + HOUR)
    assert messages.installation.rows(query) == before
    assert len(before) == 2


def test_troubles_are_named_the_worst_first_and_counted_beyond_the_list(messages: Messages) -> None:
    installation, workspace = messages.installation, messages.north
    pool = installation.one("SELECT pool_id FROM mailboxes WHERE id = %s", messages.alice)[
        "pool_id"
    ]
    for n in range(dashboard.TROUBLES_SHOWN):
        installation.mailbox(workspace, pool, f"off{n}@north.test", consent="none")
    ill = installation.mailbox(workspace, pool, "ill@north.test")
    installation.rows(
        "UPDATE mailboxes SET phase = 'blocked', phase_since = %s, phase_cause = 'junk' "
        "WHERE id = %s",
        DAY,
        ill,
    )
    locked = installation.mailbox(workspace, pool, "locked@north.test")
    installation.rows(
        "UPDATE mailboxes SET state = 'needs_reauth', auth_failures = 3, last_error = 'no' "
        "WHERE id = %s",
        locked,
    )
    seen = dashboard.overview(installation.web_door, workspace)
    assert [trouble.mailbox_id for trouble in seen.troubles][:2] == [ill, locked]
    assert [blocker.code for blocker in seen.troubles[0].reasons] == ["blocked"]
    assert "3 times in a row" in seen.troubles[1].reasons[0].text
    assert (len(seen.troubles), seen.troubled) == (
        dashboard.TROUBLES_SHOWN,
        dashboard.TROUBLES_SHOWN + 2,
    )
    assert seen.states == {
        "warming": 1, "needs_reauth": 1, "quarantined": 0, "blocked": 1, "paused": 0,
        "connecting": 0, "without_consent": dashboard.TROUBLES_SHOWN,
    }  # fmt: skip


def test_a_blocked_domain_is_a_trouble_by_the_web_s_own_login(messages: Messages) -> None:
    installation = messages.installation
    installation.rows(
        "INSERT INTO domain_health (workspace_id, domain, mx_ok, smtp_ok, detail, next_check_at) "
        "VALUES (%s, 'north.test', false, false, 'no MX', %s), "
        "(%s, 'south.test', false, false, 'theirs', %s)",
        messages.north, NOW, messages.south, NOW,
    )  # fmt: skip
    (trouble,) = dashboard.overview(installation.web_door, messages.north).troubles
    assert trouble.mailbox_id == messages.alice
    assert trouble.reasons[0].text.endswith("no mail server: no MX")
    page = mailbox_page.look(installation.web_door, messages.north, messages.alice)
    assert "domain_blocked" in [reason["code"] for reason in page.why["not_sending"]]
    with installation.web_door.tenant_tx(messages.north) as conn:
        rows = conn.execute(
            "SELECT * FROM sched.blocked_domains(%s, %s)", (messages.south, NOW)
        ).fetchall()
    assert rows == []


def test_pools_say_what_they_lack(messages: Messages) -> None:
    installation = messages.installation
    small = installation.pool(messages.north, "small")
    installation.mailbox(messages.north, small, "one@north.test")
    cards = {
        card.row["name"]: card
        for card in dashboard.overview(installation.web_door, messages.north).pools
    }
    shortage = cards["small"].shortage
    assert shortage is not None
    assert (shortage.available, shortage.volume) == (1, Policy().cap)
    assert cards["main"].shortage is None, "its scope is the network, whose size is not told"
    assert (cards["small"].row["mailboxes"], cards["small"].row["members"]) == (1, 1)


def test_a_mailbox_page_tells_the_day_its_mail_and_its_story(messages: Messages) -> None:
    installation, workspace = messages.installation, messages.north
    outbound = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    twin = messages.twin(outbound)
    assert twin is not None
    messages.observed(twin["id"], NOW + HOUR, placement="tab")
    messages.planned(messages.alice, NOW + 3 * HOUR, day=DAY + timedelta(days=1))
    messages.scheduler("recompute_rollups", now=NOW + HOUR)
    installation.rows(
        "UPDATE day_sizes SET reasons = %s",
        Jsonb([{"code": "target", "text": "the ramp allows 1", "value": 1}]),
    )
    _, row = mailboxes.locate(installation.database("cli"), "alice@north.test", None)
    mailboxes.set_state(installation.door, workspace, row, "paused", ACTOR)

    page = mailbox_page.look(installation.web_door, workspace, messages.alice)
    assert page.row["address"] == "alice@north.test"
    assert page.why["steps"][0]["text"] == "the ramp allows 1"
    assert "paused" in [reason["code"] for reason in page.why["not_sending"]]
    assert page.why["health"]["score"] is None
    assert [(day["day"], day["volume"], day["sent"], day["inbox"]) for day in page.series] == [
        (DAY, 1, 1, 1)
    ]
    assert [(day, placed.name, placed.inbox) for day, placed in page.by_provider] == [
        (DAY, "other", 1)
    ]
    assert [placed.sample for placed in page.week] == [1]
    assert [send["due_at"] for send in page.upcoming] == [NOW + 3 * HOUR]
    assert [send["placement"] for send in page.recent] == ["tab"]
    whats = [(event["what"], event["actor"]) for event in page.timeline]
    assert ("consent", ACTOR.name) in whats
    assert ("mailbox.paused", ACTOR.name) in whats
    assert ("state", "") in whats

    theirs = mailbox_page.look(installation.web_door, messages.south, messages.bob)
    assert (theirs.received["received"], theirs.received["rescued"]) == (1, 0)
    with pytest.raises(NotFound):
        mailbox_page.look(installation.web_door, workspace, messages.bob)
    with pytest.raises(NotFound):
        mailbox_page.look(installation.web_door, workspace, uuid4())


def test_a_person_sees_the_workspaces_they_belong_to_and_no_other(messages: Messages) -> None:
    installation = messages.installation
    person: UUID = installation.one(
        "INSERT INTO users (email, created_at) VALUES ('ann@people.test', %s) RETURNING id", NOW
    )["id"]
    installation.rows(
        "INSERT INTO memberships (workspace_id, user_id, role, created_at) "
        "VALUES (%s, %s, 'readonly', %s)",
        messages.north, person, NOW,
    )  # fmt: skip
    (place,) = dashboard.places_today(installation.database("web"), person)
    assert (place["workspace_id"], place["role"], place["warming"]) == (
        messages.north,
        "readonly",
        1,
    )
    assert place["week"].text == "no placement observed yet"
    assert dashboard.places_today(installation.database("web"), uuid4()) == []
