"""What a mailbox's values become, and how every mistake is named."""

from __future__ import annotations

import pytest

from mailhearth_core.errors import InvalidValue
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs.mailbox_spec import (
    InvalidMailbox,
    MailboxSpec,
    Server,
    parse_spec,
    read_csv,
    read_rows,
)

GOOD = {"address": "Ann@One.Test", "imap": "Imap.One.Test:993", "smtp": "smtp.one.test:587"}
HEADER = "address,imap,smtp,username,password"


def test_defaults_follow_the_ports_and_the_address() -> None:
    found = parse_spec(GOOD, Secret("x"))
    assert found.imap == Server("imap.one.test", 993, "implicit")
    assert found.smtp == Server("smtp.one.test", 587, "starttls")
    assert (found.address, found.domain, found.username) == (
        "ann@one.test",
        "one.test",
        "Ann@One.Test",
    )
    assert (found.timezone, found.consent, found.ca_pem) == ("UTC", "none", None)


def test_each_side_may_have_its_own_tls() -> None:
    found = parse_spec(GOOD | {"imap_tls": "starttls", "smtp_tls": "implicit"}, Secret("x"))
    assert (found.imap.tls, found.smtp.tls) == ("starttls", "implicit")


@pytest.mark.parametrize("host", ["[::1]:993", "127.0.0.1:993", "a-b.example:1"])
def test_hosts_may_be_names_and_addresses(host: str) -> None:
    assert parse_spec(GOOD | {"imap": host}, Secret("x")).imap.port in (993, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("imap", v)
            for v in ("", "host", "host:", ":993", "host:0", "host:65536", "a b:1", "h:x")
        ),
        *(("address", v) for v in ("", "ann", "ann@", "a@b@c.test", "ann one@one.test")),
        *(("tls", v) for v in ("ssl", "IMPLICIT")),
        *(("timezone", v) for v in ("CEST", "Europe/Nowhere")),
        *(("consent", v) for v in ("yes", "all")),
        ("imap", "imap.gmail.com:993"),
        ("smtp", "smtp.office365.com:587"),
        ("name", "two\nlines"),
        ("username", "x" * 201),
        ("ca", "/no/such/file"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field: str, value: str) -> None:
    with pytest.raises(InvalidMailbox) as caught:
        parse_spec(GOOD | {field: value}, Secret("x"))
    (mistake,) = caught.value.mistakes
    assert (mistake.field, mistake.value) == (field, value)
    assert f"{field}: {value!r} is not allowed; allowed: " in str(caught.value)


def test_an_installation_may_take_app_passwords() -> None:
    google = GOOD | {"imap": "imap.gmail.com:993"}
    assert parse_spec(google, Secret("x"), allow_app_passwords=True).imap.host == "imap.gmail.com"
    row = "a@b.test,imap.gmail.com:993,h:2,u,p"
    for allowed in (True, False):
        (found,) = read_rows([HEADER, row], allow_app_passwords=allowed)
        assert (found.error is None) == allowed


def test_a_file_that_is_no_certificate_is_refused(tmp_path: object) -> None:
    with pytest.raises(InvalidMailbox, match="PEM file"):
        parse_spec(GOOD | {"ca": __file__}, Secret("x"))


def test_rows_are_read_one_by_one() -> None:
    rows = list(
        read_csv([HEADER, "a@b.test,h:1,h:2,u,p", "bad,h:1,h:2,u,p", "a@b.test,h:1,h:2,u,"])
    )
    assert [number for number, _ in rows] == [2, 3, 4]
    assert isinstance(rows[0][1], MailboxSpec)
    assert "address: 'bad'" in str(rows[1][1])
    assert "password: ''" in str(rows[2][1])


@pytest.mark.parametrize(
    ("said", "default", "consent"),
    [
        ("", "none", "none"),
        ("", "workspace", "workspace"),
        ("yes", "none", "workspace"),
        ("TRUE", "none", "workspace"),
        ("no", "workspace", "none"),
        ("network", "none", "network"),
    ],
)
def test_consent_in_a_row(said: str, default: str, consent: str) -> None:
    (row,) = read_rows([HEADER + ",consent", f"a@b.test,h:1,h:2,u,p,{said}"], consent=default)
    assert row.spec is not None
    assert row.spec.consent == consent


def test_what_is_no_csv_is_refused() -> None:
    with pytest.raises(InvalidValue, match="CSV header"):
        list(read_rows(["address;imap"]))
    with pytest.raises(InvalidValue, match="comma-separated"):
        list(read_rows([HEADER, "x" * 200_000 + ",h:1,h:2,u,p"]))
