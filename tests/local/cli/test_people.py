"""`mailhearth admin`, `sign-in link` and `workspace member`, as a user meets them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs import members, people
from mailhearth_core.verbs.people import LinkUsed, Person

Cli = Any  # tests/local/cli/conftest.py: CommandLine
Services = Any


@pytest.fixture
def web(services: Services) -> Any:
    database = Database(services.stack.urls.web)
    yield database
    database.close()


def arrive(web: Database, email: str, subject: str, issuer: str = "https://issuer.test") -> Person:
    return people.sign_in(
        web,
        issuer,
        subject,
        email=email,
        email_verified=True,
        name="",
        now=datetime.now(UTC),
        registration_open=True,
    )


def test_administrators_are_made_listed_and_unmade(cli: Cli, web: Database) -> None:
    ann = arrive(web, "ann.admin@example.com", "a1")
    assert cli.ok("admin", "grant", "Ann.Admin@example.com") == {
        "id": str(ann.id),
        "email": "ann.admin@example.com",
        "changed": True,
    }
    assert cli.ok("admin", "grant", str(ann.id))["changed"] is False
    assert str(ann.id) in {row["id"] for row in cli.ok("admin", "list")}
    assert people.find(web, ann.id).is_admin
    by = ("--issuer", "https://issuer.test", "--subject", "a1")
    assert cli.ok("admin", "revoke", *by)["changed"] is True
    assert not people.find(web, ann.id).is_admin
    assert "admin.revoked" in [e["action"] for e in cli.ok("audit", "list", "--platform")]


def test_an_address_of_several_people_names_nobody(cli: Cli, web: Database) -> None:
    first = arrive(web, "shared@example.com", "s1")
    second = arrive(web, "shared@example.com", "s2", "https://other.test")
    refused = cli("admin", "grant", "shared@example.com", "--json")
    assert (refused.code, refused.error["code"]) == (1, "ambiguous")
    assert str(first.id) in refused.error["message"]
    assert str(second.id) in refused.error["message"]
    assert cli("admin", "grant", "nobody@example.com", "--json").error["code"] == "not_found"
    for words in ((), ("x", "--issuer", "i", "--subject", "s"), ("--issuer", "i")):
        assert cli("admin", "grant", *words).code == 2


def test_a_link_signs_in_once(cli: Cli, web: Database) -> None:
    cli.ok("workspace", "create", "before-link")
    made = cli.ok("sign-in", "link")
    url = urlsplit(made["url"])
    assert (url.scheme, url.netloc, url.path) == ("http", "127.0.0.1:8787", "/sign-in/link")
    digest = hashlib.sha256(parse_qs(url.query)["token"][0].encode()).digest()
    owner = people.use_local_link(web, digest, now=datetime.now(UTC))
    assert (str(owner.id), owner.is_admin) == (made["person_id"], True)
    assert "before-link" in {place.name for place in members.places(web, owner.id)}
    with pytest.raises(LinkUsed):
        people.use_local_link(web, digest, now=datetime.now(UTC))
    ann = arrive(web, "ann.link@example.com", "l1")
    assert cli.ok("sign-in", "link", "--person", "ann.link@example.com")["person_id"] == str(ann.id)
    assert cli("sign-in", "link").out.startswith("http://127.0.0.1:8787/sign-in/link?token=")


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({"MAILHEARTH_OIDC_PROVIDERS": "[corp]"}, "local_sign_in_refused"),
        ({"MAILHEARTH_OIDC_PROVIDERS_FILE": "/etc/providers"}, "local_sign_in_refused"),
        ({"MAILHEARTH_PUBLIC_URL": "https://mail.example.com"}, "local_sign_in_refused"),
        ({"MAILHEARTH_PUBLIC_URL": "http://192.0.2.7:8787"}, "local_sign_in_refused"),
        ({"MAILHEARTH_PUBLIC_URL": "mail.example.com"}, "invalid_value"),
        ({"MAILHEARTH_CLI_DATABASE_URL": "postgresql://db/x"}, "local_sign_in_refused"),
    ],
)
def test_links_are_refused_beyond_this_machine(
    cli: Cli, environ: dict[str, str], code: str
) -> None:
    refused = cli("sign-in", "link", "--json", environ=environ)
    assert (refused.code, refused.error["code"]) == (1, code)


def test_a_person_is_put_into_a_workspace(cli: Cli, web: Database) -> None:
    cli.ok("sign-in", "link")  # from now on this machine's person owns what is made here
    workspace = UUID(cli.ok("workspace", "create", "peopled")["id"])
    ann = arrive(web, "ann.member@example.com", "m1")
    told = cli("workspace", "member", "ann.member@example.com", "-w", "peopled")
    assert told.out == "ann.member@example.com is owner of peopled.\n"
    cli.ok("workspace", "member", "owner@localhost", "-w", "peopled", "--role", "readonly")
    listed = {m.email: m.role for m in members.listing(web, workspace)}
    assert listed == {"ann.member@example.com": "owner", "owner@localhost": "readonly"}
    refused = cli("workspace", "member", str(ann.id), "-w", "peopled", "--role", "admin", "--json")
    assert (refused.code, refused.error["code"]) == (1, "conflict")
