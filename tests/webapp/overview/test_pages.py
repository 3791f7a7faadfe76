"""The pages on warmup: what they show, to whom, and how many queries it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from database import ACTOR
from mailhearth_core.verbs import mailboxes
from mailhearth_core.warmup.policy import Policy
from messages import DAY, NOW, Messages
from web import Web

HOUR = timedelta(hours=1)
MOST_QUERIES = 12


@pytest.fixture
def messages(web: Web) -> Messages:
    """Alice in `north`, which `web.workspace` is, with one mail sent to Bob in `south`."""
    made = Messages(web.installation)
    web.__dict__["workspace"] = made.north
    web.installation.rows(
        "INSERT INTO business_clock (rate, business_at, ticked_at) "
        "VALUES (1, %s, clock_timestamp())",
        NOW + HOUR,
    )
    outbound = made.bound(made.alice, made.bob)
    made.sent(made.alice)
    twin = made.twin(outbound)
    assert twin is not None
    made.observed(twin["id"], NOW + HOUR, placement="junk")
    steps = [{"code": "target", "text": "the ramp allows 1 on sending day 1", "value": 1}]
    web.installation.rows("UPDATE day_sizes SET reasons = %s", Jsonb(steps))
    web.installation.rows("UPDATE controller_rows SET reasons = %s", Jsonb(steps))
    made.scheduler("recompute_rollups", now=NOW + HOUR)
    return made


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that are run meanwhile, by whatever connection."""
    seen: list[str] = []
    real: Any = psycopg.Cursor.execute

    def execute(self: Any, query: Any, *rest: Any, **more: Any) -> Any:
        if query:  # the pool looks over a connection by an empty statement
            seen.append(str(query)[:80])
        return real(self, query, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", execute)
        yield seen


def paths(messages: Messages, pool: UUID) -> dict[str, str]:
    root = f"/w/{messages.north}"
    return {
        "overview": f"{root}/",
        "ramp": f"{root}/overview/ramp.json",
        "mailbox": f"{root}/mailboxes/{messages.alice}",
        "mailbox ramp": f"{root}/mailboxes/{messages.alice}/ramp.json",
        "mailbox placement": f"{root}/mailboxes/{messages.alice}/placement.json",
        "pools": f"{root}/pools",
        "pool": f"{root}/pools/{pool}",
        "dns": f"{root}/dns",
        "domain": f"{root}/dns/north.test",
        "simulate": f"{root}/pools/{pool}/simulate",
    }


def pool_of(messages: Messages) -> UUID:
    found: UUID = messages.row("mailboxes", messages.alice)["pool_id"]
    return found


def test_members_see_every_page_in_few_queries_and_outsiders_none(
    web: Web, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, outsider, visitor = web.member("readonly"), web.outsider(), web.visitor()
    for name, path in paths(messages, pool_of(messages)).items():
        with counted(monkeypatch) as queries:
            answer = reader.get(path)
        assert answer.status_code == 200, (name, answer.text[:500])
        assert len(queries) <= MOST_QUERIES, (name, queries)
        assert outsider.get(path).status_code == 404, name
        assert visitor.get(path).status_code in (302, 303, 401), name


def test_the_overview_shows_the_day_the_sample_and_the_pool(web: Web, messages: Messages) -> None:
    text = web.member("owner").get(f"/w/{messages.north}/").text
    assert "1 of 1" in text
    assert "1 of 20 placements" in text, "no rate below the floor"
    assert "not enough data" in text
    assert 'data-chart="ramp"' in text
    assert "Nothing stands in any mailbox" in text
    data = web.member("owner").get(f"/w/{messages.north}/overview/placement.json").get_json()
    junk = next(series for series in data["series"] if series["class"] == "junk")
    assert (data["x"][-1], junk["values"][-1]) == (DAY.isoformat(), 1)
    assert data["notes"] == ["1 placements observed"]


def test_troubles_lead_to_what_mends_them_and_only_for_those_who_may(
    web: Web, messages: Messages
) -> None:
    web.installation.rows(
        "UPDATE mailboxes SET state = 'needs_reauth', auth_failures = 3, "
        "last_error = '<script>alert(1)</script>' WHERE id = %s",
        messages.alice,
    )
    page = f"/w/{messages.north}/"
    owner, reader = web.member("owner").get(page).text, web.member("readonly").get(page).text
    for text in (owner, reader):
        assert "alice@north.test" in text
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text
    assert "Connect it again" in owner or "mailboxes.settings" not in web.app.view_functions
    assert "Connect it again" not in reader


def test_a_new_workspace_is_led_to_its_first_mailbox(web: Web) -> None:
    owner = web.member("owner")
    text = owner.get(f"/w/{web.workspace}/").text
    assert "On the way to the first warming mailbox" in text
    assert "Make a pool with the usual policy" in text
    answer = owner.submit(f"/w/{web.workspace}/pools/default")
    assert answer.status_code == 303
    web.installation.provisioner.reconcile()
    text = owner.get(f"/w/{web.workspace}/").text
    assert "Make a pool with the usual policy" not in text
    assert f"up to {Policy().cap} mails a day" in text
    assert web.member("member").submit(f"/w/{web.workspace}/pools/default").status_code == 403


def test_the_mailbox_page_says_why(web: Web, messages: Messages) -> None:
    installation = web.installation
    _, row = mailboxes.locate(installation.database("cli"), "alice@north.test", None)
    mailboxes.set_state(installation.door, messages.north, row, "paused", ACTOR)
    text = web.member("readonly").get(f"/w/{messages.north}/mailboxes/{messages.alice}").text
    assert "The ramp allows 1 on sending day 1." in text
    assert f"Paused (paused by {ACTOR.name})." in text
    assert "It was paused" in text
    assert "Consent to warm up with the whole network was given" in text
    assert "bob@south.test" in text
    assert "not enough data: 1 of 20 placements in 7 days" in text
    part = web.member("readonly").get(
        f"/w/{messages.north}/mailboxes/{messages.alice}", headers={"HX-Request": "true"}
    )
    assert "<html" not in part.text
    assert 'id="mailbox-now"' in part.text
    assert 'id="mailbox-lists"' in part.text


def test_another_workspace_s_mailbox_is_not_there(web: Web, messages: Messages) -> None:
    reader = web.member("readonly")
    for mailbox in (messages.bob, uuid4()):
        for tail in ("", "/ramp.json", "/placement.json"):
            path = f"/w/{messages.north}/mailboxes/{mailbox}{tail}"
            assert reader.get(path).status_code == 404
    assert reader.get(f"/w/{messages.north}/dns/south.test").status_code == 404
