"""mailbox add, list, show, pause, resume, consent, remove, import, test beside services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Any  # tests/local/cli/conftest.py: CommandLine
Post = Any
PLACE = ("-w", "acme", "-p", "sales")
SERVERS = ("--imap", "127.0.0.1:1", "--smtp", "127.0.0.1:2", "--tls", "none", *PLACE)
HEADER = "address,imap,smtp,username,password,tls,consent"


def row(address: str, *, tls: str = "none", imap: str = "127.0.0.1:1") -> str:
    return f"{address},{imap},127.0.0.1:2,user,letmein,{tls},yes"


def test_a_mailbox_is_added_shown_and_listed_without_its_password(cli: Cli) -> None:
    added = cli.ok(
        *("mailbox", "add", "--workspace", "acme", "--pool", "sales", "--address", "Ann@One.test"),
        *("--imap", "imap.one.test:993", "--smtp", "smtp.one.test:587", "--username", "ann"),
        *("--timezone", "Europe/Berlin", "--name", "Ann A", "--password-stdin", "--consent"),
        stdin=b"s3cret phrase\n",
    )
    assert added["address"] == "ann@one.test"
    assert added["imap"] == {"host": "imap.one.test", "port": 993, "tls": "implicit"}
    assert added["smtp"]["tls"] == "starttls"
    assert (added["state"], added["consent"]) == ("active", "workspace")
    assert cli.ok("mailbox", "show", "ann@one.test") == added
    assert added in cli.ok("mailbox", "list", "--workspace", "acme")
    assert cli.ok("mailbox", "list", "--pool", "nowhere") == []
    text = cli("mailbox", "show", "ann@one.test").out + cli("mailbox", "list").out
    assert "imap.one.test:993 (implicit)" in text
    assert "s3cret" not in text


def test_a_password_is_asked_for_at_a_terminal_and_not_shown(
    cli: Cli, at_terminal: Callable[[str], None]
) -> None:
    at_terminal("typed phrase")
    answer = cli("mailbox", "add", "--address", "typed@one.test", *SERVERS)
    assert answer.code == 0, answer.err
    assert "typed phrase" not in answer.out + answer.err
    assert "It stays off until" in answer.out


@pytest.mark.parametrize(
    ("words", "stdin", "code", "told"),
    [
        ((), b"x\n", 2, "Use --password-stdin"),
        (("--password-stdin",), b"", 1, "password: '' is not allowed"),
        (("--password-stdin",), b"\xff\n", 1, "password: '***' is not allowed"),
        (("--password-stdin", "--imap", "nohost"), b"x\n", 1, "imap: 'nohost' is not allowed"),
        (("--password-stdin", "--tls", "ssl"), b"x\n", 1, "implicit, starttls, none"),
        (("--password-stdin", "--timezone", "Mars"), b"x\n", 1, "timezone: 'Mars'"),
        (("--password-stdin", "--ca", "/no/file"), b"x\n", 1, "ca: '/no/file'"),
        (("--password-stdin", "--address", "nobody"), b"x\n", 1, "address: 'nobody'"),
        (("--password-stdin", "--pool", "nopool"), b"x\n", 1, "There is no pool named 'nopool'"),
        (("--password-stdin", "--imap", "mail.example.com:143"), b"x\n", 1, "tls: 'none'"),
        (("--password", "x"), b"", 2, "--password"),
    ],
)
def test_what_is_wrong_with_a_new_mailbox_is_told_in_one_line(
    cli: Cli, words: tuple[str, ...], stdin: bytes, code: int, told: str
) -> None:
    base = ("mailbox", "add", "--address", "bad@one.test", *SERVERS)
    answer = cli(*base, *words, stdin=stdin)
    assert answer.code == code
    assert told in answer.err.splitlines()[0]
    assert cli("mailbox", "show", "bad@one.test").code == 1


def test_all_mistakes_are_told_at_once(cli: Cli) -> None:
    words = ("--imap", "x", "--smtp", "y", "--timezone", "Mars", "--password-stdin")
    err = cli("mailbox", "add", "--address", "z", *words, stdin=b"x\n").err
    for field in ("address", "imap", "smtp", "timezone"):
        assert f"{field}: " in err


def test_pause_resume_consent_and_remove(cli: Cli) -> None:
    address = "bob@one.test"
    cli.add_mailbox(address)
    assert cli.ok("mailbox", "pause", address)["changed"] is True
    assert cli.ok("mailbox", "pause", address)["changed"] is False
    shown = cli.ok("mailbox", "show", address)
    assert shown["state"] == "paused"
    assert shown["state_reason"].startswith("paused by ")
    assert cli.ok("mailbox", "resume", address)["state"] == "active"
    for words, scope in ((["--network"], "network"), (["--withdraw"], "none"), ([], "workspace")):
        assert cli.ok("mailbox", "consent", address, *words)["consent"] == scope
        assert cli.ok("mailbox", "show", address)["consent"] == scope
    assert (
        "is in this workspace already"
        in cli(
            *("mailbox", "add", "--address", address, *SERVERS, "--password-stdin"), stdin=b"x\n"
        ).err
    )
    assert cli.ok("mailbox", "remove", address)["removed"] is True
    for verb in ("show", "pause", "resume", "remove", "consent", "why", "test"):
        answer = cli("mailbox", verb, address, "--json")
        assert (answer.code, answer.error["code"]) == (1, "not_found"), verb
    cli.add_mailbox(address)  # an address that was removed can come again


def test_an_address_in_two_workspaces_must_be_told_apart(cli: Cli) -> None:
    cli.ok("workspace", "create", "second")
    cli.ok("pool", "create", "main", "-w", "second")
    for workspace in ("acme", "second"):
        cli.add_mailbox("twin@one.test", "-w", workspace)
    answer = cli("mailbox", "pause", "twin@one.test")
    assert (answer.code, "acme, second" in answer.err) == (1, True)
    assert cli.ok("mailbox", "pause", "twin@one.test", "-w", "second")["changed"]
    assert cli.ok("mailbox", "show", "twin@one.test", "-w", "acme")["state"] == "active"
    # From here on the workspace must be named.
    assert "Which workspace is not clear" in cli("pool", "list").err
    cli.ok("workspace", "delete", "second", "--yes")


def test_import_takes_a_csv_row_by_row_with_a_report(cli: Cli, tmp_path: Path) -> None:
    cli.add_mailbox("here@csv.test")
    lines = [
        HEADER,
        row("one@csv.test"),
        row("two@csv.test", imap="imap:none"),
        row("here@csv.test"),
        "",
        "short@csv.test,127.0.0.1:1",
        '"three@csv.test",127.0.0.1:1,127.0.0.1:2,user,"pass, with ""quotes""",none,no',
        row("four@csv.test", tls="ssl"),
        row("one@csv.test"),
    ]
    file = tmp_path / "team.csv"
    file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8")
    answer = cli("mailbox", "import", str(file), *PLACE, "--json")
    assert answer.code == 1
    report = answer.json()
    assert (report["added"], report["refused"]) == (2, 5)
    rows = {line["row"]: line for line in report["rows"]}
    assert [n for n, line in rows.items() if line["added"]] == [2, 7]
    assert "imap: 'imap:none'" in rows[3]["message"]
    assert rows[4]["code"] == "conflict"
    assert "2 values, the header 7" in rows[6]["message"]
    assert "implicit, starttls, none" in rows[8]["message"]
    assert rows[9]["address"] == "one@csv.test"
    assert {m["address"] for m in cli.ok("mailbox", "list") if "@csv" in m["address"]} == {
        "here@csv.test",
        "one@csv.test",
        "three@csv.test",
    }
    assert cli.ok("mailbox", "show", "three@csv.test")["consent"] == "none"
    text = cli("mailbox", "import", str(file), *PLACE).out
    assert "refused: one@csv.test is in this workspace already." in text
    assert text.splitlines()[-1] == "0 added, 7 refused."


