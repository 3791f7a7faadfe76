"""Resources deleted: what stays, what goes, and that it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailhearth_core.provisioning import shared
from mailhearth_operator.engine import finalizer, pools
from operating import ANN, SECONDS, Operating, database_away
from waiting import wait_for

FINALIZER = "mailhearth.io/delete-data"


def state(operating: Operating) -> str:
    found: str = operating.installation.one("SELECT state FROM workspaces")["state"]
    return found


def mailbox_state(operating: Operating) -> str:
    found: str = operating.installation.one("SELECT state FROM mailboxes")["state"]
    return found


def is_held(operating: Operating, kind: str, name: str) -> bool:
    obj = operating.get(kind, name)
    return obj is not None and FINALIZER in obj["metadata"].get("finalizers", ())


@pytest.fixture
def with_ann(operating: Operating) -> Operating:
    operating.secret("ann", ANN)
    operating.settle(mailboxes=[{"secretName": "ann"}])
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    return operating


@pytest.mark.parametrize("running", [True, False], ids=["at once", "after the operator was down"])
def test_what_is_retained_rests_and_is_taken_up_again(with_ann: Operating, running: bool) -> None:
    workspace_id, pool_id = with_ann.workspace_id(), with_ann.pool_id()
    if not running:
        with_ann.stop()
    with_ann.delete("MailboxPool", "sales")
    with_ann.delete("Workspace", "acme")  # no finalizer: gone at once
    assert with_ann.get("Workspace", "acme") is None
    if not running:
        with_ann.start()
    wait_for(lambda: state(with_ann) == "suspended", SECONDS)
    wait_for(lambda: mailbox_state(with_ann) == "paused", SECONDS)
    assert len(with_ann.key_secrets()) == 1
    with_ann.delete("Deployment", "sales-workers")  # as the garbage collector does
    with_ann.resources.created("Workspace", "acme", {})
    spec = {"workspaceRef": {"name": "acme"}, "mailboxes": [{"secretName": "ann"}]}
    with_ann.resources.created("MailboxPool", "sales", spec)
    with_ann.until("Workspace", "acme", "Ready", "True")
    with_ann.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    assert (with_ann.workspace_id(), with_ann.pool_id()) == (workspace_id, pool_id)
    assert (state(with_ann), mailbox_state(with_ann)) == ("active", "active")
    assert len(with_ann.key_secrets()) == 1


def is_to_take_its_mail_out(operating: Operating) -> None:
    """The workspace goes with its data; its mailbox has warmup mail, and no worker takes it out."""
    operating.patch("Workspace", "acme", {"spec": {"deletionPolicy": "Delete"}})
    for kind, name in (("Workspace", "acme"), ("MailboxPool", "sales")):
        wait_for(lambda: is_held(operating, kind, name), SECONDS)  # noqa: B023
    operating.installation.rows("UPDATE mailboxes SET connected_at = created_at")
    operating.installation.rows(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at)"
        " SELECT workspace_id, id, 'purge', created_at FROM mailboxes"
    )


def test_a_workspace_with_delete_takes_its_data_along_and_its_keys_last(
    with_ann: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_to_take_its_mail_out(with_ann)
    with_ann.delete("Workspace", "acme")
    with_ann.until("Workspace", "acme", "Progressing", "True", "Deleting")
    wait_for(lambda: state(with_ann) == "deleting", SECONDS)
    wait_for(lambda: with_ann.events("Deleting"))
    with_ann.look()
    assert is_held(with_ann, "Workspace", "acme")
    assert len(with_ann.key_secrets()) == 1  # its workers still need it
    assert with_ann.get("Deployment", "sales-workers") is not None
    monkeypatch.setattr(shared, "PURGE_SECONDS", 0.0)
    wait_for(lambda: with_ann.get("Workspace", "acme") is None, SECONDS)
    assert with_ann.key_secrets() == []
    assert with_ann.installation.rows("SELECT 1 FROM workspaces") == []
    assert with_ann.listed("Secret", "mailhearth.io/login") == []


def test_a_pool_that_is_deleted_with_its_workspace_keeps_its_workers_to_the_end(
    with_ann: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_to_take_its_mail_out(with_ann)
    with_ann.delete("MailboxPool", "sales")  # in the order of `kubectl delete -f FOLDER`
    with_ann.delete("Workspace", "acme")
    wait_for(lambda: state(with_ann) == "deleting", SECONDS)
    with_ann.delete("Deployment", "sales-workers")
    wait_for(lambda: with_ann.get("Deployment", "sales-workers") is not None, SECONDS)
    with_ann.look()
    assert is_held(with_ann, "MailboxPool", "sales")
    monkeypatch.setattr(shared, "PURGE_SECONDS", 0.0)
    wait_for(lambda: with_ann.get("Workspace", "acme") is None, SECONDS)
    wait_for(lambda: with_ann.get("MailboxPool", "sales") is None, SECONDS)


def test_a_pool_that_is_deleted_alone_goes_and_its_mailboxes_rest(
    with_ann: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TOGETHER", timedelta())
    with_ann.patch("Workspace", "acme", {"spec": {"deletionPolicy": "Delete"}})
    wait_for(lambda: is_held(with_ann, "MailboxPool", "sales"), SECONDS)
    with_ann.delete("MailboxPool", "sales")
    wait_for(lambda: with_ann.get("MailboxPool", "sales") is None, SECONDS)
    wait_for(lambda: mailbox_state(with_ann) == "paused", SECONDS)
    assert state(with_ann) == "active"


def test_a_pool_with_delete_removes_its_mailboxes(with_ann: Operating) -> None:
    with_ann.patch("MailboxPool", "sales", {"spec": {"deletionPolicy": "Delete"}})
    wait_for(lambda: is_held(with_ann, "MailboxPool", "sales"), SECONDS)
    with_ann.delete("MailboxPool", "sales")
    wait_for(lambda: with_ann.get("MailboxPool", "sales") is None, SECONDS)
    assert mailbox_state(with_ann) == "removed"
    assert with_ann.installation.rows("SELECT 1 FROM sealed_credentials") == []


def test_the_finalizer_goes_when_the_data_are_to_stay(with_ann: Operating) -> None:
    for policy, held in (("Delete", True), ("Retain", False)):
        for kind, name in (("Workspace", "acme"), ("MailboxPool", "sales")):
            with_ann.patch(kind, name, {"spec": {"deletionPolicy": policy}})
            wait_for(lambda: is_held(with_ann, kind, name) is held, SECONDS)  # noqa: B023


def test_a_database_that_stays_away_does_not_hold_a_resource_for_ever(
    with_ann: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, name in (("Workspace", "acme"), ("MailboxPool", "sales")):
        with_ann.patch(kind, name, {"spec": {"deletionPolicy": "Delete"}})
        wait_for(lambda: is_held(with_ann, kind, name), SECONDS)  # noqa: B023
    with database_away(with_ann.installation):
        for kind, name in (("Workspace", "acme"), ("MailboxPool", "sales")):
            with_ann.delete(kind, name)
        with_ann.until("Workspace", "acme", "Ready", "Unknown", "DatabaseUnavailable")
        assert is_held(with_ann, "Workspace", "acme")
        monkeypatch.setattr(finalizer, "LONGEST_END", timedelta())
        with_ann.operator.reconciler.add_all()
        wait_for(lambda: with_ann.get("Workspace", "acme") is None, 40)
        wait_for(lambda: with_ann.get("MailboxPool", "sales") is None, 40)
        wait_for(lambda: len(with_ann.events("DeletionTimedOut")) == 2)
    assert len(with_ann.key_secrets()) == 1
