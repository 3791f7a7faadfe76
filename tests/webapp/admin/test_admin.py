"""The administration: who sees it, what it says of real rows, and what its deeds do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from redis import Redis

from mailhearth_core.ids import uuid7
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import administration
from mailhearth_core.verbs.wishes import audit
from messages import DAY, NOW, Messages
from web import Browser, Web

PAGES = (
    *("", "/ramp.json", "/placement.json", "/workspaces", "/pools", "/domains", "/people"),
    *("/errors", "/work", "/failed", "/audit", "/audit/export.ndjson", "/audit/export.csv"),
)
REASON = {"reason": "It sent to   people who never asked."}


def ok(browser: Browser, path: str) -> str:
    answer = browser.get(f"/admin{path}")
    text = answer.text
    answer.close()  # an export lets go then
    assert answer.status_code == 200, (path, answer.status_code)
    return text


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_it_is_for_platform_admins_alone(web: Web) -> None:
    member, outsider, visitor, admin = web.member(), web.outsider(), web.visitor(), web.admin()
    deeds = (
        f"/workspaces/{web.workspace}/suspend",
        f"/workspaces/{web.workspace}/resume",
        f"/failed/{web.workspace}/{uuid4()}/retry",
    )
    for path in PAGES:
        assert member.get(f"/admin{path}").status_code == 403
        assert outsider.get(f"/admin{path}").status_code == 403
        assert visitor.get(f"/admin{path}").status_code == 303
        ok(admin, path)
    for path in deeds:
        assert member.submit(f"/admin{path}", REASON).status_code == 403
    # An administrator who was one when the session began is asked about again.
    web.installation.rows("DELETE FROM platform_admins")
    assert admin.get("/admin").status_code == 403
    assert web.installation.rows("SELECT 1 FROM workspaces WHERE state = 'suspended'") == []


def test_the_database_itself_refuses_whoever_is_no_administrator(web: Web) -> None:
    person = web.person()
    assert web.services.admin is not None
    for deed in (administration.suspend, administration.resume):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            deed(web.services.admin, person.id, web.workspace, "because", now=web.clock.now())
    for statement in ("SELECT 1 FROM workspaces", "SELECT 1 FROM users", "SELECT 1 FROM outbound"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            web.services.admin.tx() as conn,
        ):
            conn.execute(statement)


def test_the_network_is_summed_up_over_workspaces(web: Web) -> None:
    admin = web.admin()
    assert "No mailbox is connected" in ok(admin, "")
    messages = Messages(web.installation)
    today = datetime.now(UTC).date()
    for workspace, inbox in ((messages.north, 60), (messages.south, 30)):
        web.installation.rows(
            "INSERT INTO workspace_days (workspace_id, day, volume, planned, sent, replied, "
            "bounced, rescued, inbox, junk, other, missing, unobservable, computed_at) "
            "VALUES (%s, %s, 50, 48, 41, 5, 1, 2, %s, 10, 0, 0, 0, %s)",
            *(workspace, today, inbox, web.clock.now()),
        )
        web.installation.rows(
            "INSERT INTO provider_days VALUES (%s, %s, 'gmail', %s, 10, 0, 0, 0)",
            *(workspace, today, inbox),
        )
    web.installation.rows(
        "UPDATE mailboxes SET state = 'needs_reauth', last_error = 'AUTHENTICATE failed', "
        "last_error_at = %s WHERE id = %s",
        *(web.clock.now(), messages.alice),
    )
    seen = administration.network(web.installation.database("admin"))
    assert (seen.day["volume"], seen.day["sent"], seen.mailboxes) == (100, 82, 2)
    assert (seen.states["needs_reauth"], seen.states["warming"]) == (1, 1)
    assert (seen.week.sample, seen.providers[0].name) == (110, "gmail")
    text = plain(ok(admin, ""))
    assert "Sent today 82" in text
    assert "gmail 110 81.8 % of 110 (" in text
    assert "AUTHENTICATE failed 1 1" in plain(ok(admin, "/errors"))
    assert "main" in plain(ok(admin, "/pools?q=south"))
    assert (
        "north" not in plain(ok(admin, "/pools?q=south")).split("Worker", 1)[0].split("Pools")[-1]
    )
    queries = "SELECT count(*) AS n FROM provider_days"
    assert web.installation.one(queries)["n"] == 2


def test_a_suspended_workspace_stops_and_its_people_are_told(web: Web) -> None:
    messages = Messages(web.installation)
    admin = web.admin()
    member = web.member("readonly", messages.north)
    page, home = f"/admin/workspaces/{messages.north}", f"/w/{messages.north}/mailboxes"
    messages.bound(messages.alice, messages.bob)
    bare = admin.submit(f"{page}/suspend", {"reason": "  "})
    assert (bare.status_code, "Say why" in bare.text) == (422, True)
    assert admin.submit(f"{page}/suspend", REASON).status_code == 303
    row = web.installation.one(
        "SELECT state, state_reason FROM workspaces WHERE workspace_id = %s", messages.north
    )
    assert row == {"state": "suspended", "state_reason": "It sent to people who never asked."}
    told = plain(member.get(home).text)
    assert "The workspace is suspended" in told
    assert "Their reason: It sent to people who never asked." in told
    # Nothing is claimed, nothing sized, and what waits is cancelled; nobody writes to it; no
    # connection is tried.
    web.installation.rows(
        "INSERT INTO connection_attempts (workspace_id, mailbox_id, worker_group, settings, "
        "key_version, sealed, created_at, expires_at) "
        "VALUES (%s, %s, 'local', '{}', 1, '{}', %s, 'infinity')",
        *(messages.north, messages.alice, NOW),
    )
    assert messages.scheduler("take_attempts") == []
    with web.installation.worker_doors().door(messages.north).tx() as conn:
        claimed = named("sending").take(
            conn, workspace_id=messages.north, owner="w", seconds=60, machine=NOW,
            mailbox_id=messages.alice, sealed=False,
        )  # fmt: skip
    assert claimed is None
    web.installation.rows("UPDATE mailboxes SET next_size_at = %s", NOW - timedelta(hours=1))
    sized = {r["mailbox_id"] for r in messages.scheduler("to_size", now=NOW, batch=10)}
    assert sized == {messages.bob}
    peers = {r["mailbox_id"]: r["accepts"] for r in messages.scheduler("peering_snapshot", now=NOW)}
    assert peers == {messages.alice: False, messages.bob: True}
    assert any("suspended" in outcome for outcome in messages.settle()), "what waited is cancelled"
    # The provisioner, who mends workspaces, does not let it go on.
    web.installation.provisioner.reconcile()
    assert admin.submit(f"{page}/suspend", REASON, follow_redirects=True).status_code == 200
    assert web.installation.one(
        "SELECT count(*) AS n FROM workspaces WHERE state = 'suspended'"
    ) == {"n": 1}
    events = web.installation.rows(
        "SELECT actor, detail FROM audit_events WHERE workspace_id = %s AND action = "
        "'workspace.suspended'",
        messages.north,
    )
    assert admin.person is not None
    assert [event["actor"] for event in events] == [admin.person.email]
    assert events[0]["detail"]["reason"] == "It sent to people who never asked."
    assert "workspace.suspended" in ok(admin, "/audit?kind=administration")

    assert admin.submit(f"{page}/resume", {"reason": "It was a mistake"}).status_code == 303
    assert "suspended" not in plain(member.get(home).text)
    sized = {r["mailbox_id"] for r in messages.scheduler("to_size", now=NOW, batch=10)}
    assert sized == {messages.alice, messages.bob}
    assert len(messages.scheduler("take_attempts")) == 1
    web.clock.at += timedelta(minutes=11)
    stale = admin.submit(f"{page}/suspend", REASON)
    assert "fresh=1" in stale.headers["Location"]


def test_a_failed_deed_is_tried_again_and_what_may_have_left_is_not(web: Web) -> None:
    messages = Messages(web.installation)
    admin = web.admin()
    sends = {
        state: messages.bound(messages.alice, messages.bob, day=DAY + timedelta(days=n))
        for n, state in enumerate(("failed", "sending", "uncertain", "refused"))
    }
    for state, outbound in sends.items():
        is_failed = state in ("failed", "refused")
        web.installation.rows(
            "UPDATE outbound SET state = %s, sending_at = %s, reason = 'x' WHERE id = %s",
            *("failed" if is_failed else state, NOW, outbound),
        )
        web.installation.rows(
            "UPDATE action SET state = %s, reason = 'the server said no', finished_at = %s, "
            "not_after = NULL WHERE outbound_id = %s AND kind = 'send'",
            *("failed" if is_failed else state, None if state == "sending" else NOW, outbound),
        )
    web.installation.rows(
        "INSERT INTO domain_bounces (workspace_id, outbound_id, domain, status, at) "
        "VALUES (%s, %s, 'south.test', '5.1.1', %s)",
        *(messages.north, sends["refused"], NOW),
    )
    poll = uuid7()
    web.installation.rows(
        "INSERT INTO action (workspace_id, id, mailbox_id, kind, due_at, state, reason, "
        "finished_at, attempt) VALUES (%s, %s, %s, 'census', %s, 'failed', 'moved', %s, 3)",
        *(messages.north, poll, messages.alice, NOW, NOW),
    )
    text = ok(admin, "/failed")
    assert text.count("Try again</button>") == 2
    assert str(messages.row("outbound", sends["failed"])["correlation_id"]) in text
    assert "it is never sent twice" in text
    assert "which counts as a bounce" in text
    for state in ("sending", "uncertain", "refused"):
        action = messages.action(sends[state])["id"]
        before = messages.row("action", action)
        answer = again(web, admin, messages.north, action)
        assert "It is not tried again" in answer, state
        # Nor when the wish is already in the outbox and the state came after it.
        outcome = wished(web, messages.north, action)
        assert outcome.startswith("It is not tried again"), state
        assert messages.row("action", action) == before
        assert messages.row("outbound", sends[state])["pair_id"] is not None
    failed = messages.action(sends["failed"])["id"]
    for action in (failed, poll):
        assert "It is wished for" in again(web, admin, messages.north, action)
    assert "wished for" in ok(admin, "/failed")
    assert again(web, admin, messages.north, failed)
    assert web.installation.provisioner.reconcile() == 2, "asked for twice, done once"
    send = messages.row("outbound", sends["failed"])
    assert (send["state"], send["peer_ref"], send["sending_at"]) == ("planned", None, None)
    assert messages.row("action", failed)["state"] == "waiting"
    tried = messages.row("action", poll)
    assert (tried["state"], tried["attempt"], tried["finished_at"]) == ("pending", 0, None)
    waiting = messages.scheduler("waiting_slots", until=datetime.now(UTC) + timedelta(hours=1))
    assert [slot["outbound_id"] for slot in waiting] == [sends["failed"]]
    assert "action.retried" in ok(admin, "/audit")


def again(web: Web, admin: Browser, workspace: UUID, action: UUID) -> str:
    path = f"/admin/failed/{workspace}/{action}/retry"
    return plain(admin.submit(path, follow_redirects=True).text)


def wished(web: Web, workspace: UUID, action: UUID) -> str:
    """The outcome of a wish that is in the outbox whatever the page said."""
    command = uuid7()
    web.installation.rows(
        "INSERT INTO commands (workspace_id, id, kind, subject_id, actor, created_at) "
        "VALUES (%s, %s, 'action.retry', %s, 'x', %s)",
        *(workspace, command, action, web.clock.now()),
    )
    web.installation.provisioner.reconcile()
    done = web.installation.one("SELECT state, outcome FROM commands WHERE id = %s", command)
    assert done["state"] == "refused"
    return str(done["outcome"])


def test_no_page_asks_the_database_more_than_twelve_times(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, owner = web.admin(), web.member("owner")
    pages = [f"/admin{path}" for path in (*PAGES, f"/workspaces/{web.workspace}")]
    asked: list[object] = []
    execute = psycopg.Cursor.execute

    def counted(self: Any, query: Any, *args: Any, **more: Any) -> Any:
        asked.append(query)
        return execute(self, query, *args, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    for browser, paths in ((admin, pages), (owner, [f"/w/{web.workspace}/audit"])):
        for path in paths:
            asked.clear()
            answer = browser.get(path)
            assert answer.status_code == 200
            answer.get_data()
            answer.close()
            assert 2 <= len(asked) <= 12, (path, asked)


def test_domains_and_why_they_are_blocked(web: Web) -> None:
    messages = Messages(web.installation)
    admin = web.admin()
    web.installation.rows("DELETE FROM domain_health")
    web.installation.rows(
        "INSERT INTO domain_health (workspace_id, domain, mx_ok, smtp_ok, detail, checked_at, "
        "next_check_at) VALUES (%s, 'south.test', false, false, 'NXDOMAIN', %s, %s)",
        *(messages.south, NOW, NOW),
    )
    assert "south.test south 1 blocked no mail server: NXDOMAIN" in plain(ok(admin, "/domains"))
    only = plain(ok(admin, "/domains?blocked=1"))
    assert ("south.test" in only, "north.test" in only) == (True, False)
    assert administration.network(web.installation.database("admin")).blocked == 1


def test_queues_and_workers_by_the_figures_that_the_web_may_read(web: Web) -> None:
    messages = Messages(web.installation)
    admin = web.admin()
    messages.lease(messages.alice, owner="worker-7")
    messages.planned(messages.alice)
    key = "rq:queue:local"
    with Redis.from_url(web.valkey.admin_url.reveal()) as redis:
        redis.delete(key, f"{key}:workers")
        redis.rpush(key, "local_drain_1", "local_drain_2")
        redis.sadd(f"{key}:workers", "alive", "lost")
        redis.set(f"{key}:alive:alive", 1)
        redis.rpush(f"{key}:taken:lost", "local_drain_3")
        try:
            text = plain(ok(admin, "/work"))
        finally:
            redis.delete(key, f"{key}:workers", f"{key}:alive:alive", f"{key}:taken:lost")
    assert "alive alive not heard of lost 1 in hand" in text
    assert "worker-7 1 1" in text
    assert re.search(r"local\b.* 2 0 1 ", text), text


def test_people_and_the_platforms_chain(web: Web) -> None:
    admin, ann = web.admin(), web.person("ann")
    web.join(ann, "owner")
    web.installation.rows("UPDATE users SET display_name = 'Ann <i>' WHERE id = %s", ann.id)
    assert "ann@people.test Ann &lt;i&gt; 1 never" in plain(ok(admin, "/people?q=ann"))
    assert "ann@people.test" not in ok(admin, "/people?admins=1")
    with web.installation.web_door.tenant_tx(web.workspace) as conn:
        audit(conn, web.workspace, "mailbox.paused", ann.actor, "secret@x.test")
    assert "workspace.created" in ok(admin, "/audit")
    for path in PAGES:
        assert "secret@x.test" not in ok(admin, path), "a workspace's chain is its own"
    assert web.admin().get("/admin/workspaces?page=x").status_code == 404
    assert web.admin().get(f"/admin/workspaces/{uuid4()}").status_code == 404
