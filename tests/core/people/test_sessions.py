"""Sessions: two lifetimes, one query, and an end that holds."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from database import ACTOR
from mailhearth_core.verbs import admins, sessions
from people import NOW, People, digest, later

IDLE = timedelta(hours=2)


def test_a_session_lives_as_long_as_it_is_used_and_no_longer_than_its_end(
    people_here: People,
) -> None:
    ann = people_here.person("ann@example.com")
    sessions.create(
        people_here.web,
        digest("t"),
        ann.id,
        {"a": 1},
        now=NOW,
        expires_at=later(hours=5),
        ip="192.0.2.1",
        agent="x" * 1000,
    )

    def at(**parts: int) -> sessions.Session | None:
        return sessions.find(people_here.web, digest("t"), now=later(**parts), idle=IDLE)

    found = at(seconds=59)
    assert found is not None
    assert (found.person, found.data, found.signed_in_at) == (ann, {"a": 1}, NOW)
    seen = at(seconds=61)
    assert seen is not None
    assert seen.seen_at == NOW, "the first look was too soon to be written down"
    touched = at(hours=2)
    assert touched is not None
    assert touched.seen_at == later(seconds=61)
    assert at(hours=4) is None, "unused for two hours"
    assert at(hours=3, minutes=59) is not None
    assert at(hours=4, minutes=59) is not None
    assert at(hours=5) is None, "whatever happens"
    assert sessions.find(people_here.web, digest("other"), now=NOW, idle=IDLE) is None


def test_a_visitor_has_data_and_no_person(people_here: People) -> None:
    made = sessions.create(
        people_here.web, digest("v"), None, {}, now=NOW, expires_at=later(hours=1), ip="", agent=""
    )
    assert sessions.save(people_here.web, made, {"state": "x"})
    found = sessions.find(people_here.web, digest("v"), now=NOW, idle=IDLE)
    assert found is not None
    assert (found.person, found.signed_in_at, found.data) == (None, None, {"state": "x"})
    with pytest.raises(psycopg.errors.CheckViolation):
        sessions.save(people_here.web, made, {"much": "x" * sessions.MAX_DATA})
    assert sessions.end(people_here.web, made)
    assert not sessions.save(people_here.web, made, {})


def test_listing_and_ending_reach_ones_own_sessions_only(people_here: People) -> None:
    ann, eve = people_here.person("ann@example.com"), people_here.person("eve@example.com")
    made = {
        token: sessions.create(
            people_here.web,
            digest(token),
            (eve if token == "eve" else ann).id,
            {},
            now=NOW,
            expires_at=later(hours=n),
            ip="192.0.2.1",
            agent="Browser",
        )
        for n, token in enumerate(("over", "a", "b", "c", "eve"))
    }

    def listed() -> set[str]:
        lines = sessions.listing(people_here.web, ann.id, now=NOW, idle=IDLE)
        return {token for token, made_id in made.items() if made_id in {ln.id for ln in lines}}

    assert listed() == {"a", "b", "c"}
    assert not sessions.end(people_here.web, made["eve"], user_id=ann.id)
    assert sessions.end(people_here.web, made["a"], user_id=ann.id)
    assert not sessions.end(people_here.web, made["a"], user_id=ann.id)
    assert listed() == {"b", "c"}
    assert sessions.end_all(people_here.web, ann.id, but=made["b"]) == 2
    assert listed() == {"b"}
    assert sessions.find(people_here.web, digest("c"), now=NOW, idle=IDLE) is None
    assert sessions.find(people_here.web, digest("eve"), now=NOW, idle=IDLE) is not None
    assert people_here.events().count("person.session_ended") == 3


def test_an_administrator_is_one_from_the_next_request_on(people_here: People) -> None:
    ann = people_here.person("ann@example.com")
    cli = people_here.installation.database("cli")
    sessions.create(
        people_here.web, digest("t"), ann.id, {}, now=NOW, expires_at=later(days=1), ip="", agent=""
    )

    def is_admin() -> bool:
        found = sessions.find(people_here.web, digest("t"), now=NOW, idle=IDLE)
        assert found is not None
        assert found.person is not None
        return found.person.is_admin

    assert not is_admin()
    assert admins.grant(cli, ann.id, ACTOR)
    assert not admins.grant(cli, ann.id, ACTOR)
    assert is_admin()
    assert [(a.email, a.granted_by) for a in admins.listing(cli)] == [("ann@example.com", "tester")]
    assert admins.revoke(cli, ann.id, ACTOR)
    assert not admins.revoke(cli, ann.id, ACTOR)
    assert not is_admin()
    events = people_here.events()
    assert (events.count("admin.granted"), events.count("admin.revoked")) == (1, 1)
