"""People invite, join, change and leave, each on pages of their own; changes hold at once."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from mailhearth_core.verbs import members
from web import Browser, Web

LINK = re.compile(r"https://dash\.test(/invitations/[A-Za-z0-9_-]{43})")


def text(response: object) -> str:
    return str(response.get_data(as_text=True))  # type: ignore[attr-defined]


def role_of(web: Web, browser: Browser) -> str | None:
    assert browser.person is not None
    place = members.place(web.services.database, browser.person.id, web.workspace)
    return place.role.value if place else None


def path(web: Web, browser: Browser, deed: str) -> str:
    assert browser.person is not None
    return f"/w/{web.workspace}/members/{browser.person.id}/{deed}"


def invite(web: Web, by: Browser, email: str, role: str = "member", **more: str) -> str:
    made = by.submit(f"/w/{web.workspace}/members/invite", {"email": email, "role": role, **more})
    assert made.status_code == 200
    found = LINK.search(text(made))
    assert found, text(made)
    return found.group(1)


def known(web: Web, name: str, *, verified: bool = True) -> Browser:
    """Somebody whose issuer vouches for their address."""
    person = web.person(name)
    web.installation.rows(
        "INSERT INTO identities VALUES ('https://issuer.test', %s, %s, %s, %s, %s, %s)",
        *(name, person.id, person.email, verified, web.clock.now(), web.clock.now()),
    )
    return web.browser(person)


def test_an_invitation_is_made_opened_and_accepted_by_the_address_it_is_for(web: Web) -> None:
    owner = web.member("owner")
    link = invite(web, owner, "Bob@people.test")
    listed = text(owner.get(f"/w/{web.workspace}/members"))
    assert "bob@people.test" in listed
    assert link.rsplit("/", 1)[1] not in listed, "the link is shown once"

    visitor = web.visitor()
    shown = visitor.get(link)
    assert shown.status_code == 200
    assert "north" in text(shown)
    assert "/sign-in?next=" in text(shown)
    assert visitor.post(link).status_code in (303, 400)

    eve, unverified = known(web, "eve"), known(web, "bob2", verified=False)
    for other in (eve, unverified):
        refused = other.submit(link)
        assert (refused.status_code, "another address" in text(refused)) == (403, True)
    bob = known(web, "bob")
    assert "Join north" in text(bob.get(link))
    assert role_of(web, bob) is None, "looking joins nobody"
    assert bob.submit(link).status_code == 303
    assert role_of(web, bob) == "member"
    again = known(web, "bob3").submit(link)
    assert (again.status_code, "used, withdrawn or has expired" in text(again)) == (404, True)


def test_a_visitor_with_an_invitation_is_let_in_by_the_sign_in(web: Web) -> None:
    link = invite(web, web.member("owner"), "new@people.test")
    visitor = web.visitor()
    visitor.get(link)
    (row,) = web.installation.rows("SELECT data FROM sessions WHERE user_id IS NULL")
    stored = web.installation.one("SELECT encode(token_hash, 'hex') AS h FROM invitations")
    assert row["data"]["invitation"] == stored["h"]


def test_an_invitation_ends(web: Web) -> None:
    owner = web.member("owner")
    late = invite(web, owner, "late@people.test", any_address="y")
    withdrawn = invite(web, owner, "out@people.test")
    (row,) = web.installation.rows("SELECT id FROM invitations WHERE email = 'out@people.test'")
    done = owner.submit(f"/w/{web.workspace}/members/invitations/{row['id']}/withdraw")
    assert done.status_code == 303
    assert web.visitor().get(withdrawn).status_code == 404
    assert web.visitor().get(late).status_code == 200
    web.clock.at += timedelta(days=7)
    assert web.visitor().get(late).status_code == 404
    assert known(web, "anyone").submit(late).status_code == 404


@pytest.mark.parametrize(
    ("email", "role", "problem"),
    [
        ("", "member", "Whom do you invite?"),
        ("not an address", "member", "This is not an address"),
        ("a@people.test", "emperor", "Not a valid choice"),
    ],
)
def test_mistakes_stand_beside_the_field_and_what_was_typed_stays(
    web: Web, email: str, role: str, problem: str
) -> None:
    refused = web.member("admin").submit(
        f"/w/{web.workspace}/members/invite", {"email": email, "role": role}
    )
    assert refused.status_code == 422
    assert problem in text(refused)
    assert f'value="{email}"' in text(refused)
    assert web.installation.rows("SELECT 1 FROM invitations") == []


def test_what_each_role_sees_and_may(web: Web) -> None:
    page = f"/w/{web.workspace}/members"
    who = {role: web.member(role) for role in ("owner", "admin", "member", "readonly")}
    for role in ("member", "readonly"):
        assert who[role].get(page).status_code == 200
        assert "Invite somebody" not in text(who[role].get(page))
        for deed in ("role", "remove"):
            refused = who[role].submit(path(web, who["admin"], deed), {"role": "readonly"})
            assert refused.status_code == 403
        asked = who[role].submit(f"{page}/invite", {"email": "x@people.test", "role": "member"})
        assert asked.status_code == 403
    assert "Invite somebody" in text(who["admin"].get(page))
    # What an admin is not offered is refused all the same.
    for deed in ("role", "remove"):
        refused = who["admin"].submit(path(web, who["owner"], deed), {"role": "member"})
        assert refused.status_code == 403
    up = who["admin"].submit(path(web, who["admin"], "role"), {"role": "owner"})
    assert up.status_code == 403
    owner_invited = who["admin"].submit(
        f"{page}/invite", {"email": "x@people.test", "role": "owner"}
    )
    assert owner_invited.status_code == 422
    assert {role: role_of(web, browser) for role, browser in who.items()} == {r: r for r in who}
    outsider = web.outsider()
    assert outsider.get(page).status_code == 404
    assert outsider.submit(path(web, who["owner"], "remove")).status_code == 404
    assert web.visitor().get(page).status_code == 303


def test_a_change_holds_on_the_next_click(web: Web) -> None:
    page = f"/w/{web.workspace}/members"
    owner, other = web.member("owner"), web.member("admin")
    assert "Invite somebody" in text(other.get(page))
    assert owner.submit(path(web, other, "role"), {"role": "readonly"}).status_code == 303
    assert "Invite somebody" not in text(other.get(page))
    assert owner.submit(path(web, other, "remove")).status_code == 303
    assert other.get(page).status_code == 404
    assert owner.submit(path(web, other, "remove")).status_code == 404
    assert owner.submit(path(web, other, "role"), {"role": "nonsense"}).status_code == 422


def test_the_last_owner_is_told_to_stay(web: Web) -> None:
    owner = web.member("owner")
    for deed in (
        f"/w/{web.workspace}/members/leave",
        path(web, owner, "remove"),
        path(web, owner, "role"),
    ):
        answer = owner.submit(deed, {"role": "admin"}, follow_redirects=True)
        assert "needs an owner" in text(answer), deed
    assert role_of(web, owner) == "owner"
    second = web.member("owner")
    assert owner.submit(f"/w/{web.workspace}/members/leave").status_code == 303
    assert (role_of(web, owner), role_of(web, second)) == (None, "owner")


def test_a_form_without_its_token_changes_nothing(web: Web) -> None:
    owner, other = web.member("owner"), web.member("member")
    refused = owner.post(path(web, other, "remove"), headers={"Origin": web.address})
    assert refused.status_code == 400
    assert role_of(web, other) == "member"
