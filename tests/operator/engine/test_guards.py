"""A workspace belongs to one resource of one installation, whoever else looks at it."""

from __future__ import annotations

from pathlib import Path

from apiserver import ApiServer
from custom_resources import Resources
from database import Cluster, TestInstallation, fresh_installation
from operating import SECONDS, Operating
from waiting import wait_for


def test_the_same_name_in_another_namespace_is_another_workspace(
    api: ApiServer, resources: Resources, installation: TestInstallation
) -> None:
    other = Resources(api, api.make_namespace())
    watched = {"MAILHEARTH_NAMESPACES": f"{resources.namespace},{other.namespace}"}
    with Operating(api, resources, installation, environ=watched) as operating:
        operating.settle()
        there = Operating(api, other, installation)  # to look at it; it is not started
        other.created("Workspace", "acme", {})
        other.created("MailboxPool", "sales", {"workspaceRef": {"name": "acme"}})
        there.until("Workspace", "acme", "Ready", "True")
        wait_for(lambda: there.get("Deployment", "sales-workers") is not None, SECONDS)
        assert there.workspace_id() != operating.workspace_id()
        for one in (operating, there):
            assert one.key_secrets() == [f"mailhearth-key-{one.workspace_id()}-1"]
            deployment = one.get("Deployment", "sales-workers") or {}
            mounted = str(deployment["spec"]["template"]["spec"]["volumes"])
            assert str(one.workspace_id()) in mounted
        foreign = str(operating.workspace_id())
        assert foreign not in str(there.get("Deployment", "sales-workers"))


def test_another_installation_leaves_a_resource_alone(
    operating: Operating, cluster: Cluster, tmp_path: Path
) -> None:
    operating.settle()
    versions = operating.versions()
    folder = tmp_path / "other"
    folder.mkdir()
    changes = {"installation": "tests/two", "image": "mailhearth:other"}
    with (
        fresh_installation(cluster, folder) as elsewhere,
        Operating(operating.api, operating.resources, elsewhere, changes) as other,
    ):
        wait_for(lambda: operating.events("OtherInstallation"), SECONDS)
        other.look()
        operating.resources.created("MailboxPool", "more", {"workspaceRef": {"name": "acme"}})
        wait_for(lambda: operating.get("Deployment", "more-workers") is not None, SECONDS)
        other.look()
        assert elsewhere.rows("SELECT 1 FROM workspaces") == []
        assert elsewhere.rows("SELECT 1 FROM pools") == []
        now = operating.versions()
        assert {key: now[key] for key in versions} == versions
        status = (operating.get("MailboxPool", "more") or {})["status"]
        assert status["installation"] == "tests/one"
        image = (operating.get("Deployment", "more-workers") or {})["spec"]["template"]["spec"]
        assert image["containers"][0]["image"] == "mailhearth:test"
        assert len(operating.key_secrets()) == 1
        # Handed over: as the event says, once the first one is gone.
        operating.stop()
        for kind, name in (
            ("MailboxPool", "sales"),
            ("MailboxPool", "more"),
            ("Workspace", "acme"),
        ):
            operating.resources.patch(kind, name, {"status": None}, "status")
        wait_for(lambda: len(elsewhere.rows("SELECT 1 FROM workspaces")) == 1, SECONDS)
        operating.until("Workspace", "acme", "Ready", "True")
    operating.start()


def test_two_copies_at_once_make_one_key_and_one_login(
    operating: Operating, api: ApiServer, resources: Resources, installation: TestInstallation
) -> None:
    names = [f"w{number}" for number in range(6)]
    with Operating(api, resources, installation):
        for name in names:
            resources.created("Workspace", name, {})
            resources.created("MailboxPool", f"{name}-pool", {"workspaceRef": {"name": name}})
        for name in names:
            operating.until("Workspace", name, "Ready", "True")
            wait_for(lambda: operating.get("Deployment", f"{name}-pool-workers"), SECONDS)  # noqa: B023
        ids = {operating.workspace_id(name) for name in names}
        assert len(ids) == len(names)
        assert sorted(operating.key_secrets()) == sorted(f"mailhearth-key-{one}-1" for one in ids)
        assert len(installation.rows("SELECT 1 FROM workspaces")) == len(names)
        rows = installation.rows("SELECT version, state FROM key_versions")
        assert [(row["version"], row["state"]) for row in rows] == [(1, "active")] * len(names)
        for name in names:
            operating.sign_in(operating.password(name) or "", name)
        # Neither writes what the other wrote already.
        operating.look()
        versions = operating.versions()
        operating.look()
        assert operating.versions() == versions
