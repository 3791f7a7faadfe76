"""Signing in at real OpenID providers through the dashboard's own pages."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from werkzeug.test import TestResponse

from database import TestInstallation
from mailhearth_local.embedded.valkey import EmbeddedValkey
from openid import Issuer, OpenIdProviders, changed, parameters
from web import ADDRESS, Browser, Web, running_web

CALLBACK = ADDRESS + "/sign-in/with/{}/callback"


@dataclass
class Door:
    """A dashboard with two providers, `one` and `two`."""

    web: Web
    one: Issuer
    two: Issuer

    def visitor(self) -> Browser:
        """Nobody, from an address that no other test's limits know."""
        browser = self.web.visitor()
        browser.environ_base["REMOTE_ADDR"] = str(IPv4Address(0x0A000000 + secrets.randbits(24)))
        return browser

    def begin(self, browser: Browser, name: str = "one", **query: str) -> str:
        """Chooses a provider; returns the address at the provider."""
        answer = browser.get(f"/sign-in/with/{name}", query_string=query)
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def back(self, browser: Browser, url: str) -> TestResponse:
        """Follows the provider's way back."""
        assert url.startswith(ADDRESS + "/")
        return browser.get(url.removeprefix(ADDRESS), headers={"Sec-Fetch-Site": "cross-site"})

    def sign_in(
        self, browser: Browser, name: str = "one", *, next: str = "/account", **query: str
    ) -> TestResponse:
        issuer = self.one if name == "one" else self.two
        return self.back(browser, issuer.visit(self.begin(browser, name, next=next, **query)))

    def send(
        self, browser: Browser, path: str, *, page: str = "/account", **fields: str
    ) -> TestResponse:
        """A POST as the form of a page sends it."""
        found = re.search(
            r'name="csrf_token" (?:type="hidden" )?value="([^"]+)"', browser.get(page).text
        )
        assert found
        headers = {"Origin": ADDRESS, "Referer": ADDRESS + page}
        return browser.post(path, data={"csrf_token": found.group(1), **fields}, headers=headers)

    def audit(self) -> list[tuple[str, dict[str, Any]]]:
        rows = self.web.installation.rows(
            "SELECT action, detail FROM platform_audit_events ORDER BY at, id"
        )
        return [(row["action"], row["detail"]) for row in rows]

    def people(self) -> list[dict[str, Any]]:
        return self.web.installation.rows("SELECT id, email FROM users ORDER BY created_at")

    def sessions(self) -> int:
        """Of people who have signed in."""
        found = self.web.installation.one(
            "SELECT count(*) AS n FROM sessions WHERE user_id IS NOT NULL"
        )
        return int(found["n"])


def settings(one: Issuer, two: Issuer) -> str:
    return "\n".join(
        f"[{name}]\nlabel = 'Provider {name}'\nissuer = '{issuer.address}'\n"
        f"client_id = '{issuer.client_id}'\nclient_secret = \"{issuer.secret}\""
        for name, issuer in (("one", one), ("two", two))
    )


@pytest.fixture
def door(
    providers: OpenIdProviders, installation: TestInstallation, valkey: EmbeddedValkey
) -> Iterator[Door]:
    one, two = (providers.issuer([CALLBACK.format(name)]) for name in ("one", "two"))
    one.sign_in_as("ada-1", email="ada@example.test", email_verified=True, name="Ada L.")
    two.sign_in_as("ada-2", email="ada@example.test", email_verified=True, name="Ada L.")
    with running_web(
        installation,
        valkey,
        MAILHEARTH_OIDC_PROVIDERS=settings(one, two),
        MAILHEARTH_REGISTRATION_OPEN="true",
    ) as web:
        yield Door(web, one, two)


def cookie(browser: Browser) -> str | None:
    held = browser.get_cookie("__Host-mailhearth", domain="dash.test")
    return held.value if held else None


# -- the way in -------------------------------------------------------------------------------


