"""Many mailboxes: sorted, filtered and paged by the database, and what may be changed of one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.errors import InvalidValue, NotFound
from mailhearth_core.verbs import mailbox_list, mailboxes
from mailhearth_core.verbs.mailbox_list import Page, Wanted

STANDING = {
    "ann@one.test": "warming",
    "bob@one.test": "paused",
    "cat@two.test": "needs_reauth",
    "dan_x@two.test": "quarantined",
    "eve%@two.test": "connecting",
    "fay@two.test": "without_consent",
}


@pytest.fixture
def workspace(installation: TestInstallation) -> UUID:
    """Six mailboxes, one of each standing, and figures for the first three."""
    made = installation.workspace()
    pools = [installation.pool(made, name) for name in ("alpha", "beta")]
    ids = {}
    for place, address in enumerate(STANDING):
        ids[address] = installation.mailbox(made, pools[place % 2], address, name=f"N{place}")
        installation.rows(
            "UPDATE mailboxes SET created_at = %s WHERE id = %s",
            *(datetime(2026, 1, 10 - place, tzinfo=UTC), ids[address]),
        )
    for address, change in {
        "bob@one.test": "state = 'paused'",
        "cat@two.test": "state = 'needs_reauth'",
        "dan_x@two.test": "phase = 'quarantined'",
        "eve%@two.test": "connected_at = NULL",
        "fay@two.test": "consent = 'none'",
    }.items():
        installation.rows(f"UPDATE mailboxes SET {change} WHERE id = %s", ids[address])
    today = datetime.now(UTC).date()
    for place, address in enumerate(("cat@two.test", "ann@one.test", "bob@one.test")):
        installation.rows(
            "INSERT INTO day_sizes VALUES (%s, %s, %s, %s, '{}', '[]', now())",
            *(made, ids[address], today, 10 - place),
        )
        installation.rows(
            "INSERT INTO rollups VALUES (%s, %s, %s, 30, 30, %s, %s, 0, 0, 0, 0, 0, now())",
            *(made, ids[address], today, 28 - 2 * place, 2 + 2 * place),
        )
    for slot, state in enumerate(("sent", "planned", "cancelled")):
        installation.rows(
            "INSERT INTO outbound (workspace_id, mailbox_id, day, slot, due_at, state) "
            "VALUES (%s, %s, %s, %s, now(), %s)",
            *(made, ids["ann@one.test"], today, slot, state),
        )
    return made


def addresses(page: Page) -> list[str]:
    return [line.row["address"] for line in page.lines]


def look(installation: TestInstallation, workspace: UUID, **wanted: object) -> Page:
    return mailbox_list.page(installation.web_door, workspace, Wanted(**wanted))  # type: ignore[arg-type]


def test_each_sort_and_filter_is_the_databases(
    installation: TestInstallation, workspace: UUID
) -> None:
    everything = look(installation, workspace)
    assert {line.row["address"]: line.standing for line in everything.lines} == STANDING
    assert everything.standings == dict.fromkeys(everything.standings, 0) | dict.fromkeys(
        STANDING.values(), 1
    )
    ann = everything.lines[0]
    assert (ann.volume, ann.planned, ann.sent, ann.row["pool"]) == (9, 2, 1, "alpha")
    assert "26 of 30 in the inbox" in ann.health.text
    assert everything.lines[2].health.penalties[0].code == "needs_reauth"
    assert everything.lines[5].health.score is None

    names = list(STANDING)
    assert addresses(look(installation, workspace, descending=True)) == names[::-1]
    assert addresses(look(installation, workspace, sort="added")) == names[::-1]
    assert addresses(look(installation, workspace, sort="pool")) == names[::2] + names[1::2]
    by_volume = addresses(look(installation, workspace, sort="volume", descending=True))
    assert by_volume[:3] == ["cat@two.test", "ann@one.test", "bob@one.test"]
    by_health = addresses(look(installation, workspace, sort="health"))
    assert by_health[:3] == ["bob@one.test", "ann@one.test", "cat@two.test"]
    standings = [line.standing for line in look(installation, workspace, sort="standing").lines]
    assert standings == sorted(standings)

    assert addresses(look(installation, workspace, standing="paused")) == ["bob@one.test"]
    assert addresses(look(installation, workspace, text="TWO.test")) == names[2:]
    assert addresses(look(installation, workspace, text="n3")) == ["dan_x@two.test"]
    for special in ("_", "%", "\\"):  # what LIKE takes for itself is meant as it stands
        found = addresses(look(installation, workspace, text=special))
        assert found == [name for name in names if special in name]
    beta = everything.lines[1].row["pool_id"]
    in_beta = look(installation, workspace, pool_id=beta, text="two")
    assert addresses(in_beta) == names[3::2]
    assert (in_beta.total, in_beta.everywhere) == (2, 4)


def test_pages_end_where_the_list_ends(installation: TestInstallation, workspace: UUID) -> None:
    pages = [look(installation, workspace, size=4, number=number) for number in (1, 2, 9, -1)]
    assert [addresses(page) for page in pages] == [
        list(STANDING)[:4], list(STANDING)[4:], list(STANDING)[4:], list(STANDING)[:4],
    ]  # fmt: skip
    assert [(page.number, page.pages, page.total) for page in pages[1:3]] == [(2, 2, 6)] * 2
    south = installation.workspace("south")
    empty = look(installation, south)
    assert (addresses(empty), empty.total, empty.pages) == ([], 0, 1)
    for wrong in ({"sort": "password"}, {"standing": "happy"}, {"size": 0}):
        with pytest.raises(InvalidValue):
            Wanted(**wrong)


def test_name_zone_and_pool_can_be_changed(installation: TestInstallation, workspace: UUID) -> None:
    door = installation.web_door
    first = look(installation, workspace).lines[0].row
    row = mailbox_list.find(door, workspace, first["id"])
    with pytest.raises(InvalidValue, match="timezone"):
        mailboxes.describe(
            door, workspace, row, display_name="Ann", timezone="Mars/Base", actor=ACTOR
        )
    mailboxes.describe(
        door, workspace, row, display_name=" Ann ", timezone="Asia/Tokyo", actor=ACTOR
    )
    beta = look(installation, workspace, text="bob").lines[0].row["pool_id"]
    mailboxes.move(door, workspace, row, beta, ACTOR)
    after = mailbox_list.find(door, workspace, row["id"])
    assert (after["display_name"], after["timezone"], after["pool"]) == (
        "Ann",
        "Asia/Tokyo",
        "beta",
    )
    assert timedelta() < after["next_size_at"] - datetime.now(UTC) <= timedelta(hours=24)
    assert after["next_size_at"].astimezone(UTC).hour == 15  # midnight in Tokyo
    south = installation.workspace("south")
    with pytest.raises(NotFound):
        mailbox_list.find(door, south, row["id"])
    with pytest.raises(NotFound):
        mailboxes.move(door, workspace, row, installation.pool(south), ACTOR)
    last = mailbox_list.last_consent(door, workspace, row["id"])
    assert last is not None
    assert (last["scope"], last["actor"]) == ("workspace", ACTOR.name)
