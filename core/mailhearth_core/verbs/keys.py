"""A workspace's keys: list, rotate, destroy, give up. The changes are wishes to the provisioner."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.verbs.wishes import Actor, audit, wish


def listing(door: TenantDoor, workspace_id: UUID) -> list[dict[str, Any]]:
    """Every version with its state, its fingerprint and the number of credentials it seals."""
    with door.tenant_tx(workspace_id) as conn:
        return conn.execute(
            "SELECT k.version, k.state, k.fingerprint, k.created_at, k.state_since, "
            "(SELECT count(*) FROM sealed_credentials s WHERE s.workspace_id = k.workspace_id "
            " AND s.key_version = k.version) AS seals "
            "FROM key_versions k ORDER BY k.version"
        ).fetchall()


def rotate(door: TenantDoor, workspace_id: UUID, actor: Actor) -> UUID:
    """Wishes for a new version; returns the wish. Workers then seal every credential anew."""
    with door.tenant_tx(workspace_id) as conn:
        command = wish(conn, workspace_id, "keys.rotate", {}, actor)
        audit(conn, workspace_id, "keys.rotate", actor, "")
    return command


def destroy(door: TenantDoor, workspace_id: UUID, version: int, actor: Actor) -> UUID:
    """Wishes the end of an archived version; returns the wish. What it sealed is lost for good.

    Raises:
        NotFound: there is no such version.
        Conflict: it is not archived: it still seals something, or new credentials are sealed to it.
    """
    known = {row["version"]: row for row in listing(door, workspace_id)}
    if version not in known:
        names = ", ".join(map(str, known)) or "none yet"
        raise NotFound(f"There is no key version {version}.", hint=f"Versions: {names}.")
    if known[version]["state"] not in {"archived", "destroyed"}:
        raise Conflict(
            f"Key version {version} is {known[version]['state']} and seals "
            f"{known[version]['seals']} credentials; only archived versions can be destroyed.",
            hint="Rotate the keys and wait until every credential is sealed anew.",
        )
    with door.tenant_tx(workspace_id) as conn:
        command = wish(conn, workspace_id, "keys.destroy", {"version": version}, actor)
        audit(conn, workspace_id, "keys.destroy", actor, str(version))
    return command


def losses(door: TenantDoor, workspace_id: UUID, version: int) -> dict[str, Any]:
    """What goes with a version that is given up: state, fingerprint, seals, mailboxes.

    `mailboxes` is a list of {address, declared_by}; the latter names the Secret of the cluster
    that a mailbox is sealed anew from.

    Raises:
        NotFound: there is no such version.
    """
    known = {row["version"]: row for row in listing(door, workspace_id)}
    if version not in known:
        names = ", ".join(map(str, known)) or "none yet"
        raise NotFound(f"There is no key version {version}.", hint=f"Versions: {names}.")
    with door.tenant_tx(workspace_id) as conn:
        mailboxes = conn.execute(
            "SELECT m.address, m.declared_by FROM mailboxes m WHERE m.state <> 'removed' "
            "AND EXISTS (SELECT 1 FROM sealed_credentials s WHERE s.workspace_id = m.workspace_id "
            " AND s.mailbox_id = m.id AND s.key_version = %s) ORDER BY m.address",
            (version,),
        ).fetchall()
    row = known[version]
    return {name: row[name] for name in ("state", "fingerprint", "seals")} | {
        "mailboxes": mailboxes
    }


def abandon(door: TenantDoor, workspace_id: UUID, version: int, actor: Actor) -> UUID:
    """Wishes that a version whose private key is lost is given up; returns the wish.

    What is sealed to it is deleted then, and its mailboxes are to be connected again.
    """
    with door.tenant_tx(workspace_id) as conn:
        command = wish(conn, workspace_id, "keys.abandon", {"version": version}, actor)
        audit(conn, workspace_id, "keys.abandon", actor, str(version))
    return command
