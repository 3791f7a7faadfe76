"""A private key that is gone is said to be gone; nothing makes another in its place."""

from __future__ import annotations

import base64

import psycopg
import pytest

from apiserver import Json
from mailhearth_core.sealing import PrivateKey
from operating import SECONDS, WORKERS, Operating
from waiting import wait_for


def plain(secret: Json) -> Json:
    """As a backup has it: without what the server gave it."""
    kept = {key: secret["metadata"][key] for key in ("name", "labels")}
    return {**secret, "metadata": kept}


def await_missing(operating: Operating) -> None:
    operating.until("Workspace", "acme", "KeysReady", "False", "KeysMissing")
    operating.until("Workspace", "acme", "Ready", "False", "KeysMissing")
    operating.until("MailboxPool", "sales", "KeysReady", "False", "KeysMissing")
    operating.until("MailboxPool", "sales", "Ready", "False", "KeysMissing")


def await_recovery(operating: Operating) -> None:
    operating.until("Workspace", "acme", "Ready", "True")
    operating.until("Workspace", "acme", "KeysReady", "True", "KeysPresent")
    operating.until("MailboxPool", "sales", "Ready", "True")


def test_a_deleted_key_is_missed_until_the_very_same_comes_back(operating: Operating) -> None:
    operating.settle()
    (name,) = operating.key_secrets()
    kept = plain(operating.get("Secret", name) or {})
    before = operating.get("Deployment", WORKERS)
    operating.delete("Secret", name)
    await_missing(operating)
    told = operating.condition("Workspace", "acme", "KeysReady")["message"]
    assert all(part in told for part in ("keys restore", "keys abandon", name))
    wait_for(lambda: operating.events("KeysMissing"))
    operating.look()
    assert operating.key_secrets() == []
    assert operating.get("Deployment", WORKERS) == before

    other = base64.b64encode(PrivateKey.generate().raw()).decode()
    operating.api.must("POST", operating.path("Secret"), {**kept, "data": {"private": other}})
    wait_for(lambda: "differs" in operating.condition("Workspace", "acme", "KeysReady")["message"])
    await_missing(operating)

    operating.delete("Secret", name)
    operating.api.must("POST", operating.path("Secret"), kept)
    await_recovery(operating)
    assert operating.key_secrets() == [name]


def test_a_database_restored_without_its_secrets_waits_for_them(operating: Operating) -> None:
    operating.settle()
    workspace_id = operating.workspace_id()
    (name,) = operating.key_secrets()
    kept = plain(operating.get("Secret", name) or {})
    operating.stop()
    for secret in operating.listed("Secret"):
        operating.delete("Secret", secret["metadata"]["name"])
    for kind, resource in (("MailboxPool", "sales"), ("Workspace", "acme")):
        operating.delete(kind, resource)
    operating.resources.created("Workspace", "acme", {"timezone": "Europe/Berlin"})
    operating.resources.created("MailboxPool", "sales", {"workspaceRef": {"name": "acme"}})
    operating.start()
    await_missing(operating)
    operating.look()
    assert operating.key_secrets() == []
    operating.api.must("POST", operating.path("Secret"), kept)
    operating.until("Workspace", "acme", "Ready", "True")
    assert operating.workspace_id() == workspace_id
    rows = operating.installation.rows("SELECT version, state FROM key_versions")
    assert rows == [{"version": 1, "state": "active"}]


def test_a_resource_whose_workspace_the_database_does_not_know_is_not_given_another(
    operating: Operating,
) -> None:
    operating.settle()
    operating.stop()
    operating.installation.rows("TRUNCATE workspaces CASCADE")  # an older backup, or another one
    operating.start()
    operating.until("Workspace", "acme", "Ready", "False", "WorkspaceLost")
    assert len(operating.key_secrets()) == 1
    assert operating.installation.rows("SELECT 1 FROM workspaces") == []
    operating.delete("Workspace", "acme")
    operating.resources.created("Workspace", "acme", {})
    operating.until("Workspace", "acme", "Ready", "True")


def test_a_login_that_is_gone_is_made_anew_and_works(operating: Operating) -> None:
    operating.settle()
    workspace_id = operating.workspace_id()
    name = f"mailhearth-login-{workspace_id}"
    role = operating.installation.roles.worker_login(workspace_id)
    before = operating.password()
    assert before is not None
    operating.sign_in(before)
    operating.delete("Secret", name)
    wait_for(lambda: operating.password() not in (None, before), SECONDS)
    after = operating.password() or ""
    operating.sign_in(after)
    with pytest.raises(psycopg.OperationalError):
        operating.sign_in(before)

    # A database restored without its roles: workers go on with the password that they have.
    operating.installation.rows(f'DROP ROLE "{role}"')
    operating.look()
    operating.sign_in(after)
    assert operating.password() == after
