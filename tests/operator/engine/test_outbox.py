"""Wishes of the dashboard become resources, or are refused with who is to be asked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from database import ACTOR
from mailhearth_core.errors import Conflict
from mailhearth_core.provisioning import shared
from mailhearth_core.verbs import pools, wishes, workspaces
from operating import SECONDS, WORKERS, Operating
from waiting import wait_for


def wish_for_change(operating: Operating, changes: dict[str, str], **row: Any) -> UUID:
    installation, workspace_id = operating.installation, operating.workspace_id()
    pool = pools.find(installation.door, workspace_id, "sales") | row
    return pools.change(installation.door, workspace_id, pool, changes, ACTOR, sandbox=False)


def outcome(operating: Operating, wish: UUID) -> str:
    """Raises Conflict when it was refused."""
    return wishes.await_wish(operating.installation.door, operating.workspace_id(), wish)


def cap(operating: Operating) -> int:
    row = operating.installation.one("SELECT policy FROM pools")
    found: int = row["policy"]["cap"]
    return found


def test_a_workspace_and_a_pool_of_the_dashboard_get_resources(operating: Operating) -> None:
    installation = operating.installation
    made = workspaces.create(installation.database("cli"), "north", ACTOR)
    operating.until("Workspace", "north", "Ready", "True")
    assert operating.workspace_id("north") == made
    assert len(installation.rows("SELECT 1 FROM workspaces")) == 1
    wait_for(lambda: workspaces.find(installation.database("cli"), "north")["state"] == "active")
    wish = pools.create(installation.door, made, "main", {"cap": "17"}, ACTOR, sandbox=False)
    assert "is made" in wishes.await_wish(installation.door, made, wish)
    wait_for(lambda: operating.get("Deployment", "main-workers") is not None, SECONDS)
    (row,) = installation.rows("SELECT id, policy FROM pools")
    assert row["policy"]["cap"] == 17
    operating.until("MailboxPool", "main", "CredentialsSealed", "True")
    assert operating.pool_id("main") == row["id"]


def test_a_name_that_is_taken_in_the_namespace_is_refused(operating: Operating) -> None:
    operating.settle()
    workspaces.create(operating.installation.database("cli"), "acme", ACTOR)
    query = "SELECT state, outcome FROM commands WHERE kind = 'workspace.provision'"
    wait_for(lambda: operating.installation.one(query)["state"] == "refused", SECONDS)
    assert "exists in namespace" in operating.installation.one(query)["outcome"]
    operating.look()
    assert len(operating.key_secrets()) == 1


def test_a_change_is_a_patch_of_the_resource_and_leaves_the_rest(operating: Operating) -> None:
    operating.settle(replicas={"min": 1, "max": 5}, policy={"weekdays": ["mon"]})
    wish = wish_for_change(operating, {"mode": "custom", "cap": "12", "step": "2"})
    assert "is changed" in outcome(operating, wish)
    wait_for(lambda: cap(operating) == 12, SECONDS)
    spec = (operating.get("MailboxPool", "sales") or {})["spec"]
    assert (spec["policy"]["cap"], spec["policy"]["mode"]) == (12, "custom")
    assert spec["policy"]["weekdays"] == ["mon"]
    assert spec["replicas"]["max"] == 5
    # Back to a preset: its numbers are the preset's own again.
    wait_for(lambda: pools.find(operating.installation.door, operating.workspace_id(), "sales"))
    outcome(operating, wish_for_change(operating, {"mode": "conservative"}))
    wait_for(lambda: cap(operating) == 15, SECONDS)


def test_an_edit_of_what_has_changed_since_is_refused(operating: Operating) -> None:
    operating.settle()
    operating.patch("MailboxPool", "sales", {"spec": {"policy": {"mode": "conservative"}}})
    wait_for(lambda: cap(operating) == 15, SECONDS)
    wish = wish_for_change(operating, {"mode": "aggressive"}, generation=1)
    with pytest.raises(Conflict, match="has changed since"):
        outcome(operating, wish)
    assert cap(operating) == 15


@pytest.mark.parametrize("way", ["label", "argocd", "flux"])
def test_what_gitops_owns_is_read_only_and_it_is_said_who(operating: Operating, way: str) -> None:
    operating.settle()
    if way == "label":
        labels = {"mailhearth.io/managed-by": "gitops"}
        operating.patch("MailboxPool", "sales", {"metadata": {"labels": labels}})
        owner = "gitops"
    else:
        manager = {"argocd": "argocd-controller", "flux": "kustomize-controller"}[way]
        spec = {"workspaceRef": {"name": "acme"}, "policy": {"mode": "standard"}}
        assert operating.resources.apply("MailboxPool", "sales", spec, manager).ok
        owner = way

    def managed_by() -> str:
        found: str = operating.installation.one("SELECT managed_by FROM pools")["managed_by"]
        return found

    wait_for(lambda: managed_by() == owner, SECONDS)
    before = (operating.get("MailboxPool", "sales") or {})["spec"]
    with pytest.raises(Conflict, match=f"managed by {owner}"):
        outcome(operating, wish_for_change(operating, {"mode": "aggressive"}))
    assert (operating.get("MailboxPool", "sales") or {})["spec"] == before


def test_a_workspace_deleted_in_the_dashboard_leaves_nothing(
    operating: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PURGE_SECONDS", 0.0)
    operating.settle()
    role = operating.installation.roles.worker_login(operating.workspace_id())
    workspaces.begin_deletion(
        operating.installation.database("cli"), operating.workspace_id(), ACTOR
    )
    wait_for(lambda: operating.get("Workspace", "acme") is None, SECONDS)
    wait_for(lambda: operating.get("MailboxPool", "sales") is None, SECONDS)
    wait_for(lambda: operating.listed("Secret") == [], SECONDS)
    wait_for(lambda: operating.installation.rows("SELECT 1 FROM workspaces") == [], SECONDS)
    roles = operating.installation.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", role)
    assert roles == []
    # The name is free again.
    operating.delete("Deployment", WORKERS)
    operating.resources.created("Workspace", "acme", {})
    operating.until("Workspace", "acme", "Ready", "True")
