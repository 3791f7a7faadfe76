"""A workspace from its making to its end, as its owner clicks it, and what others may not."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from mailhearth_web.areas.workspaces import views
from web import Browser, Web


def text(response: object) -> str:
    return str(response.get_data(as_text=True))  # type: ignore[attr-defined]


def test_a_person_makes_a_workspace_and_sees_it_being_prepared(web: Web) -> None:
    ann = web.browser(web.person("ann"))
    assert ann.get("/workspaces/new").status_code == 200
    for name, problem in (
        ("", "Give it a name"),
        ("My Team", "Use a-z"),
        ("-x", "Use a-z"),
        ("a" * 51, "At most 50"),
        ("system", "reserved"),
        ("kube-team", "reserved"),
    ):
        refused = ann.submit("/workspaces/new", {"name": name})
        assert refused.status_code == 422
        assert problem in text(refused)
        assert f'value="{name}"' in text(refused), "what was typed stays"
    made = ann.submit("/workspaces/new", {"name": "team-a"})
    assert made.status_code == 303
    assert "preparing" in text(ann.get("/workspaces"))
    web.installation.provisioner.reconcile()
    assert "preparing" not in text(ann.get("/workspaces"))
    assert web.installation.one("SELECT name FROM pools") == {"name": "main"}, "and can take mail"
    taken = web.outsider().submit("/workspaces/new", {"name": "team-a"})
    assert (taken.status_code, "exists already" in text(taken)) == (422, True)


def test_it_is_renamed_by_those_who_may(web: Web) -> None:
    path = f"/w/{web.workspace}/settings"
    admin = web.member("admin")
    assert 'value="north"' in text(admin.get(path))
    assert "/delete" not in text(admin.get(path)), "an admin is not offered what owners may"
    assert admin.submit(path, {"name": "No"}).status_code == 422
    assert admin.submit(path, {"name": "renamed"}).status_code == 303
    assert 'value="renamed"' in text(admin.get(path))
    member = web.member("member")
    assert member.get(path).status_code == 403
    assert member.submit(path, {"name": "mine"}).status_code == 403
    assert web.outsider().get(path).status_code == 404
    assert web.visitor().get(path).status_code == 303


def test_it_is_deleted_after_its_name_was_typed_by_an_owner_who_has_just_signed_in(
    web: Web,
) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/delete"
    assert web.member("admin").submit(path, {"confirmation": "north"}).status_code == 403
    assert "cannot be undone" in text(owner.get(path))
    for typed in ("", "nort", "North "):
        assert owner.submit(path, {"confirmation": typed}).status_code == 422
    web.clock.at += timedelta(minutes=11)
    stale = owner.submit(path, {"confirmation": "north"})
    assert stale.status_code == 303
    assert "fresh=1" in stale.headers["Location"]
    assert web.installation.one("SELECT state FROM workspaces")["state"] == "active"
    assert owner.person is not None
    owner = web.browser(owner.person)
    assert owner.submit(path, {"confirmation": "north"}).status_code == 303
    assert web.installation.one("SELECT state FROM workspaces")["state"] == "deleting"
    assert "deleting" in text(owner.get("/workspaces"))
    assert "is being deleted" in text(owner.get(path))
    web.installation.provisioner.reconcile()
    assert web.installation.rows("SELECT 1 FROM workspaces") == []
    assert owner.get(path).status_code == 404


def test_what_others_declare_is_deleted_where_it_is_declared(web: Web) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/delete"
    web.installation.rows("UPDATE workspaces SET managed_by = 'argocd'")
    answer = owner.submit(path, {"confirmation": "north"})
    assert answer.status_code == 422
    assert "managed by argocd" in text(answer)
    assert web.installation.one("SELECT state FROM workspaces")["state"] == "active"
    web.installation.rows("UPDATE workspaces SET managed_by = 'cluster'")
    assert owner.submit(path, {"confirmation": "north"}).status_code == 303


def export(browser: Browser, web: Web) -> tuple[int, list[dict[str, object]]]:
    answer = browser.get(f"/w/{web.workspace}/export")
    if answer.status_code != 200:
        return answer.status_code, []
    assert answer.headers["Content-Disposition"].endswith('.ndjson"')
    return 200, [json.loads(line) for line in answer.get_data().splitlines()]


def test_an_owner_takes_everything_along(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = web.member("owner")
    for role in ("admin", "member", "readonly"):
        assert export(web.member(role), web)[0] == 403
    assert export(web.outsider(), web)[0] == 404
    status, lines = export(owner, web)
    assert status == 200
    assert lines[-1]["table"] == "end"
    assert "members" in {line["table"] for line in lines}
    answers = [
        owner.get(f"/w/{web.workspace}/export", buffered=False)
        for _ in range(views.EXPORTS_AT_ONCE)
    ]
    assert owner.get(f"/w/{web.workspace}/export").status_code == 503, "two at once at most"
    for answer in answers:
        answer.close()  # a reader who goes away
    assert export(owner, web)[0] == 200
    web.clock.at += timedelta(minutes=11)
    assert export(owner, web)[0] == 303
