"""Pools in the dashboard: made, changed through the outbox, refused when stale or out of bounds."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from mailhearth_core.warmup.policy import PRESETS, RAMP, Policy
from web import Browser, Web


@pytest.fixture
def pool(web: Web) -> UUID:
    return web.installation.pool(web.workspace)


def fields(browser: Browser, path: str) -> dict[str, str]:
    """What the page's form holds, as a browser would send it."""
    text = browser.get(path).text
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", text):
        names = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if names.get("type") in ("checkbox", "radio") and " checked" not in tag:
            continue
        if "name" in names:
            found[names["name"]] = names.get("value", "")
    for name, body in re.findall(r'<select[^>]*name="(\w+)"[^>]*>(.*?)</select>', text, re.S):
        chosen = re.search(r'<option selected value="([^"]*)"', body)
        found[name] = chosen[1] if chosen else ""
    return found


def stored(web: Web, pool: UUID) -> dict[str, Any]:
    return web.installation.one("SELECT policy, generation FROM pools WHERE id = %s", pool)


def test_a_change_goes_through_the_outbox_and_takes_effect(web: Web, pool: UUID) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/{pool}"
    answer = owner.submit(path, fields(owner, path) | {"cap": "30", "window_end": "18:30"})
    assert answer.status_code == 303, answer.text
    assert "is being carried out" in owner.get(path).text
    assert stored(web, pool)["policy"]["cap"] == Policy().cap, (
        "the web tier itself changes no policy"
    )
    web.installation.provisioner.reconcile()
    policy = stored(web, pool)["policy"]
    assert (policy["cap"], policy["window_end"], policy["mode"]) == (30, "18:30", "custom")
    wish = web.installation.one(
        "SELECT actor, seen_generation FROM commands WHERE kind = 'pool.set'"
    )
    assert owner.person is not None
    assert wish == {"actor": owner.person.email, "seen_generation": 1}
    assert "is being carried out" not in owner.get(path).text


def test_nothing_changed_wishes_nothing(web: Web, pool: UUID) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/{pool}"
    assert owner.submit(path, fields(owner, path)).status_code == 303
    assert web.installation.rows("SELECT 1 FROM commands WHERE kind = 'pool.set'") == []


def test_a_preset_fills_the_form_and_saves_nothing(web: Web, pool: UUID) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/{pool}"
    answer = owner.submit(path, fields(owner, path) | {"preset": "aggressive", "flag_percent": "9"})
    assert answer.status_code == 200
    preset = {name: str(n) for name, n in zip(RAMP, PRESETS["aggressive"], strict=True)}
    for name, value in preset.items():
        assert f'name="{name}" type="text" value="{value}"' in answer.text
    assert 'name="flag_percent" type="text" value="9"' in answer.text
    sent = fields(owner, path) | {"mode": "aggressive"} | preset
    assert owner.submit(path, sent).status_code == 303
    web.installation.provisioner.reconcile()
    assert stored(web, pool)["policy"]["mode"] == "aggressive"


def test_mistakes_stand_beside_their_fields_and_what_was_typed_is_kept(
    web: Web, pool: UUID
) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/{pool}"
    wrong = {"cap": "500", "window_start": "later", "reply_delay_min_minutes": "20000"}
    answer = owner.submit(path, fields(owner, path) | wrong)
    assert answer.status_code == 422
    for name, value in wrong.items():
        assert f'name="{name}" type="text" value="{value}"' in answer.text
        assert f'id="{name}-error"' in answer.text
    assert "a whole number from 1 to 50" in answer.text
    assert web.installation.rows("SELECT 1 FROM commands WHERE kind = 'pool.set'") == []


def test_a_stale_edit_is_refused_and_shown(web: Web, pool: UUID) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/{pool}"
    old = fields(owner, path)
    assert owner.submit(path, old | {"cap": "25"}).status_code == 303
    web.installation.provisioner.reconcile()
    answer = owner.submit(path, old | {"cap": "40"})
    assert answer.status_code == 422
    assert "Somebody changed this pool" in answer.text
    assert 'name="cap" type="text" value="40"' in answer.text
    assert stored(web, pool)["policy"]["cap"] == 25

    # One that becomes stale in the outbox is refused there, and the page tells it.
    for cap in ("26", "27"):
        assert owner.submit(path, fields(owner, path) | {"cap": cap}).status_code == 303
    web.installation.provisioner.reconcile()
    assert stored(web, pool)["policy"]["cap"] == 26
    assert "was refused" in owner.get(path).text


@pytest.mark.parametrize("role", ["member", "readonly"])
def test_who_may_not_change_it_sees_it(web: Web, pool: UUID, role: str) -> None:
    browser, path = web.member(role), f"/w/{web.workspace}/pools/{pool}"
    text = browser.get(path).text
    assert "Read only" in text
    assert "Save the policy" not in text
    assert browser.submit(path, {"generation": "1", "cap": "30"}).status_code == 409
    assert browser.get(f"/w/{web.workspace}/pools/new").status_code == 403


def test_a_pool_that_others_manage_is_read_only_and_says_why(web: Web, pool: UUID) -> None:
    web.installation.rows("UPDATE pools SET managed_by = 'gitops'")
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/{pool}"
    assert "managed from a repository" in owner.get(path).text
    answer = owner.submit(path, {"generation": "1", "cap": "30"})
    assert answer.status_code == 409
    assert "managed from a repository" in answer.text


def test_a_new_pool_and_a_name_that_will_not_do(web: Web, pool: UUID) -> None:
    owner, path = web.member("owner"), f"/w/{web.workspace}/pools/new"
    for name, said in (("Not A Name", "not allowed"), ("main", "exists already")):
        answer = owner.submit(path, {"name": name, "mode": "standard", "peering_scope": "pool"})
        assert answer.status_code == 422
        assert said in answer.text
    sent = {"name": "second", "mode": "conservative", "peering_scope": "workspace"}
    assert owner.submit(path, sent).status_code == 303
    assert "second is being made" in owner.get(f"/w/{web.workspace}/pools").text
    web.installation.provisioner.reconcile()
    made = web.installation.one("SELECT policy, peering_scope FROM pools WHERE name = 'second'")
    assert (made["policy"]["cap"], made["peering_scope"]) == (
        PRESETS["conservative"][2],
        "workspace",
    )


def test_another_workspace_s_pool_is_not_there(web: Web, pool: UUID) -> None:
    other = web.installation.workspace("elsewhere")
    theirs = web.installation.pool(other)
    owner = web.member("owner")
    assert owner.get(f"/w/{web.workspace}/pools/{theirs}").status_code == 404
    assert owner.submit(f"/w/{web.workspace}/pools/{theirs}", {"cap": "30"}).status_code == 404
    assert owner.get(f"/w/{web.workspace}/pools/{theirs}/simulate").status_code == 404
