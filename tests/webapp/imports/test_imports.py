"""Importing mailboxes in the browser: read, looked at, then all of it or the good rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from uuid import UUID

import pytest
from werkzeug import formparser
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from web import Browser, Web

HEADER = "address;password;imap;smtp;tls;name;consent\n"


def line(address: str, password: str = "canary-row", name: str = "", consent: str = "") -> str:
    return f"{address};{password};127.0.0.1:1143;127.0.0.1:1587;none;{name};{consent}\n"


@pytest.fixture
def pool(web: Web) -> UUID:
    return web.installation.pool(web.workspace)


def upload(web: Web, browser: Browser, pool: UUID, data: bytes) -> TestResponse:
    fields = {"pool": str(pool), "consent": "y", "csrf_token": browser.csrf}
    file = FileStorage(io.BytesIO(data), "list.csv")
    boundary, body = encode_multipart({**fields, "file": file})
    return browser.post(
        f"/w/{web.workspace}/imports",
        data=body,
        content_type=f"multipart/form-data; boundary={boundary}",
        headers={"Origin": browser.address},
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


def test_a_hundred_thousand_rows_are_each_answered_and_the_good_ones_taken(
    web: Web, pool: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a wrong encoding, with formulas, duplicates and more, as many as there may be."""
    # Its passwords never lie in a temporary file: making one would fail.
    for maker in ("SpooledTemporaryFile", "TemporaryFile"):
        monkeypatch.setattr(formparser, maker, None, raising=False)
    ann = web.member("member")
    good = [line(f"g{n}@one.test", name="J\xf6rg") for n in range(1_000)]
    wrong = (
        [line(f"+p{n}@one.test", name="=1+1") for n in range(9_000)]
        + [line("G7@one.test")] * 9_000
        + [line("canary-cell", password="")] * 9_000
        + [line("p@one.test").replace("\n", ";\n")] * 72_000
    )
    data = (HEADER + "".join(good + wrong)).encode("cp1252")
    refused = upload(web, ann, pool, data + line("last@one.test").encode())
    assert (refused.status_code, refused.text.count("has 100,001 rows")) == (422, 1)
    assert web.installation.one("SELECT count(*) AS n FROM mailbox_imports")["n"] == 0

    look = upload(web, ann, pool, data).headers["Location"]
    page = ann.get(f"{look}?show=all&page=2000").text.replace("\u202f", "")
    assert "Import 1000 and leave out 99000" in page
    assert page.count('<td class="num">') == 50
    assert '<td class="num">100001</td>' in page
    assert "J\xf6rg" in ann.get(f"{look}?show=all").text
    answer = ann.get(f"{look}/mistakes.csv")
    told = list(csv.DictReader(io.StringIO(answer.text)))
    assert "canary" not in answer.text
    assert [int(row["line"]) for row in told[-72_000:]] == list(range(28_002, 100_002))
    assert Counter((row["address"][:3], row["column"], row["mistake"][:9]) for row in told) == {
        ("'+p", "name", "looks lik"): 9_000,  # no formula in the answer either
        ("g7@", "address", "is on lin"): 9_000,
        ("", "address", "is no e-m"): 9_000,
        ("", "password", "is empty"): 9_000,
        ("", "", "has 8 cel"): 72_000,
    }
    done = ann.submit(f"{look}/carry-out", {"only_good": "yes"})
    assert "1,000 mailboxes imported" in ann.get(done.headers["Location"]).text
    assert count(web) == 1_000


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
    for sent in ({}, {"file": "as text"}):
        without = ann.submit(f"/w/{web.workspace}/imports", {"pool": str(pool), **sent})
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
