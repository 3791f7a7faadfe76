"""Connecting by the owner's consent: real mail servers, and a provider as theirs are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

import pytest

from database import TestInstallation
from dovecot import DovecotServer, IntrospectionServer, require_dovecot
from engine import Engine
from mailhearth_core.verbs import consents, mailbox_list
from mailhearth_core.verbs.oauth import parse_grant
from mailhearth_local.embedded.valkey import EmbeddedValkey
from postfix import PostfixServer, require_postfix
from token_endpoint import KEEP, ROTATE, ROTATE_STRICTLY, TokenEndpoint
from web import Browser, Web, running_web

AUTHORIZATION = "https://accounts.provider.test/auth"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[IntrospectionServer, DovecotServer, PostfixServer]]:
    require_dovecot()
    require_postfix()
    with ExitStack() as stack:
        introspection = IntrospectionServer()
        stack.callback(introspection.close)
        dovecot = stack.enter_context(DovecotServer(introspection_url=introspection.url))
        yield introspection, dovecot, stack.enter_context(PostfixServer(dovecot))


class Rig:
    """A dashboard, an engine, and one provider whose mail servers are on this machine."""

    def __init__(self, web: Web, engine: Engine, endpoint: TokenEndpoint) -> None:
        self.web, self.engine, self.endpoint = web, engine, endpoint
        self.pool = web.installation.pool(web.workspace)
        self.address = f"ann@{engine.users[0].address.rpartition('@')[2]}"
        self.provider = endpoint.provider

    @property
    def url(self) -> str:
        return f"/w/{self.web.workspace}/mailboxes/consent/{self.provider}"

    def asked(self, browser: Browser, query: str = "", **changes: str) -> str:
        """Where the page sends the owner."""
        form = {
            "address": self.address, "name": "Ann", "timezone": "UTC", "pool": str(self.pool),
        } | changes  # fmt: skip
        page = browser.submit(self.url + query, form)
        assert page.status_code == 200, page.text
        found = re.search(rf'href="({re.escape(AUTHORIZATION)}[^"]*)"', page.text)
        assert found is not None
        return found.group(1).replace("&amp;", "&")

    def answered(self, browser: Browser, target: str) -> str:
        """The page after the owner came back."""
        parts = urlsplit(target)
        assert f"{parts.scheme}://{parts.netloc}" == self.web.address
        back = browser.get(f"{parts.path}?{parts.query}")
        assert back.status_code == 303, back.text
        return back.headers["Location"]

    def tested(self, browser: Browser, account: str = "", **options: Any) -> tuple[str, str]:
        """Asks, consents and lets the worker try: the attempt's address and page."""
        url = self.asked(browser)
        target = self.endpoint.sign_in(url, account or self.address, **options)
        attempt = self.answered(browser, target)
        self.engine.settle_down()
        return attempt, browser.get(attempt).text

    def row(self, mailbox: UUID) -> dict[str, Any]:
        return mailbox_list.find(self.web.installation.web_door, self.web.workspace, mailbox)

    def look(self, mailbox: UUID, later: timedelta = timedelta(0)) -> dict[str, Any]:
        """Signs in afresh and looks into the mailbox; its row afterwards."""
        self.engine.runtime.sessions.forget(mailbox)
        self.engine.runtime.tokens.forget(mailbox)
        self.engine.set_clock(self.engine.now + later)
        self.engine.ask_poll(self.web.workspace, mailbox, self.engine.now)
        self.engine.rows(
            "UPDATE action SET due_at = %s WHERE kind = 'poll' AND state = 'pending'",
            self.engine.now,
        )
        self.engine.drain(self.web.workspace, mailbox)
        return self.row(mailbox)


