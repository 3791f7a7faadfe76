"""Every view carries one rule, and the rules hold."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from mailhearth_core.access import Permission
from mailhearth_web.frame.access import (
    FRESH_FOR,
    access_of,
    allow,
    fresh,
    may,
    platform_admin,
    public,
    safe_path,
    signed_in,
)
from mailhearth_web.frame.visit import visit
from web import ROLES, Web


def test_every_view_carries_exactly_one_rule(web: Web) -> None:
    rules = {endpoint: access_of(view).kind for endpoint, view in web.app.view_functions.items()}
    assert [endpoint for endpoint, kind in rules.items() if kind is None] == []
    assert len(rules) > 10
    for rule in web.app.url_map.iter_rules():
        in_workspace = "workspace" in rule.arguments
        assert (rules[rule.endpoint] == "workspace") == in_workspace, rule
        if in_workspace:
            assert rule.rule.startswith("/w/<uuid:workspace>/"), rule


def test_two_rules_on_one_view_are_refused() -> None:
    with pytest.raises(TypeError, match="two access rules"):

        @public
        @signed_in
        def view() -> str:
            return ""


def test_a_view_without_a_rule_is_closed(web: Web) -> None:
    web.app.add_url_rule("/t/forgotten", endpoint="t.forgotten", view_func=lambda: "open")
    response = web.admin().get("/t/forgotten")
    assert response.status_code == 500
    assert "open" not in response.text


def add_views(web: Web) -> None:
    @allow(Permission.MANAGE_MEMBERS)
    def manage(number: int) -> str:
        place = visit().place
        assert place is not None
        return f"{number} {place.name} {place.role} {may(Permission.DELETE_WORKSPACE)}"

    @fresh
    @allow(Permission.LOOK)
    def careful() -> str:
        return "done"

    @platform_admin
    def rule() -> str:
        return "ruled"

    web.app.add_url_rule(
        "/w/<uuid:workspace>/t/manage/<int:number>", endpoint="t.manage", view_func=manage
    )
    web.app.add_url_rule(
        "/w/<uuid:workspace>/t/careful",
        endpoint="t.careful",
        view_func=careful,
        methods=["GET", "POST"],
    )
    web.app.add_url_rule("/t/rule", endpoint="t.rule", view_func=rule)


def test_a_workspace_page_is_for_those_whose_role_allows_it(web: Web) -> None:
    add_views(web)
    page = f"/w/{web.workspace}/t/manage/7"
    found = {role: web.member(role).get(page) for role in ROLES}
    assert {role: response.status_code for role, response in found.items()} == {
        "owner": 200,
        "admin": 200,
        "member": 403,
        "readonly": 403,
    }
    assert found["owner"].text == "7 north owner True"
    assert found["admin"].text == "7 north admin False"
    assert "Your role in this workspace, member, does not allow this." in found["member"].text


def test_an_outsider_an_administrator_and_a_made_up_id_get_the_same_answer(web: Web) -> None:
    add_views(web)
    outsider, admin = web.outsider(), web.admin()
    pages = [
        outsider.get(f"/w/{web.workspace}/t/manage/7"),
        admin.get(f"/w/{web.workspace}/t/manage/7"),
        outsider.get(f"/w/{uuid4()}/t/manage/7"),
    ]
    assert {page.status_code for page in pages} == {404}
    texts = {p.text.replace(p.headers["X-Request-ID"], "ID") for p in pages}
    assert len(texts) == 1


def test_a_changed_role_and_a_removal_count_from_the_next_request(web: Web) -> None:
    add_views(web)
    ann = web.member("admin")
    page = f"/w/{web.workspace}/t/manage/7"
    assert ann.get(page).status_code == 200
    web.installation.rows("UPDATE memberships SET role = 'readonly'")
    assert ann.get(page).status_code == 403
    web.installation.rows("DELETE FROM memberships")
    assert ann.get(page).status_code == 404


def test_a_visitor_is_sent_to_sign_in_and_back(web: Web) -> None:
    add_views(web)
    path = f"/w/{web.workspace}/t/manage/7?sort=x&dir=asc"
    response = web.visitor().get(path)
    assert response.status_code == 303
    target = urlsplit(response.headers["Location"])
    assert target.path == "/sign-in"
    assert parse_qs(target.query) == {"next": [path]}
    part = web.visitor().get(
        path, headers={"HX-Request": "true", "HX-Current-URL": "https://dash.test/w/1/?a=b"}
    )
    assert part.status_code == 204
    assert part.headers["HX-Redirect"] == "/sign-in?next=%2Fw%2F1%2F%3Fa%3Db"


def test_a_dangerous_deed_asks_for_a_recent_sign_in(web: Web) -> None:
    add_views(web)
    ann = web.member("readonly")
    page = f"/w/{web.workspace}/t/careful"
    web.clock.at += FRESH_FOR
    assert ann.submit(page).text == "done"
    web.clock.at += timedelta(seconds=1)
    response = ann.submit(page)
    assert response.status_code == 303
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert query == {"next": ["/"], "fresh": ["1"]}
    from_page = ann.post(
        page,
        data={"csrf_token": ann.csrf},
        headers={"Referer": f"https://dash.test{page}?x=1", "Origin": "https://dash.test"},
    )
    assert parse_qs(urlsplit(from_page.headers["Location"]).query)["next"] == [f"{page}?x=1"]


def test_administration_is_for_platform_admins(web: Web) -> None:
    add_views(web)
    assert web.admin().get("/t/rule").text == "ruled"
    assert web.member("owner").get("/t/rule").status_code == 403


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/w/1/?a=b", "/w/1/?a=b"),
        ("", "/"),
        (None, "/"),
        ("https://evil.test/", "/"),
        ("//evil.test/", "/"),
        ("/\\evil.test", "/"),
        ("/\t/evil.test", "/"),
        ("javascript:alert(1)", "/"),
        ("evil", "/"),
    ],
)
def test_what_follows_a_sign_in_is_never_another_site(given: str | None, kept: str) -> None:
    assert safe_path(given) == kept
