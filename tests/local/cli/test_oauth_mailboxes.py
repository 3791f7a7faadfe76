"""mailbox add --provider: a refresh token in place of a password."""

from __future__ import annotations

from typing import Any

import pytest

Cli = Any  # tests/local/cli/conftest.py: CommandLine
TOKEN = "1//canary-of-a-refresh-token"
PLACE = ("-w", "acme", "-p", "sales")
GMAIL = ("mailbox", "add", "--provider", "gmail", "--refresh-token-stdin", *PLACE)


def test_a_mailbox_is_added_by_consent_and_connected_again(cli: Cli) -> None:
    words = (*GMAIL, "--address", "gina@one.test", "--client-id", "our-client", "--consent")
    added = cli.ok(*words, stdin=f"{TOKEN}\n".encode())
    assert added["imap"] == {"host": "imap.gmail.com", "port": 993, "tls": "implicit"}
    assert added["smtp"] == {"host": "smtp.gmail.com", "port": 465, "tls": "implicit"}
    assert (added["username"], added["consent"]) == ("gina@one.test", "workspace")
    assert TOKEN not in str(added)
    again = cli(*words, stdin=b"other\n")
    assert (again.code, "is in this workspace already" in again.err) == (1, True)
    assert cli.ok(*words, "--again", stdin=b"other\n")["id"] == added["id"]


@pytest.mark.parametrize(
    ("words", "stdin", "code", "told"),
    [
        ((), TOKEN.encode(), 1, "client id: '' is not allowed"),
        (("--client-id", "c"), b"", 1, "refresh token: '' is not allowed"),
        (("--client-id", "c"), "tökén\n".encode(), 1, "refresh token: '***'"),
        (("--client-id", "c", "--provider", "yahoo"), b"x\n", 1, "gmail, outlook"),
        (("--client-id", "c", "--imap", "imap.evil.test:993"), b"x\n", 1, "imap.gmail.com:993"),
        (("--client-id", "c", "--password-stdin"), b"x\n", 2, "takes no password"),
    ],
)
def test_what_is_wrong_is_told_and_shows_no_token(
    cli: Cli, words: tuple[str, ...], stdin: bytes, code: int, told: str
) -> None:
    answer = cli(*GMAIL, "--address", "bad@one.test", *words, stdin=stdin)
    assert (answer.code, told in answer.err) == (code, True), answer.err
    assert TOKEN not in answer.err
    assert "tökén" not in answer.err


def test_the_words_need_a_provider(cli: Cli) -> None:
    base = ("mailbox", "add", "--address", "bad@one.test", *PLACE)
    assert "needs --provider" in cli(*base, "--refresh-token-stdin", stdin=b"x\n").err
    assert "Missing option '--imap'" in cli(*base, "--password-stdin", stdin=b"x\n").err
