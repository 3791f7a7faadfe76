"""A workspace and a pool applied: bound, keyed, projected, sealed, and all objects there."""

from __future__ import annotations

from operating import ANN, Operating
from waiting import wait_for


def pool(operating: Operating, **changes: object) -> None:
    spec = {"workspaceRef": {"name": "acme"}, **changes}
    operating.resources.created("MailboxPool", "sales", spec)


def test_two_resources_make_all_that_warmup_needs(operating: Operating) -> None:
    operating.secret("ann", ANN)
    pool(operating, mailboxes=[{"secretName": "ann"}])
    operating.until("MailboxPool", "sales", "Ready", "Unknown", "WorkspaceNotFound")
    operating.resources.created("Workspace", "acme", {"timezone": "Europe/Berlin"})
    operating.until("Workspace", "acme", "Ready", "True")
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    wait_for(lambda: operating.get("Deployment", "sales-workers") is not None)
    operating.until("MailboxPool", "sales", "Ready", "False", "Unavailable")
    operating.roll_out("sales-workers")
    operating.until("MailboxPool", "sales", "Ready", "True", "AsWished")
    counted = ("Workspace", "acme")
    wait_for(lambda: (operating.get(*counted) or {})["status"].get("mailboxes") == 1)
    place = {"namespace": operating.namespace, "pool": "sales"}
    shown = operating.registry.get_sample_value
    assert shown("mailhearth_pool_available_workers", place) == 1
    # ann's first sign-in
    wait_for(lambda: shown("mailhearth_pool_due_actions", place) == 1)
