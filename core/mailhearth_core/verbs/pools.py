"""Pools: create, list, show, set. A change is a wish that names the generation seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.names import check_name
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.verbs.wishes import Actor, audit, wish
from mailhearth_core.warmup.policy import Policy, apply

SCOPES = ("pool", "workspace", "network")
SCOPE_KEY = "peering_scope"


def split_scope(changes: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """Parts `peering_scope=...` from the policy's own fields."""
    rest = dict(changes)
    scope = rest.pop(SCOPE_KEY, None)
    if scope is not None and scope not in SCOPES:
        raise InvalidValue(SCOPE_KEY, scope, ", ".join(SCOPES))
    return rest, scope


def create(
    door: TenantDoor,
    workspace_id: UUID,
    name: str,
    changes: Mapping[str, str],
    actor: Actor,
    *,
    sandbox: bool,
) -> UUID:
    """Wishes for a pool; returns the wish. The policy is checked whole before that."""
    check_name("pool", name)
    fields, scope = split_scope(changes)
    policy = apply(Policy.parse({}, sandbox=sandbox), fields, sandbox=sandbox)
    with door.tenant_tx(workspace_id) as conn:
        if conn.execute("SELECT 1 FROM pools WHERE name = %s", (name,)).fetchone():
            raise Conflict(f"A pool named {name!r} exists already.", hint="Choose another name.")
        command = wish(
            conn,
            workspace_id,
            "pool.create",
            {"name": name, "policy": policy.to_json(), SCOPE_KEY: scope or "pool"},
            actor,
        )
        audit(conn, workspace_id, "pool.create", actor, name, changes=dict(changes))
    return command


def listing(door: TenantDoor, workspace_id: UUID) -> list[dict[str, Any]]:
    with door.tenant_tx(workspace_id) as conn:
        return conn.execute(
            "SELECT p.id, p.name, p.peering_scope, p.worker_group, p.generation, p.managed_by, "
            "p.policy, (SELECT count(*) FROM mailboxes m WHERE m.pool_id = p.id "
            "AND m.state <> 'removed') "
            "AS mailboxes FROM pools p ORDER BY p.name"
        ).fetchall()


def find(door: TenantDoor, workspace_id: UUID, name: str) -> dict[str, Any]:
    rows = listing(door, workspace_id)
    for row in rows:
        if name in (row["name"], str(row["id"])):
            return row
    names = ", ".join(row["name"] for row in rows) or "none yet"
    raise NotFound(f"There is no pool named {name!r} in this workspace.", hint=f"Pools: {names}.")


def change(
    door: TenantDoor,
    workspace_id: UUID,
    pool: Mapping[str, Any],
    changes: Mapping[str, str],
    actor: Actor,
    *,
    sandbox: bool,
) -> UUID:
    """Wishes for a change of policy or scope, refused whole if any value is out of bounds."""
    fields, scope = split_scope(changes)
    apply(Policy.from_json(pool["policy"]), fields, sandbox=sandbox)
    with door.tenant_tx(workspace_id) as conn:
        command = wish(
            conn,
            workspace_id,
            "pool.set",
            {"policy": fields, SCOPE_KEY: scope},
            actor,
            subject_id=pool["id"],
            seen_generation=pool["generation"],
        )
        audit(conn, workspace_id, "pool.set", actor, str(pool["name"]), changes=dict(changes))
    return command
