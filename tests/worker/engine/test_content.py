"""A workspace's own conversations: used inside it only, and what happens when one is taken away."""

from __future__ import annotations

from datetime import timedelta
from importlib import resources

import pytest

from database import ACTOR
from engine import MONDAY, Engine
from mailhearth_core.content import parse_library
from mailhearth_core.verbs import content
from mailhearth_worker.scheduler import bind

FILES = resources.files("mailhearth_core.content") / "data"
TEXT = "\n".join((FILES / name).read_text() for name in ("00-manners.txt", "40-books.txt"))


@pytest.fixture(autouse=True)
def only_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread that may come from an own library does."""
    monkeypatch.setattr(bind, "OWN_SHARE", 1)


def test_own_texts_stay_in_their_workspace(engine: Engine) -> None:
    north, south = (engine.installation.workspace(name) for name in ("north", "south"))
    for workspace, users in ((north, engine.users[:3]), (south, engine.users[4:7])):
        pool = engine.installation.pool(workspace, pair_gap_hours=24, peering_scope="network")
        for user in users:
            engine.connect(workspace, pool, user, consent="network")
    library_id, _ = content.add(engine.installation.door, north, "Our books", TEXT, ACTOR)
    engine.run_until(MONDAY + timedelta(hours=18))
    version = content.version_of(library_id)
    used = engine.rows(
        "SELECT o.workspace_id AS sender, i.workspace_id AS recipient, o.library, o.subject, "
        "o.seed FROM outbound o JOIN inbound i USING (pair_id) WHERE o.state = 'sent'"
    )
    within = [row for row in used if row["sender"] == row["recipient"] == north]
    assert within
    assert {row["library"] for row in within} == {version}
    # The row of every other message, on both sides, names the product's own library.
    assert len(used) > len(within)
    assert {row["library"] for row in used if row not in within} == {"builtin/1"}
    library = parse_library(TEXT, version)
    for row in within:
        assert row["subject"].removeprefix("Re: ") == library.thread(row["seed"]).subject


def test_a_library_that_is_switched_off_still_ends_what_it_began(engine: Engine) -> None:
    bound, version = _bound(engine)
    engine.rows("UPDATE content_libraries SET active = false")
    engine.run_until(MONDAY + timedelta(hours=18))
    row = engine.one("SELECT state, library FROM outbound WHERE id = %s", bound)
    assert (row["state"], row["library"]) == ("sent", version)
    late = "SELECT DISTINCT library FROM outbound WHERE state = 'sent' AND kind = 'thread' "
    engine.run_until(MONDAY + timedelta(hours=42))
    assert engine.rows(late + "AND day = '2026-03-03'") == [{"library": "builtin/1"}]


def test_a_library_that_is_gone_stops_only_its_own_messages(engine: Engine) -> None:
    bound, _ = _bound(engine)
    seen = "SELECT count(*) AS n FROM inbound WHERE state = 'observed'"
    before = engine.one(seen)["n"]
    engine.rows("DELETE FROM content_libraries")
    engine.run_until(MONDAY + timedelta(hours=18))
    row = engine.one("SELECT state, reason FROM outbound WHERE id = %s", bound)
    assert (row["state"], row["reason"]) == ("skipped", "late")
    # What is sent from the product's own library goes on, and what arrived is observed.
    late = "SELECT DISTINCT library FROM outbound WHERE state = 'sent' AND day = '2026-03-03'"
    engine.run_until(MONDAY + timedelta(hours=42))
    assert {"library": "builtin/1"} in engine.rows(late)
    assert engine.one(seen)["n"] > before
    unseen = "SELECT sent_at, state FROM inbound WHERE sent_at < %s AND state <> 'observed'"
    assert engine.rows(unseen, engine.now - timedelta(hours=1)) == []


def _bound(engine: Engine) -> tuple[object, str]:
    workspace = engine.installation.workspace("north")
    pool = engine.installation.pool(workspace, pair_gap_hours=24)
    for user in engine.users[:4]:
        engine.connect(workspace, pool, user)
    library_id, _ = content.add(engine.installation.door, workspace, "Our books", TEXT, ACTOR)
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))
    assert bound["library"] == content.version_of(library_id)
    return bound["id"], bound["library"]
