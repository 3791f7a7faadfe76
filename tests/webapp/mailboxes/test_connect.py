"""Connecting a mailbox from the first form to the first sign-in, in the dashboard's own pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from engine import Engine
from web import Browser, Web

CANARY = "canary-typed-password"


@pytest.fixture
def engine(web: Web, tmp_path: Path) -> Iterator[Engine]:
    """A worker, a scheduler and the mail sandbox's servers."""
    made = Engine(web.installation, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def pool(web: Web, engine: Engine) -> UUID:
    return web.installation.pool(web.workspace)


def at(web: Web, path: str) -> str:
    return f"/w/{web.workspace}/{path}"


def fields(engine: Engine, pool: UUID, **changes: Any) -> dict[str, Any]:
    """The form of the first sandbox user, as somebody fills it in."""
    user, info = engine.users[0], engine.info
    return {
        "address": user.address, "name": "Ann", "username": "", "timezone": "Europe/Berlin",
        "password": user.password.reveal(), "held": "", "pool": str(pool),
        "imap_host": "127.0.0.1", "imap_port": str(info.imap_port), "imap_tls": "implicit",
        "smtp_host": "127.0.0.1", "smtp_port": str(info.smtps_port), "smtp_tls": "implicit",
        "ca_pem": Path(info.ca_file).read_text().replace("\n", "\r\n"),
    } | changes  # fmt: skip


def value(html: str, name: str) -> str:
    """What an input of that name holds."""
    tag = re.search(rf'<input[^>]*name="{name}"[^>]*>', html)
    assert tag is not None, name
    found = re.search(r'value="([^"]*)"', tag.group(0))
    return found.group(1) if found else ""


def errors(html: str) -> list[str]:
    return re.findall(r'id="(\w+)-error"', html)


def location(answer: TestResponse) -> str:
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def member(web: Web, role: str = "owner") -> Browser:
    return web.member(role)


def test_from_the_address_to_the_first_sign_in(web: Web, engine: Engine, pool: UUID) -> None:
    ann = member(web, "member")
    assert "Connect the mailbox" in ann.get(at(web, "mailboxes")).text
    address = engine.users[0].address
    search = location(ann.submit(at(web, "mailboxes/connect"), {"address": f" {address.upper()} "}))
    waiting = ann.get(search)
    assert 'hx-trigger="live, every 1s"' in waiting.text
    assert "waiting for a worker" in waiting.text
    engine.settle_down()
    part = ann.get(search, headers={"HX-Request": "true"})
    if part.status_code == 200:  # nothing was found: on by hand
        assert "every 1s" not in part.text
        assert "<html" not in part.text
        form = ann.get(at(web, f"mailboxes/connect/servers?attempt={search.rpartition('/')[2]}"))
    else:
        form = ann.get(part.headers["HX-Redirect"])
    assert value(form.text, "address") == address

    test = location(ann.submit(at(web, "mailboxes/connect/servers"), fields(engine, pool)))
    assert "waiting for a worker" in ann.get(test).text
    early = location(ann.submit(f"{test}/save", {"warmup": "yes"}))
    assert early == test
    engine.settle_down()
    done = ann.get(test).text
    for title in ("Reading (IMAP): sign in", "Sending (SMTP): sign in", "everything works"):
        assert title in done
    assert "agree to warmup" in done
    assert 'name="network"' not in done  # a member may not say that
    page = location(ann.submit(f"{test}/save", {"warmup": "yes", "network": "y"}))
    assert re.fullmatch(rf"/w/{web.workspace}/mailboxes/[0-9a-f-]{{36}}", page)
    assert engine.one("SELECT scope, actor, via FROM consent_ledger") == {
        "scope": "workspace", "actor": ann.person and ann.person.email, "via": "web",
    }  # fmt: skip
    again = ann.submit(f"{test}/save", {"warmup": "yes"})
    assert again.status_code == 404
    engine.settle_down()
    listed = ann.get(at(web, "mailboxes")).text
    assert address in listed
    assert "warming" in listed


def test_a_failed_form_keeps_what_was_typed_and_the_password_as_held(
    web: Web, engine: Engine, pool: UUID
) -> None:
    ann = member(web)
    url = at(web, "mailboxes/connect/servers")
    password = engine.users[0].password.reveal()
    failed = ann.submit(url, fields(engine, pool, timezone="Mars/Base", name="x" * 300))
    assert failed.status_code == 422
    assert sorted(errors(failed.text)) == ["name", "timezone"]
    assert value(failed.text, "timezone") == "Mars/Base"
    assert value(failed.text, "imap_port") == str(engine.info.imap_port)
    held = value(failed.text, "held")
    assert UUID(held)
    assert password not in failed.text
    assert value(failed.text, "password") == ""
    assert engine.one("SELECT state FROM connection_attempts")["state"] == "held"

    # Another port: the seal is for the old one, so the password is asked for.
    moved = ann.submit(url, fields(engine, pool, password="", held=held, smtp_port="1025"))
    assert (moved.status_code, errors(moved.text)) == (422, ["password"])
    assert 'name="held"' not in moved.text or value(moved.text, "held") == ""
    # As it was: no password is needed.
    test = location(ann.submit(url, fields(engine, pool, password="", held=held)))
    engine.settle_down()
    assert "everything works" in ann.get(test).text
    # Without either it is asked for.
    missing = ann.submit(url, fields(engine, pool, password=""))
    assert errors(missing.text) == ["password"]


def test_a_failed_test_says_where_and_leads_back_to_the_filled_form(
    web: Web, engine: Engine, pool: UUID
) -> None:
    ann = member(web)
    url = at(web, "mailboxes/connect/servers")
    test = location(ann.submit(url, fields(engine, pool, password=CANARY)))
    engine.settle_down()
    failed = ann.get(test).text
    assert "it does not work yet" in failed
    assert "Save the mailbox" not in failed
    back = re.search(r'href="([^"]*servers\?attempt=[^"]*)"', failed)
    assert back is not None
    form = ann.get(back.group(1).replace("&amp;", "&")).text
    assert value(form, "address") == engine.users[0].address
    assert value(form, "held") == test.rpartition("/")[2]
    assert CANARY not in failed + form
    tables = engine.rows(
        "SELECT a.*::text AS t FROM connection_attempts a UNION ALL "
        "SELECT s.data::text FROM sessions s"
    )
    assert CANARY not in str(tables)


def test_what_cannot_be_connected_is_said_beside_its_field(
    web: Web, engine: Engine, pool: UUID
) -> None:
    ann = member(web)
    engine.connect(web.workspace, pool, engine.users[1])
    taken = ann.submit(at(web, "mailboxes/connect"), {"address": engine.users[1].address})
    assert (taken.status_code, errors(taken.text)) == (422, ["address"])
    assert "already" in taken.text
    wrong = ann.submit(at(web, "mailboxes/connect"), {"address": "ann"})
    assert errors(wrong.text) == ["address"]
    url = at(web, "mailboxes/connect/servers")
    cases = {
        "imap_host": {"imap_host": "a b"},
        "smtp_host": {"smtp_port": "70000"},
        "ca_pem": {"ca_pem": "not PEM"},
        "address": {"address": engine.users[1].address, "username": "ann"},
    }
    for field, change in cases.items():
        answer = ann.submit(url, fields(engine, pool, **change))
        assert (answer.status_code, errors(answer.text)) == (422, [field]), field
    outside = ann.submit(url, fields(engine, pool, imap_host="imap.one.test"))
    assert "sandbox" in outside.text  # this installation's servers are on this machine
    google = ann.submit(url, fields(engine, pool, imap_host="imap.gmail.com"))
    assert "sign in with Google" in google.text
    proton = location(ann.submit(at(web, "mailboxes/connect"), {"address": "ann@proton.me"}))
    told = ann.get(ann.get(proton).headers["Location"])
    assert "cannot be connected" in told.text


def test_an_outsider_sees_no_attempt_and_a_reader_connects_nothing(
    web: Web, engine: Engine, pool: UUID
) -> None:
    ann, reader, outsider = member(web), member(web, "readonly"), web.outsider()
    url = at(web, "mailboxes/connect/servers")
    test = location(ann.submit(url, fields(engine, pool)))
    engine.settle_down()
    elsewhere = outsider.get("/workspaces")  # their own workspace is somebody else's to ann
    assert elsewhere.status_code == 200
    for path in (test, at(web, "mailboxes"), at(web, "mailboxes/connect")):
        assert outsider.get(path).status_code == 404
    assert outsider.submit(f"{test}/save", {"warmup": "yes"}).status_code == 404
    assert reader.get(test).status_code == 403
    assert reader.submit(url, fields(engine, pool)).status_code == 403
    assert engine.one("SELECT count(*) AS n FROM mailboxes")["n"] == 0
    south = engine.installation.workspace("south")
    both = web.member("owner", south)
    assert both.get(test.replace(str(web.workspace), str(south))).status_code == 404