@pytest.fixture
def rig(
    installation: TestInstallation,
    valkey: EmbeddedValkey,
    servers: tuple[IntrospectionServer, DovecotServer, PostfixServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Rig]:
    introspection, dovecot, postfix = servers
    provider, rotation = getattr(request, "param", ("gmail", KEEP))
    here = {
        "imap": f"127.0.0.1:{dovecot.imaps_port}",
        "smtp": f"127.0.0.1:{postfix.submissions_port}",
        "tls": "implicit",
        "ca": str(dovecot.ca_path),
    }

    def on_this_machine(provider: str, values: dict[str, Any], *rest: Any, **more: Any) -> Any:
        return parse_grant(provider, values | here, *rest, **more)

    monkeypatch.setattr(consents, "parse_grant", on_this_machine)
    with ExitStack() as stack:
        endpoint = stack.enter_context(
            TokenEndpoint(introspection, provider=provider, rotation=rotation)
        )
        owner = {"gmail": "GOOGLE", "outlook": "MICROSOFT"}[provider]
        client = {
            f"MAILHEARTH_{owner}_CLIENT_ID": endpoint.client_id,
            f"MAILHEARTH_{owner}_TOKEN_ENDPOINT": endpoint.url,
        }
        secret = {f"MAILHEARTH_{owner}_CLIENT_SECRET": endpoint.secret}
        engine = Engine(installation, tmp_path, client | secret)
        stack.callback(engine.close)
        there = {f"MAILHEARTH_{owner}_AUTHORIZATION_ENDPOINT": AUTHORIZATION}
        web = stack.enter_context(running_web(installation, valkey, **client, **there))
        made = Rig(web, engine, endpoint)
        postfix.add_user(made.address, "an unknown password")
        yield made


@pytest.mark.parametrize(
    "rig",
    [("gmail", KEEP), ("outlook", ROTATE), ("outlook", ROTATE_STRICTLY)],
    indirect=True,
    ids=["gmail", "outlook", "strict"],
)
def test_an_owner_consents_and_the_mailbox_works_until_the_consent_is_withdrawn(rig: Rig) -> None:
    ann = rig.web.member("member")
    page = ann.get(rig.url).text
    assert ("The risk with Google" in page) == (rig.provider == "gmail")
    attempt, done = rig.tested(ann)
    assert "everything works" in done, done
    assert ("The risk with Google" in done) == (rig.provider == "gmail")  # before the yes
    target = ann.submit(f"{attempt}/save", {"warmup": "yes"}).headers["Location"]
    mailbox = UUID(target.rpartition("/")[2])
    assert (rig.row(mailbox)["auth"], rig.row(mailbox)["provider"]) == ("oauth", rig.provider)
    for _ in range(3):  # each time the next refresh token, where they are rotated
        assert rig.look(mailbox, timedelta(hours=1))["auth_failures"] == 0
    assert rig.row(mailbox)["connected_at"] is not None

    rig.endpoint.withdraw(rig.address)
    for _ in range(3):
        rig.look(mailbox, timedelta(hours=6))
    gone = rig.row(mailbox)
    assert (gone["state"], "consent" in gone["last_error"]) == ("needs_reauth", True)
    again = ann.get(f"/w/{rig.web.workspace}/mailboxes/{mailbox}/settings").text
    assert f"consent/{rig.provider}?mailbox={mailbox}" in again
    url = rig.asked(ann, f"?mailbox={mailbox}")
    attempt = rig.answered(ann, rig.endpoint.sign_in(url, rig.address))
    rig.engine.settle_down()
    assert ann.submit(f"{attempt}/save").status_code == 303
    assert rig.row(mailbox)["state"] == "active"
    assert rig.look(mailbox)["auth_failures"] == 0
    ledger = rig.engine.rows("SELECT scope FROM consent_ledger")
    assert [entry["scope"] for entry in ledger] == ["workspace"]  # consent to warmup stayed


def test_another_account_fewer_scopes_or_a_no_connects_nothing(rig: Rig) -> None:
    ann = rig.web.member("member")
    attempt, page = rig.tested(ann, account="eve@elsewhere.test")
    assert "it does not work yet" in page
    assert "The consent is for eve@elsewhere.test" in page
    assert ann.submit(f"{attempt}/save", {"warmup": "yes"}).status_code == 303
    _, page = rig.tested(ann, scope="openid email")
    assert "does not cover https://mail.google.com/" in page
    rig.endpoint.answer(200, {"access_token": "t", "token_type": "Bearer", "expires_in": 60})
    _, page = rig.tested(ann)
    assert "no refresh token" in page
    no = rig.answered(ann, rig.endpoint.sign_in(rig.asked(ann), rig.address, says="access_denied"))
    assert "No consent was given" in ann.get(no).text
    assert rig.engine.one("SELECT count(*) AS n FROM mailboxes")["n"] == 0


def test_an_answer_is_taken_once_in_time_and_by_who_asked(rig: Rig) -> None:
    ann, bob = rig.web.member("member"), rig.web.member("member")
    target = rig.endpoint.sign_in(rig.asked(ann), rig.address)
    path = target.removeprefix(rig.web.address)
    for stranger in (bob, rig.web.outsider()):
        assert stranger.get(path).status_code == 404
    assert rig.web.visitor().get(path).headers["Location"].startswith("/sign-in")
    state = parse_qs(urlsplit(target).query)["state"][0]
    assert ann.get(path.replace(state, "x" * 43)).status_code == 404
    assert ann.get(path.replace("/gmail/", "/outlook/")).status_code == 404  # and that spent it
    assert ann.get(path).status_code == 404

    late = rig.endpoint.sign_in(rig.asked(ann), rig.address)
    rig.web.clock.at += timedelta(minutes=11)
    assert ann.get(late.removeprefix(rig.web.address)).status_code == 404

    good = rig.endpoint.sign_in(rig.asked(ann), rig.address)
    assert ann.person is not None
    rig.engine.rows("DELETE FROM memberships WHERE user_id = %s", ann.person.id)
    assert ann.get(good.removeprefix(rig.web.address)).status_code == 404
    assert rig.engine.one("SELECT count(*) AS n FROM connection_attempts")["n"] == 0


def test_a_code_with_another_verifier_is_refused_and_neither_is_stored_in_clear(rig: Rig) -> None:
    ann = rig.web.member("member")
    target = rig.endpoint.sign_in(rig.asked(ann), rig.address)
    code = parse_qs(urlsplit(target).query)["code"][0]
    stolen = rig.endpoint.sign_in(rig.asked(ann), rig.address)  # of another verifier
    theirs = parse_qs(urlsplit(stolen).query)["code"][0]

    attempt = rig.answered(ann, target.replace(quote(code, safe=""), quote(theirs, safe="")))
    everything = rig.engine.rows(
        "SELECT a.*::text AS t FROM connection_attempts a UNION ALL SELECT data::text FROM sessions"
    )
    assert theirs not in str(everything)
    rig.engine.settle_down()
    assert "does not work yet" in ann.get(attempt).text
    assert rig.endpoint.answered == []


def test_without_a_client_no_sign_in_is_offered(web: Web) -> None:
    web.installation.pool(web.workspace)
    ann = web.member("owner")
    assert ann.get(f"/w/{web.workspace}/mailboxes/consent/gmail").status_code == 404
    assert ann.get(f"/w/{web.workspace}/mailboxes/consent/yahoo").status_code == 404
    search = ann.submit(f"/w/{web.workspace}/mailboxes/connect", {"address": "ann@gmail.com"})
    form = ann.get(ann.get(search.headers["Location"]).headers["Location"]).text
    assert "has not set up that sign-in" in form
    assert "Sign in with Google" not in form