def test_the_whole_way_in_and_out(door: Door) -> None:
    browser = door.visitor()
    asked_for = browser.get("/account")
    assert asked_for.status_code == 303
    assert asked_for.headers["Location"] == "/sign-in?next=%2Faccount"
    choice = browser.get(asked_for.headers["Location"])
    assert "Continue with Provider one" in choice.text
    assert "Continue with Provider two" in choice.text
    assert cookie(browser) is None  # looking leaves nothing behind
    url = door.begin(browser, next="/account")
    before = cookie(browser)
    home = door.back(browser, door.one.visit(url))
    assert (home.status_code, home.headers["Location"]) == (303, "/account")
    assert cookie(browser) not in (None, before)  # a new token at sign-in
    page = browser.get("/account")
    assert page.status_code == 200
    assert "ada@example.test" in page.text
    assert "this one" in page.text
    assert door.send(browser, "/sign-out").headers["Location"] == "/sign-in"
    assert browser.get("/account").status_code == 303
    assert door.sessions() == 0
    assert sorted(action for action, _ in door.audit()) == [
        "person.joined",
        "person.session_ended",
        "person.signed_in",
    ]


def test_what_is_secret_between_here_and_the_provider_stays_on_the_server(door: Door) -> None:
    browser = door.visitor()
    answer = browser.get("/sign-in/with/one?next=/account")
    row = door.web.installation.one("SELECT data FROM sessions")
    ((state, kept),) = row["data"]["sign_ins"].items()
    told = answer.text + str(answer.headers)
    assert state in told
    assert kept["pending"]["verifier"] not in told
    asked = parameters(answer.headers["Location"])
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == CALLBACK.format("one")


def test_a_person_who_returns_is_the_same_and_what_the_provider_says_is_kept_current(
    door: Door,
) -> None:
    door.sign_in(door.visitor())
    door.one.forget()
    door.one.sign_in_as("ada-1", email="countess@example.test", email_verified=True)
    browser = door.visitor()
    door.sign_in(browser)
    assert len(door.people()) == 1
    assert "countess@example.test" in browser.get("/account").text


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "x"]
)
def test_the_way_on_leads_to_no_other_site(door: Door, target: str) -> None:
    browser = door.visitor()
    assert door.sign_in(browser, next=target).headers["Location"] == "/"
    assert browser.get("/sign-in", query_string={"next": target}).headers["Location"] == "/"


def test_a_dangerous_page_asks_for_a_fresh_sign_in_and_comes_back(door: Door) -> None:
    browser = door.visitor()
    door.sign_in(browser)
    door.web.installation.rows(
        "UPDATE sessions SET signed_in_at = signed_in_at - interval '11 minutes'"
    )
    asked = browser.get("/account/delete").headers["Location"]
    choice = browser.get(asked)
    assert "Sign in again" in choice.text
    found = re.search(r'href="(/sign-in/with/one[^"]+)"', choice.text)
    assert found
    url = browser.get(found.group(1).replace("&amp;", "&")).headers["Location"]
    assert parameters(url)["max_age"] == "0"
    answer = door.back(browser, door.one.visit(url))
    assert answer.headers["Location"] == "/account/delete"
    assert browser.get("/account/delete").status_code == 200
    assert door.sessions() == 1  # the one before has ended


# -- what signs nobody in ---------------------------------------------------------------------


def refuse(door: Door, browser: Browser, answer: TestResponse, reason: str) -> None:
    """Nobody is signed in, a plain page says so, and the trail has it."""
    assert answer.status_code in (400, 403, 503)
    assert "Start again" in answer.text
    assert "Traceback" not in answer.text
    assert browser.get("/account").status_code == 303
    assert (door.people(), door.sessions()) == ([], 0)
    action, detail = door.audit()[-1]
    assert action == "person.sign_in_failed"
    assert detail["reason"] == reason


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"tamper": {"token": {"code_verifier": "v" * 43}}}, "code_refused"),
        ({"tamper": {"spend_codes": True}}, "code_refused"),
        ({"tamper": {"id_token": {"nonce": "another"}}}, "token_nonce"),
        ({"tamper": {"id_token": {"exp": 1_700_000_000}}}, "token_exp"),
        ({"tamper": {"id_token": {"iss": "https://elsewhere.test"}}}, "token_iss"),
        ({"person": {"deny": "The person said no."}}, "access_denied"),
    ],
)
def test_an_answer_that_proves_nothing(door: Door, behaviour: dict[str, Any], reason: str) -> None:
    door.one.set(**behaviour)
    browser = door.visitor()
    refuse(door, browser, door.sign_in(browser), reason)


