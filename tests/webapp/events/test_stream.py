"""Live pages: who hears of what, and when a stream ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast
from uuid import UUID

import pytest

from mailhearth_core.verbs import sessions
from mailhearth_web.areas.events import views
from mailhearth_web.areas.events.hub import CHANNEL, Hub
from waiting import wait_for
from web import Browser, Web


@contextmanager
def opened(web: Web, browser: Browser) -> Iterator[Iterator[bytes]]:
    """A stream, listening; its frames."""
    answer = browser.get("/events", buffered=False)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    frames = cast(Iterator[bytes], iter(answer.response))
    try:
        assert next(frames).startswith(b"retry:")
        wait_for(hub(web).listening.is_set, 5)
        yield frames
    finally:
        answer.close()


def hub(web: Web) -> Hub:
    found: Hub = web.app.extensions[views.EXTENSION]
    return found


def events(frames: Iterator[bytes]) -> Iterator[dict[str, str]]:
    for frame in frames:
        if frame.startswith(b"data:"):
            event = json.loads(frame.removeprefix(b"data:"))
            if event.get("kind") != "all":
                yield event


def test_a_change_is_heard_by_its_workspace_alone_and_holds_ids_only(web: Web) -> None:
    pool = web.installation.pool(web.workspace)
    mine = web.installation.mailbox(web.workspace, pool, "ann@one.test")
    other = web.installation.workspace("other")
    theirs = web.installation.mailbox(other, web.installation.pool(other), "bob@two.test")
    with opened(web, web.member("readonly")) as frames:
        for mailbox in (theirs, mine):
            web.installation.rows(
                "UPDATE mailboxes SET last_error = 'secret' WHERE id = %s", mailbox
            )
        assert next(events(frames)) == {
            "workspace": str(web.workspace), "kind": "mailbox", "id": str(mine),
        }  # fmt: skip


@pytest.mark.parametrize("deed", ["removed", "demoted", "signed out", "expired"])
def test_a_stream_ends_with_the_membership_or_the_session(
    web: Web, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhearth_web.areas.events.hub.CHECK_S", 0.0)
    browser = web.member("admin")
    assert browser.person is not None
    person: UUID = browser.person.id
    with opened(web, browser) as frames, opened(web, web.member("admin")) as others:
        if deed == "removed":
            web.installation.rows("DELETE FROM memberships WHERE user_id = %s", person)
        elif deed == "demoted":
            web.installation.rows(
                "UPDATE memberships SET role = 'readonly' WHERE user_id = %s", person
            )
        elif deed == "signed out":
            sessions.end_all(web.services.database, person)
        else:
            web.installation.rows(
                "UPDATE sessions SET expires_at = %s WHERE user_id = %s",
                web.clock.now() - timedelta(seconds=1), person,
            )  # fmt: skip
            web.clock.at += timedelta(seconds=1)
        wanted = (frame for frame in frames if b"gone" in frame)
        assert next(wanted).startswith(b"event: gone")
        assert next(frames, None) is None
        # The other's stream goes on.
        web.installation.rows(f"NOTIFY {CHANNEL}, '{web.workspace} day '")
        assert next(e for e in events(others) if e["kind"] == "day")["id"] == ""


def test_beyond_the_cap_pages_poll_and_a_closed_stream_makes_room(web: Web) -> None:
    web.changes["MAILHEARTH_STREAMS"] = "1"
    browser = web.member("readonly")
    with opened(web, browser):
        refused = browser.get("/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
    assert len(hub(web)) == 0
    with opened(web, browser):
        pass


def test_nonsense_on_the_channel_harms_nobody(web: Web) -> None:
    with opened(web, web.member("readonly")) as frames:
        for payload in ("", "x", "x y", "- session x", f"{web.workspace}"):
            web.installation.rows(f"NOTIFY {CHANNEL}, '{payload}'")
        web.installation.rows(f"NOTIFY {CHANNEL}, '{web.workspace} day '")
        assert next(e for e in events(frames) if e["kind"] == "day")


def test_nobody_s_stream_needs_no_thread_and_stopping_ends_all(web: Web) -> None:
    assert web.visitor().get("/events").status_code in (302, 303, 401)
    with opened(web, web.member("readonly")) as frames:
        web.services.stopping.set()
        for _ in frames:
            pass
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "live"], 5)
