"""Importing mailboxes in the browser: read, looked at, then all of it or the good rows."""

from __future__ import annotations

import io
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from web import Browser, Web

HEADER = "address;password;imap;smtp;tls;name;consent\n"


def line(address: str, password: str = "canary-row", name: str = "", consent: str = "") -> str:
    return f"{address};{password};127.0.0.1:1143;127.0.0.1:1587;none;{name};{consent}\n"


@pytest.fixture
def pool(web: Web) -> UUID:
    return web.installation.pool(web.workspace)


def upload(web: Web, browser: Browser, pool: UUID, data: bytes) -> TestResponse:
    return browser.submit(
        f"/w/{web.workspace}/imports",
        {"file": (io.BytesIO(data), "list.csv"), "pool": str(pool), "consent": "y"},
    )


def count(web: Web) -> int:
    return int(web.installation.one("SELECT count(*) AS n FROM mailboxes")["n"])


def test_a_file_is_looked_at_and_then_imported_whole(web: Web, pool: UUID) -> None:
    ann = web.member("member")
    text = HEADER + line("ann@one.test", name="Jürgen") + line("bob@one.test", consent="no")
    answer = upload(web, ann, pool, text.encode("cp1252"))
    assert answer.status_code == 303
    look = answer.headers["Location"]
    page = ann.get(look).text
    assert "The encoding is a guess" in page
    assert "Jürgen" in page
    assert "canary-row" not in page
    assert "Import all 2 mailboxes" in page
    assert count(web) == 0
    done = ann.submit(f"{look}/carry-out")
    assert done.status_code == 303
    made = web.installation.rows("SELECT address, consent FROM mailboxes ORDER BY address")
    assert [(row["address"], row["consent"]) for row in made] == [
        ("ann@one.test", "workspace"), ("bob@one.test", "none"),
    ]  # fmt: skip
    assert ann.submit(f"{look}/carry-out").status_code == 404
    assert "2 mailboxes imported" in ann.get(done.headers["Location"]).text
    stored = web.installation.rows("SELECT data::text AS d FROM sessions")
    assert "canary-row" not in str(stored)


def test_mistakes_are_told_row_by_row_and_the_good_rows_can_be_taken(web: Web, pool: UUID) -> None:
    ann = web.member("member")
    text = HEADER + line("ann@one.test") + line("ann@one.test") + line("x", name="=1+1")
    look = upload(web, ann, pool, text.encode()).headers["Location"]
    page = ann.get(look).text
    assert "is on line 2 already" in page
    assert "looks like a spreadsheet formula" in page
    assert "Import 1 and leave out 2" in page
    refused = ann.submit(f"{look}/carry-out")
    assert (refused.headers["Location"], count(web)) == (look, 0)
    assert "cannot be imported" in ann.get(look).text
    ann.submit(f"{look}/carry-out", {"only_good": "yes"})
    assert count(web) == 1


def test_what_is_no_list_is_said_beside_the_file(web: Web, pool: UUID) -> None:
    ann = web.member("member")
    for data, told in (
        (b"", "empty"),
        (b"PK\x03\x04", "workbook"),
        (b"ann@one.test;canary-row\n", "must name the columns"),
    ):
        answer = upload(web, ann, pool, data)
        assert (answer.status_code, 'id="file-error"' in answer.text) == (422, True)
        assert told in answer.text
        assert "canary-row" not in answer.text
    without = ann.submit(f"/w/{web.workspace}/imports", {"pool": str(pool)})
    assert without.status_code == 422
    example = ann.get(f"/w/{web.workspace}/imports/example.csv")
    assert example.text.startswith("address,password,imap")


def test_an_import_is_its_workspaces_alone_and_peering_an_admins(web: Web, pool: UUID) -> None:
    ann, reader, outsider = web.member("member"), web.member("readonly"), web.outsider()
    text = HEADER + line("ann@one.test", consent="network")
    look = upload(web, ann, pool, text.encode()).headers["Location"]
    assert outsider.get(look).status_code == 404
    assert outsider.submit(f"{look}/carry-out").status_code == 404
    assert reader.get(look).status_code == 403
    assert upload(web, reader, pool, text.encode()).status_code == 403
    south = web.installation.workspace("south")
    both = web.member("owner", south)
    elsewhere = look.replace(str(web.workspace), str(south))
    assert both.get(elsewhere).status_code == 404
    assert both.submit(f"{elsewhere}/drop").status_code == 303
    assert ann.submit(f"{look}/carry-out").status_code == 403
    assert count(web) == 0
    assert web.member("admin").submit(f"{look}/carry-out").status_code == 303
    assert count(web) == 1
    dropped = upload(web, ann, pool, (HEADER + line("bob@one.test")).encode()).headers["Location"]
    ann.submit(f"{dropped}/drop")
    assert ann.get(dropped).status_code == 404
    assert web.installation.one("SELECT count(*) AS n FROM mailbox_import_rows")["n"] == 0