def test_a_changed_issuer(door: Door) -> None:
    browser = door.visitor()
    way_back = door.one.visit(door.begin(browser))
    answer = door.back(browser, changed(way_back, iss=door.two.address))
    refuse(door, browser, answer, "wrong_issuer")
    # The answer of one provider brought to the other's address: the mix-up of RFC 9207.
    way_back = door.one.visit(door.begin(browser))
    answer = door.back(browser, way_back.replace("/with/one/", "/with/two/"))
    refuse(door, browser, answer, "state_unknown")


def test_an_answer_is_good_once_for_ten_minutes_and_in_its_own_browser(door: Door) -> None:
    browser, other = door.visitor(), door.visitor()
    way_back = door.one.visit(door.begin(browser))
    refuse(door, other, door.back(other, way_back), "state_unknown")
    refuse(door, other, door.back(other, changed(way_back, state="")), "state_unknown")
    door.web.clock.at += timedelta(minutes=11)
    refuse(door, browser, door.back(browser, way_back), "state_unknown")
    door.web.clock.at -= timedelta(minutes=11)
    way_back = door.one.visit(door.begin(browser))
    assert door.back(browser, way_back).status_code == 303
    assert door.sessions() == 1
    again = door.back(browser, way_back)  # the browser's own history, say
    assert again.status_code == 400
    assert door.sessions() == 1


def test_a_provider_that_is_away(door: Door) -> None:
    door.one.tamper(discovery={"issuer": "https://elsewhere.test"})
    browser = door.visitor()
    refuse(door, browser, browser.get("/sign-in/with/one"), "provider_away")
    assert browser.get("/sign-in/with/three").status_code == 404


