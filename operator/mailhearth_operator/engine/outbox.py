"""The outbox in a cluster: wishes of the dashboard become resources, or changes of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.errors import Conflict, MailhearthError, NotYet
from mailhearth_core.ids import uuid7_time
from mailhearth_core.provisioning.outbox import Command, mapping, serve
from mailhearth_core.provisioning.shared import delete_workspace, read_only, retry_action, stale
from mailhearth_core.warmup.policy import Policy, apply
from mailhearth_operator.cluster.kinds import POOL, SECRET, WORKSPACE, Kind, Object
from mailhearth_operator.engine.context import SQL, Context, manager_of
from mailhearth_operator.engine.queue import WorkQueue
from mailhearth_operator.engine.related import pools_of, workspace_name
from mailhearth_operator.engine.workspaces import login_name
from mailhearth_operator.resources.spec import change_to, spec_of_policy

log = structlog.get_logger()
DASHBOARD = "mailhearth-dashboard"
"""Field manager of what people change in the dashboard."""


class Outbox:
    """Carries out open wishes; one caller at a time."""

    def __init__(self, context: Context, queue: WorkQueue) -> None:
        self._context = context
        self._queue = queue

    def serve(self) -> int:
        """Returns how many wishes ended. Raises ServiceUnavailable."""
        return serve(self._context.database, self._carry_out)

    def _carry_out(self, command: Command) -> str:
        workspace_id: UUID = command["workspace_id"]
        payload = mapping(command["payload"])
        match command["kind"]:
            case "workspace.provision":
                return self._make_workspace(workspace_id)
            case "pool.create":
                return self._make_pool(workspace_id, payload)
            case "pool.set":
                return self._set_pool(workspace_id, command, payload)
            case "keys.rotate":
                return self._rotate(workspace_id, command)
            case "keys.destroy":
                return self._context.ring.destroy(workspace_id, int(payload["version"]))
            case "keys.abandon":
                return self._abandon(workspace_id, int(payload["version"]), command["actor"])
            case "action.retry":
                return retry_action(self._context.database, workspace_id, command["subject_id"])
            case "workspace.delete":
                return self._delete(workspace_id)
        raise MailhearthError(f"The wish {command['kind']!r} is unknown to this version.")

    # -- workspaces -----------------------------------------------------------------------------

    def _make_workspace(self, workspace_id: UUID) -> str:
        row = self._row(workspace_id)
        context = self._context
        ref = {
            "installation": context.installation,
            "namespace": context.namespace,
            "name": row["name"],
        }
        if row["external_ref"] is None:
            there = context.seen.get(WORKSPACE, context.namespace, row["name"])
            with context.database.tx() as conn:
                adopted = there is None and SQL.adopt_workspace(
                    conn, workspace_id=workspace_id, ref=Jsonb(ref)
                )
            if not adopted:
                raise Conflict(
                    f"A Workspace {row['name']} exists in namespace {context.namespace} already.",
                    hint="Delete this workspace, and choose another name.",
                )
            context.bound.put(context.namespace, row["name"], workspace_id)
        elif row["external_ref"].get("uid"):
            return "its resource exists"
        namespace, name = context.bound.place_of(workspace_id) or (context.namespace, row["name"])
        body = _resource(WORKSPACE, namespace, name, {"displayName": row["name"]})
        context.api.apply(WORKSPACE, body, manager=DASHBOARD)
        return f"Workspace {namespace}/{name} is made"

    def _delete(self, workspace_id: UUID) -> str:
        done = delete_workspace(
            self._context.database,
            self._context.ring,
            workspace_id,
            lambda: self._take_down(workspace_id),
        )
        place = self._context.bound.place_of(workspace_id)
        self._context.bound.drop(workspace_id)
        if place is not None:
            self._queue.add((WORKSPACE.name, *place))
        return done

    def _take_down(self, workspace_id: UUID) -> None:
        """The login's Secret, and the resources that the dashboard may delete."""
        context = self._context
        place = context.bound.place_of(workspace_id)
        if place is None:
            return
        namespace, name = place
        for pool in pools_of(context.seen, namespace, name):
            if manager_of(pool) == "cluster":
                context.api.delete(POOL, namespace, pool["metadata"]["name"])
        obj = context.seen.get(WORKSPACE, namespace, name)
        if obj is not None and manager_of(obj) == "cluster":
            context.api.delete(WORKSPACE, namespace, name)
        context.api.delete(SECRET, namespace, login_name(workspace_id))

    # -- pools ----------------------------------------------------------------------------------

    def _make_pool(self, workspace_id: UUID, payload: dict[str, Any]) -> str:
        context = self._context
        place = context.bound.place_of(workspace_id)
        if place is None or context.seen.get(WORKSPACE, *place) is None:
            raise NotYet("The workspace has no resource yet.")
        namespace, workspace = place
        policy = Policy.parse(mapping(payload["policy"]), sandbox=context.sandbox)
        name = self._free_name(namespace, workspace, str(payload["name"]))
        if context.seen.get(POOL, namespace, name) is not None:
            return f"MailboxPool {namespace}/{name} exists"
        spec = {
            "workspaceRef": {"name": workspace},
            "peeringScope": str(payload["peering_scope"]).capitalize(),
            "policy": spec_of_policy(policy),
        }
        context.api.apply(POOL, _resource(POOL, namespace, name, spec), manager=DASHBOARD)
        return f"MailboxPool {namespace}/{name} is made"

    def _free_name(self, namespace: str, workspace: str, name: str) -> str:
        """Of the resource: workspaces of one namespace may each have a pool of the same name."""
        for choice in (name, f"{workspace}-{name}"):
            there = self._context.seen.get(POOL, namespace, choice)
            if there is None or workspace_name(there) == workspace:
                return choice
        raise Conflict(
            f"MailboxPools {name} and {workspace}-{name} of others exist in namespace {namespace}.",
            hint="Choose another name.",
        )

    def _set_pool(self, workspace_id: UUID, command: Command, payload: dict[str, Any]) -> str:
        context = self._context
        with context.database.tx() as conn:
            row = SQL.pool_binding(conn, workspace_id=workspace_id, pool_id=command["subject_id"])
        if row is None:
            raise MailhearthError("The pool is gone.", hint="List pools and choose another.")
        ref = row["external_ref"] or {}
        obj = context.seen.get(POOL, ref.get("namespace", ""), ref.get("name", ""))
        if obj is None:
            raise MailhearthError("The pool's resource is gone.", hint="Apply it again.")
        owner = manager_of(obj)
        if owner != "cluster":
            raise read_only(owner)
        if row["external_generation"] != obj["metadata"]["generation"]:
            raise NotYet("The pool has just changed; its change is being taken in.")
        if row["generation"] != command["seen_generation"]:
            raise stale(row["generation"], command["seen_generation"])
        changes = {key: str(value) for key, value in mapping(payload["policy"]).items()}
        policy = apply(Policy.from_json(row["policy"]), changes, sandbox=context.sandbox)
        scope = payload.get("peering_scope") or row["peering_scope"]
        meta = obj["metadata"]
        body = {
            "metadata": {"resourceVersion": meta["resourceVersion"]},
            "spec": {"policy": change_to(policy), "peeringScope": str(scope).capitalize()},
        }
        try:
            context.api.merge(POOL, meta["namespace"], meta["name"], body, manager=DASHBOARD)
        except Conflict:
            raise NotYet("The pool's resource has just changed.") from None
        return f"MailboxPool {meta['namespace']}/{meta['name']} is changed"

    # -- keys -----------------------------------------------------------------------------------

    def _rotate(self, workspace_id: UUID, command: Command) -> str:
        """A new version, mounted by all workers before it is active; ends when it is."""
        context = self._context
        with context.turn(workspace_id):
            known = context.ring.versions(workspace_id)
            context.ring.check(workspace_id, known)
            if any(row["state"] == "pending" for row in known):
                self._look(workspace_id)
                raise NotYet("A new key is being rolled out.")
            made = _made_for(known, command)
            if made is not None:
                return f"version {made} is active; credentials are sealed anew in the background"
            context.ring.add(workspace_id, known)
        self._look(workspace_id)
        raise NotYet("The new key is being mounted by the workers.")

    def _abandon(self, workspace_id: UUID, version: int, actor: str) -> str:
        """The workers then mount the version that is made instead."""
        with self._context.turn(workspace_id):
            told = self._context.ring.abandon(workspace_id, version, actor)
        self._look(workspace_id)
        return told

    def _look(self, workspace_id: UUID) -> None:
        place = self._context.bound.place_of(workspace_id)
        if place is not None:
            self._queue.add((WORKSPACE.name, *place))

    def _row(self, workspace_id: UUID) -> dict[str, Any]:
        with self._context.database.tx() as conn:
            row = SQL.binding(conn, workspace_id=workspace_id)
        if row is None:
            raise MailhearthError("The workspace is gone.")
        return dict(row)


def _made_for(known: list[dict[str, Any]], command: Command) -> int | None:
    """The version that this wish made, now active: one that is younger than the wish."""
    for row in known:
        if row["state"] == "active" and row["created_at"] >= uuid7_time(command["id"]):
            version: int = row["version"]
            return version
    return None


def _resource(kind: Kind, namespace: str, name: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": kind.api,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
