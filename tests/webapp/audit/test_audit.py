"""A workspace's audit trail: looked through, and taken along as a file that proves itself."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from database import ACTOR
from mailhearth_core.audit import exports
from mailhearth_core.audit.checkpoints import read_lines
from mailhearth_core.errors import InvalidValue
from mailhearth_core.verbs.wishes import Actor, audit
from mailhearth_worker.scheduler.seal import Signer, seal_events
from web import Browser, Web

FORMULA = '=HYPERLINK("http://evil.test")'


def tell(web: Web, action: str, subject: str, actor: Actor = ACTOR, **detail: object) -> None:
    with web.installation.web_door.tenant_tx(web.workspace) as conn:
        audit(conn, web.workspace, action, actor, subject, **detail)


def seal(web: Web, folder: Path) -> str:
    """What the scheduler does; returns the checkpoints that an auditor would have kept."""
    kept = io.StringIO()
    with web.installation.database("scheduler").tx() as conn:
        seal_events(conn)
    with web.installation.database("scheduler").tx() as conn:
        Signer(folder, kept).sign_heads(conn)
    return kept.getvalue()


def page(web: Web) -> str:
    return f"/w/{web.workspace}/audit"


def test_the_trail_is_filtered_and_paged_by_the_server(web: Web) -> None:
    admin = web.member("admin")
    tell(web, "mailbox.paused", "ann@x.test", Actor("bob@people.test", "web"), reason="<b>why</b>")
    for n in range(60):
        tell(web, "pool.set", f"pool-{n:02}")
    web.installation.rows(
        "UPDATE audit_events SET at = at - interval '3 days' WHERE action = 'mailbox.paused'"
    )
    first = admin.get(page(web)).text
    assert "pool-59" in first
    assert "pool-09" not in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = admin.get(older.group(1).replace("&amp;", "&")).text
    assert ("pool-09" in second, "pool-59" in second, "ann@x.test" in second) == (True, False, True)
    assert "&lt;b&gt;why&lt;/b&gt;" in second
    day = (datetime.now(UTC) - timedelta(days=1)).date()
    for query, seen in (
        ("action=mailbox.", True),
        ("kind=mailboxes and credentials", True),
        ("actor=BOB@", True),
        ("text=why", True),
        (f"until={day}", True),
        (f"since={day}", False),
        ("action=pool.", False),
        ("kind=authentication", False),
        ("text=100%25", False),
    ):
        found = admin.get(f"{page(web)}?{query}")
        assert ("ann@x.test" in found.text) == seen, query
        assert ("pool-59" in found.text) == (query in ("action=pool.", f"since={day}")), query
    wrong = admin.get(f"{page(web)}?since=yesterday&after=nonsense")
    assert (wrong.status_code, "This is not a day" in wrong.text) == (422, True)


def test_an_event_names_the_request_that_it_came_from(web: Web) -> None:
    owner = web.member("owner")
    done = owner.submit(f"/w/{web.workspace}/settings", {"name": "north-two"})
    assert done.status_code == 303
    event = web.installation.one("SELECT detail FROM audit_events WHERE action LIKE '%%renamed'")
    assert event["detail"]["request"] == done.headers["X-Request-ID"]
    shown = owner.get(f"{page(web)}?text={done.headers['X-Request-ID']}").text
    assert f"request {done.headers['X-Request-ID']}" in shown


def test_an_export_proves_itself_in_both_forms(web: Web, tmp_path: Path) -> None:
    owner = web.member("owner")
    tell(web, "mailbox.added", FORMULA, n=12345.5, more=["-1", 'a,\n"b"'])
    tell(web, "mailbox.added", "'quoted")
    tell(web, "mailbox.removed", "\u2028ünï")
    kept = read_lines(seal(web, tmp_path), "kept")
    tell(web, "mailbox.paused", "after the seal")
    other = web.installation.workspace("south")
    total = web.installation.one(
        "SELECT count(*) AS n FROM audit_events WHERE workspace_id = %s", web.workspace
    )["n"]
    for form in ("ndjson", "csv"):
        answer = owner.get(f"{page(web)}/export.{form}")
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="north-audit')
        text = answer.get_data().decode()
        answer.close()
        read = exports.read(text, "file")
        assert (read.head.scope, read.end) == (web.workspace, total)
        subjects = {item.event.subject for item in read.sealed}
        assert {FORMULA, "'quoted", "\u2028ünï"} <= subjects
        report = exports.examine(read, kept)
        assert report.faults == []
        assert (report.unsealed, report.checkpoint) == (1, report.last)
        assert str(other) not in text
        # Whatever is changed on the way is found.
        for changed, kind in (
            (text.replace("mailbox.removed", "mailbox.paused"), "broken"),
            (text.replace("12345.5", "12345.6"), "edited"),
            (without_line(text, "quoted"), "removed"),
            (text[: text.rstrip().rindex("\n") + 1], "cut_off"),
        ):
            found = {fault.kind for fault in exports.examine(exports.read(changed, "x")).faults}
            assert kind in found, (form, kind, found)
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert "'" + FORMULA in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert owner.get(f"{page(web)}/export.xlsx").status_code == 404
    # A rewritten chain with a checkpoint of the forger's own is told by an anchor alone.
    forged = Signer(tmp_path / "forger", io.StringIO())
    web.installation.rows("DELETE FROM audit_checkpoints")
    with web.installation.database("scheduler").tx() as conn:
        forged.sign_heads(conn)
    again = exports.read(taken(owner, f"{page(web)}/export.ndjson"), "file")
    assert exports.examine(again).faults == []
    assert {fault.kind for fault in exports.examine(again, kept).faults} == {"forged"}


def taken(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    text = answer.get_data().decode()
    answer.close()
    return text


def without_line(text: str, word: str) -> str:
    return "\n".join(line for line in text.split("\n") if word not in line)


@pytest.mark.parametrize("text", ["", "{}\n", "kind,seq\r\n1,2\r\n", '{"format": "other/1"}\n'])
def test_a_file_that_is_no_export_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidValue):
        exports.read(text, "file")


def status(browser: Browser, path: str) -> int:
    answer = browser.get(path)
    answer.close()
    return answer.status_code


def test_the_trail_is_for_those_who_may_read_it(web: Web) -> None:
    tell(web, "mailbox.paused", "ann@x.test")
    expected = {"owner": 200, "admin": 200, "member": 403, "readonly": 403}
    for path in (page(web), f"{page(web)}/export.ndjson"):
        assert {role: status(web.member(role), path) for role in expected} == expected
        assert web.outsider().get(path).status_code == 404
        assert web.admin().get(path).status_code == 404
        assert web.visitor().get(path).status_code == 303