def test_closed_registration(
    providers: OpenIdProviders, installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    one = providers.issuer([CALLBACK.format("one")])
    one.sign_in_as("eve-1", email="eve@example.test", email_verified=True)
    text = settings(one, one).partition("[two]")[0]
    with running_web(installation, valkey, MAILHEARTH_OIDC_PROVIDERS=text) as web:
        door = Door(web, one, one)
        browser = door.visitor()
        assert "You need an invitation" in browser.get("/sign-in").text
        refuse(door, browser, door.sign_in(browser), "registration_closed")


def test_without_redis_nobody_signs_in_and_too_many_tries_are_refused(
    door: Door, valkey: EmbeddedValkey
) -> None:
    browser = door.visitor()
    answers = [browser.get("/sign-in/with/one").status_code for _ in range(31)]
    assert answers[:30] == [303] * 30
    assert answers[30] == 429
    broken = door.web.services.guard
    broken._not_before = float("inf")  # as after a failure of Redis
    for path in ("/sign-in", "/sign-in/with/one", "/sign-in/with/one/callback?state=x"):
        assert door.visitor().get(path).status_code == 503, path


# -- identities -------------------------------------------------------------------------------


def test_two_providers_that_claim_one_address_are_two_people(door: Door) -> None:
    one, two = door.visitor(), door.visitor()
    door.sign_in(one)
    door.sign_in(two, "two")
    assert [person["email"] for person in door.people()] == ["ada@example.test"] * 2
    assert len({person["id"] for person in door.people()}) == 2
    assert "Provider two" in two.get("/account").text


def linked(door: Door, browser: Browser, name: str = "two") -> TestResponse:
    """Adds an identity as the account's page does; returns the answer to the way back."""
    onward = door.send(browser, f"/account/identities/link/{name}")
    assert onward.status_code == 200, onward.headers
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', onward.text)
    assert found
    url = found.group(1).replace("&amp;", "&")
    assert parameters(url)["max_age"] == "0"
    issuer = door.one if name == "one" else door.two
    return door.back(browser, issuer.visit(url))


def test_a_second_identity_is_added_by_fresh_sign_ins_at_both(door: Door) -> None:
    browser = door.visitor()
    door.sign_in(browser)
    door.web.clock.at += timedelta(minutes=11)
    stale = door.send(browser, "/account/identities/link/two")
    assert stale.headers["Location"] == "/sign-in?next=%2Faccount&fresh=1"
    door.web.clock.at -= timedelta(minutes=11)
    assert "Sign in again" not in browser.get("/account").text
    answer = linked(door, browser)
    assert answer.headers["Location"] == "/account"
    assert "You can sign in with it from now on" in browser.get("/account").text
    by_the_other = door.visitor()
    door.sign_in(by_the_other, "two")
    assert len(door.people()) == 1
    # It can be removed again, which ends what was signed in by it; the last cannot.
    page = browser.get("/account").text
    removals = re.findall(r'action="(/account/identities/[^"]+/remove)"', page)
    assert len(removals) == 2
    door.send(browser, removals[1])
    assert by_the_other.get("/account").status_code == 303
    assert browser.get("/account").status_code == 200
    door.send(browser, removals[0])
    assert "cannot be removed" in browser.get("/account").text
    assert door.web.installation.one("SELECT count(*) AS n FROM identities")["n"] == 1


def test_a_provider_that_did_not_ask_again_adds_nothing(door: Door) -> None:
    browser = door.visitor()
    door.sign_in(browser)
    long_ago = int(door.web.clock.now().timestamp()) - 3600
    door.two.sign_in_as("ada-2", email="ada@example.test", signed_in_at=long_ago)
    assert linked(door, browser).status_code == 400
    assert door.audit()[-1][1]["reason"] == "not_fresh"
    assert door.web.installation.one("SELECT count(*) AS n FROM identities")["n"] == 1


def test_somebody_elses_identity_is_not_taken(door: Door) -> None:
    one, two = door.visitor(), door.visitor()
    door.sign_in(one)
    door.sign_in(two, "two")
    linked(door, one)
    assert "belongs to another account" in one.get("/account").text
    assert len(door.people()) == 2
    # An answer that was meant to be added to one account signs nobody in to it elsewhere.
    onward = door.send(one, "/account/identities/link/two").text
    found = re.search(r'0;url=([^"]+)"', onward)
    assert found
    way_back = door.two.visit(found.group(1).replace("&amp;", "&"))
    assert door.back(door.visitor(), way_back).status_code == 400


def test_a_link_needs_the_pages_own_form(door: Door) -> None:
    browser = door.visitor()
    door.sign_in(browser)
    assert browser.post("/account/identities/link/two").status_code == 400
    assert browser.get("/account/identities/link/two").status_code == 405


# -- sessions and the account's end -----------------------------------------------------------


def test_sessions_are_listed_and_ended(door: Door) -> None:
    here, there, elsewhere = (door.visitor() for _ in range(3))
    for browser in (here, there, elsewhere):
        door.sign_in(browser)
    stranger = door.visitor()
    door.sign_in(stranger, "two")
    page = here.get("/account", headers={"User-Agent": "x"}).text
    ends = re.findall(r'action="(/account/sessions/[0-9a-f-]+/end)"', page)
    assert len(ends) == 3
    assert page.count("this one</span>") == 1
    for path in ends:
        door.send(stranger, path)
    assert door.sessions() == 4
    door.send(here, "/account/sessions/end-others")
    assert [b.get("/account").status_code for b in (here, there, elsewhere, stranger)] == [
        *(200, 303, 303, 200)
    ]
    (mine,) = re.findall(r'action="(/account/sessions/[0-9a-f-]+/end)"', here.get("/account").text)
    assert door.send(here, mine).headers["Location"] == "/sign-in"
    assert here.get("/account").status_code == 303


def test_the_account_is_deleted_by_typing_its_address(door: Door) -> None:
    browser = door.visitor()
    door.sign_in(browser)
    refused = door.send(browser, "/account/delete", confirmation="ada@example")
    assert refused.status_code == 422
    assert "This is not ada@example.test" in refused.text
    assert len(door.people()) == 1
    done = door.send(browser, "/account/delete", confirmation="Ada@example.test")
    assert done.headers["Location"] == "/account/deleted"
    assert browser.get("/account/deleted").status_code == 200
    assert browser.get("/account").status_code == 303
    assert (door.people(), door.sessions()) == ([], 0)


def test_the_only_owner_of_a_workspace_is_told_which(door: Door) -> None:
    browser = door.visitor()
    door.sign_in(browser)
    (person,) = door.people()
    door.web.installation.rows(
        "INSERT INTO memberships (workspace_id, user_id, role, created_at) "
        "VALUES (%s, %s, 'owner', %s)",
        *(door.web.workspace, person["id"], door.web.clock.now()),
    )
    refused = door.send(browser, "/account/delete", confirmation="ada@example.test")
    assert refused.status_code == 409
    assert "north" in refused.text
    assert len(door.people()) == 1
