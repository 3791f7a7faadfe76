"""The policy of a resource is the one that is planned with."""

from __future__ import annotations

from typing import Any

from operating import SECONDS, Operating
from waiting import wait_for


def pool(operating: Operating) -> dict[str, Any]:
    return dict(operating.installation.one("SELECT policy, peering_scope, generation FROM pools"))


def test_a_change_of_the_policy_is_projected_once(operating: Operating) -> None:
    operating.settle(policy={"mode": "conservative"})
    before = pool(operating)
    assert before["policy"]["cap"] == 15
    status = (operating.get("MailboxPool", "sales") or {})["status"]
    assert status["effectivePolicy"]["cap"] == 15
    operating.patch("MailboxPool", "sales", {"spec": {"policy": {"mode": "aggressive"}}})
    wait_for(lambda: pool(operating)["policy"]["cap"] == 50, SECONDS)
    assert pool(operating)["generation"] == before["generation"] + 1

    def told() -> bool:
        found = (operating.get("MailboxPool", "sales") or {})["status"]
        return bool(found["effectivePolicy"]["cap"] == 50 and found["observedGeneration"] == 2)

    wait_for(told, SECONDS)
    operating.look()
    assert pool(operating)["generation"] == before["generation"] + 1
    operating.patch("MailboxPool", "sales", {"spec": {"peeringScope": "Workspace"}})
    wait_for(lambda: pool(operating)["peering_scope"] == "workspace", SECONDS)


def test_a_spec_that_cannot_be_followed_says_why_and_is_followed_when_mended(
    operating: Operating,
) -> None:
    operating.settle()
    before = pool(operating)
    changes = {"timezone": "Europe/Nowhere", "policy": {"mode": "conservative"}}
    operating.patch("MailboxPool", "sales", {"spec": changes})
    found = operating.until("MailboxPool", "sales", "SpecValid", "False", "SpecInvalid")
    assert "Europe/Nowhere is no time zone" in found["message"]
    operating.until("MailboxPool", "sales", "Ready", "False", "SpecInvalid")
    wait_for(lambda: operating.events("SpecInvalid"))
    operating.look()
    assert pool(operating) == before  # nothing of it was taken in
    operating.patch("MailboxPool", "sales", {"spec": {"timezone": "Europe/Paris"}})
    operating.until("MailboxPool", "sales", "SpecValid", "True")
    operating.until("MailboxPool", "sales", "Ready", "True")
    assert pool(operating)["policy"]["cap"] == 15


def test_so_does_a_workspace(operating: Operating) -> None:
    operating.settle()
    operating.patch("Workspace", "acme", {"spec": {"timezone": "Europe/Nowhere"}})
    operating.until("Workspace", "acme", "SpecValid", "False", "SpecInvalid")
    operating.until("Workspace", "acme", "Degraded", "True", "SpecInvalid")
    operating.patch("Workspace", "acme", {"spec": {"timezone": "Europe/Paris"}})
    operating.until("Workspace", "acme", "Ready", "True")
    operating.until("Workspace", "acme", "Degraded", "False")


def test_a_pool_waits_for_its_workspace_and_says_so(operating: Operating) -> None:
    operating.resources.created("MailboxPool", "sales", {"workspaceRef": {"name": "acme"}})
    found = operating.until("MailboxPool", "sales", "Ready", "Unknown", "WorkspaceNotFound")
    assert "Workspace acme" in found["message"]
    operating.resources.created("Workspace", "acme", {})
    operating.until("MailboxPool", "sales", "KeysReady", "True")
    operating.until("MailboxPool", "sales", "WorkersAvailable", "False", "Unavailable")