def test_import_by_columns_goes_where_each_row_says(cli: Cli, tmp_path: Path) -> None:
    cli.ok("pool", "create", "support", "-w", "acme")
    file = tmp_path / "team.csv"
    file.write_text(
        "address,imap,smtp,username,password,tls,workspace,pool\n"
        "col1@csv.test,127.0.0.1:1,127.0.0.1:2,u,p,none,acme,support\n"
        "col2@csv.test,127.0.0.1:1,127.0.0.1:2,u,p,none,acme,\n"
        "col3@csv.test,127.0.0.1:1,127.0.0.1:2,u,p,none,nowhere,sales\n"
    )
    report = cli("mailbox", "import", str(file), *PLACE, "--consent", "--json").json()
    assert [line["added"] for line in report["rows"]] == [True, True, False]
    assert report["rows"][2]["code"] == "not_found"
    assert cli.ok("mailbox", "show", "col1@csv.test")["pool"] == "support"
    assert cli.ok("mailbox", "show", "col2@csv.test")["consent"] == "workspace"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"address,imap\n", "missing: smtp, username, password"),
        (b"", "missing: address"),
        (HEADER.encode() + b",colour\n", "unknown: colour"),
        (HEADER.encode() + b",tls\n", "twice: tls"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_file_that_is_no_import_is_refused_whole(
    cli: Cli, tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(content)
    answer = cli("mailbox", "import", str(file), *PLACE)
    assert answer.code == 1
    assert told in answer.err


def test_a_test_that_no_worker_takes_says_so_and_leaves_nothing_behind(
    cli: Cli, services: Any
) -> None:
    cli.add_mailbox("lonely@one.test")
    answer = cli("mailbox", "test", "lonely@one.test", "--wait", "0.3", "--json")
    assert (answer.code, answer.error["code"]) == (1, "no_worker")
    assert "No worker has taken the test within 0.3 s" in answer.error["message"]
    assert "mailhearth doctor" in answer.error["hint"]
    workspace = cli.ok("workspace", "show", "acme")["id"]
    from uuid import UUID

    from mailhearth_core.storage.doors import Database, TenantDoor

    database = Database(services.stack.urls.cli)
    try:
        with TenantDoor(database).tenant_tx(UUID(workspace)) as conn:
            assert conn.execute("SELECT 1 FROM connection_attempts").fetchone() is None
    finally:
        database.close()
