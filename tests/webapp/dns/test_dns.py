"""The DNS pages: what a worker reported, and a look asked for."""

from __future__ import annotations

from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from database import machine_now
from mailhearth_core.dnsreport.model import Asked, to_json
from mailhearth_core.dnsreport.report import look
from mailhearth_core.mail.dns import ZoneResolver
from web import Web

DOMAIN = "one.test"


@pytest.fixture
def mailbox(web: Web) -> UUID:
    pool = web.installation.pool(web.workspace)
    return web.installation.mailbox(web.workspace, pool, f"ann@{DOMAIN}")


def report(web: Web) -> None:
    zone = ZoneResolver({DOMAIN: {"txt": ["v=spf1 +all <b>"], "mx": [{"host": "mx.one.test"}]}})
    found = to_json(look(Asked(DOMAIN, "127.0.0.1", "other"), zone))
    web.installation.rows(
        "INSERT INTO dns_reports (workspace_id, domain, report, checked_at, next_check_at) "
        "VALUES (%s, %s, %s, %s, %s)",
        *(web.workspace, DOMAIN, Jsonb(found), machine_now(), machine_now()),
    )


def test_a_report_shows_what_is_found_wrong_and_to_be_published(web: Web, mailbox: UUID) -> None:
    reader = web.member("readonly")
    assert "No report yet" in reader.get(f"/w/{web.workspace}/dns/{DOMAIN}").text
    report(web)
    text = reader.get(f"/w/{web.workspace}/dns/{DOMAIN}").text
    for said in (
        "v=spf1 +all &lt;b&gt;",
        "There is no DMARC record",
        "v=DMARC1; p=none",
        "_dmarc.one.test",
    ):
        assert said in text, said
    assert "Look again now" not in text, "a reader asks for nothing"
    assert DOMAIN in reader.get(f"/w/{web.workspace}/dns").text


def test_a_look_is_asked_for_with_selectors(web: Web, mailbox: UUID) -> None:
    member, path = web.member("member"), f"/w/{web.workspace}/dns/{DOMAIN}"
    answer = member.submit(f"{path}/look", {"selectors": "Mail2026, s-1"})
    assert answer.status_code == 303
    assert web.installation.one("SELECT selectors FROM dns_reports") == {
        "selectors": ["mail2026", "s-1"]
    }
    action = web.installation.one("SELECT mailbox_id, state FROM action WHERE kind = 'check_dns'")
    assert action == {"mailbox_id": mailbox, "state": "pending"}
    member.submit(f"{path}/look", {"selectors": "mail2026"})
    assert len(web.installation.rows("SELECT 1 FROM action WHERE kind = 'check_dns'")) == 1
    assert "a look is under way" in member.get(path).text
    assert 'value="mail2026"' in member.get(path).text


def test_what_cannot_be_asked_for_is_told_beside_the_field(web: Web, mailbox: UUID) -> None:
    member, path = web.member("member"), f"/w/{web.workspace}/dns/{DOMAIN}/look"
    answer = member.submit(path, {"selectors": "no spaces here"})
    assert answer.status_code == 422
    assert 'value="no spaces here"' in answer.text
    web.installation.rows("UPDATE mailboxes SET consent = 'none'")
    answer = member.submit(path, {"selectors": ""})
    assert answer.status_code == 422
    assert web.installation.rows("SELECT 1 FROM action WHERE kind = 'check_dns'") == []
    assert member.submit(f"/w/{web.workspace}/dns/else.test/look", {}).status_code == 404
    assert web.member("readonly").submit(path, {"selectors": ""}).status_code == 403
