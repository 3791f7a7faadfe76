"""A new key is mounted by every worker before anything is sealed to it."""

from __future__ import annotations

from uuid import UUID

from database import ACTOR
from mailhearth_core.verbs import keys
from operating import ANN, SECONDS, WORKERS, Operating
from waiting import wait_for


def mounted(operating: Operating) -> list[str]:
    """Names of the key Secrets that the workers' template mounts."""
    deployment = operating.get("Deployment", WORKERS) or {}
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    (found,) = (volume for volume in volumes if volume["name"] == "keys")
    return [source["secret"]["name"] for source in found["projected"]["sources"]]


def states(operating: Operating) -> dict[int, str]:
    rows = operating.installation.rows("SELECT version, state FROM key_versions")
    return {row["version"]: row["state"] for row in rows}


def wish_state(operating: Operating, wish: UUID) -> str:
    found: str = operating.installation.one("SELECT state FROM commands WHERE id = %s", wish)[
        "state"
    ]
    return found


def test_a_rotation_is_a_rollout_that_ends_before_the_key_is_used(operating: Operating) -> None:
    operating.secret("ann", ANN)
    operating.settle(mailboxes=[{"secretName": "ann"}])
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    installation, workspace_id = operating.installation, operating.workspace_id()
    first, second = (f"mailhearth-key-{workspace_id}-{version}" for version in (1, 2))
    assert mounted(operating) == [first]

    wish = keys.rotate(installation.door, workspace_id, ACTOR)
    wait_for(lambda: mounted(operating) == [first, second], SECONDS)
    operating.until("Workspace", "acme", "Progressing", "True", "KeyRollout")
    # However often it is looked at: not used before every worker has it, and made once only.
    for _ in range(3):
        operating.look()
        operating.operator.reconciler.outbox.serve()
    assert states(operating) == {1: "active", 2: "pending"}
    assert wish_state(operating, wish) == "open"
    assert operating.key_secrets() == [first, second]

    operating.roll_out(WORKERS)
    wait_for(lambda: states(operating) == {1: "retiring", 2: "active"}, SECONDS)
    wait_for(lambda: wish_state(operating, wish) == "done", SECONDS)
    operating.until("Workspace", "acme", "Ready", "True")
    assert operating.events("KeyActive")
    assert (operating.get("Workspace", "acme") or {})["status"]["keyVersion"] == 2

    # The credential is still sealed to the old key: workers keep that until all is sealed anew.
    operating.look()
    assert states(operating) == {1: "retiring", 2: "active"}
    assert mounted(operating) == [first, second]
    installation.rows("UPDATE sealed_credentials SET key_version = 2")
    operating.look()
    wait_for(lambda: states(operating) == {1: "archived", 2: "active"}, SECONDS)
    wait_for(lambda: mounted(operating) == [second], SECONDS)
    assert operating.key_secrets() == [first, second]  # backups need it

    # What was archived may be destroyed, and only that.
    keys.destroy(installation.door, workspace_id, 1, ACTOR)
    wait_for(lambda: operating.key_secrets() == [second], SECONDS)
    wait_for(lambda: states(operating) == {1: "destroyed", 2: "active"}, SECONDS)
    operating.roll_out(WORKERS)
    operating.until("MailboxPool", "sales", "Ready", "True")
    operating.look()
    operating.until("Workspace", "acme", "KeysReady", "True")


def test_a_pool_that_shares_the_workers_is_waited_for_too(operating: Operating) -> None:
    operating.settle(workerGroup="small-ones")
    operating.resources.created("Workspace", "other", {})
    operating.resources.created(
        "MailboxPool", "theirs", {"workspaceRef": {"name": "other"}, "workerGroup": "small-ones"}
    )
    operating.until("Workspace", "other", "Ready", "True")
    workspace_id = operating.workspace_id()
    second = f"mailhearth-key-{workspace_id}-2"

    def theirs_mount(name: str) -> bool:
        deployment = operating.get("Deployment", "theirs-workers")
        return deployment is not None and name in str(deployment["spec"]["template"]["spec"])

    wait_for(lambda: theirs_mount(f"mailhearth-key-{workspace_id}-1"), SECONDS)
    wait_for(lambda: len(mounted(operating)) == 2, SECONDS)
    for name in (WORKERS, "theirs-workers"):
        operating.roll_out(name)
    keys.rotate(operating.installation.door, workspace_id, ACTOR)
    wait_for(lambda: theirs_mount(second), SECONDS)
    wait_for(lambda: second in mounted(operating), SECONDS)
    operating.roll_out(WORKERS)
    operating.look()
    row = operating.installation.one(
        "SELECT state FROM key_versions WHERE workspace_id = %s AND version = 2", workspace_id
    )
    assert row["state"] == "pending"
    operating.roll_out("theirs-workers")
    operating.until("Workspace", "acme", "Progressing", "False")
    assert (operating.get("Workspace", "acme") or {})["status"]["keyVersion"] == 2
