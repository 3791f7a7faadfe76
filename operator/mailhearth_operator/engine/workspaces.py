"""`ensure` for a Workspace: bound, keyed, with a login for its workers; at rest when it says so."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.errors import KeysMissing, MailhearthError, NotYet
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.roles import new_password, scram_verifier
from mailhearth_core.verbs import workspaces
from mailhearth_core.verbs.wishes import Actor
from mailhearth_operator.cluster.keys import secret_name
from mailhearth_operator.cluster.kinds import (
    DEPLOYMENT,
    LOGIN_LABEL,
    POOL,
    SECRET,
    WORKSPACE,
    Object,
)
from mailhearth_operator.cluster.secrets import secret
from mailhearth_operator.engine import rollout
from mailhearth_operator.engine.claims import claimed, is_foreign
from mailhearth_operator.engine.context import SQL, Context, machine, manager_of
from mailhearth_operator.engine.finalizer import (
    has_finalizer,
    let_go,
    let_go_late,
    sync_finalizer,
)
from mailhearth_operator.engine.queue import WorkQueue
from mailhearth_operator.engine.related import pools_of, workspace_name
from mailhearth_operator.engine.status import COUNTS, Statuses
from mailhearth_operator.manifests.model import POOL_LABEL
from mailhearth_operator.resources.conditions import (
    FOLLOWED,
    KEYS_READY,
    PROGRESSING,
    READY,
    SETTLED,
    SPEC_VALID,
    Condition,
    degraded,
    ready,
)
from mailhearth_operator.resources.spec import SpecInvalid, WorkspaceSpec, workspace_of

log = structlog.get_logger()

SUSPENDED = "suspended by its resource (spec.suspend)"
GONE = "its resource was deleted; apply it again to take it up"
RESTS = [SUSPENDED, GONE]
"""Reasons of a rest that is the operator's to end."""
ACTOR = Actor("operator", "kubernetes")


def login_name(workspace_id: UUID) -> str:
    """Of the Secret with the database password of a workspace's workers."""
    return f"mailhearth-login-{workspace_id}"


@dataclass(frozen=True)
class Standing:
    """What pools need to know of their workspace.

    Attributes:
        ending: it is being deleted; its workers take its mail out of its mailboxes.
        deletes: its deletion deletes its data (`spec.deletionPolicy`).
    """

    id: UUID
    suspended: bool
    ending: bool
    timezone: str
    versions: tuple[tuple[int, str], ...]
    keys: Condition
    deletes: bool = False


class WorkspaceLost(MailhearthError):
    """A resource that had a workspace has none in this database: perhaps it is another one."""

    code = "workspace_lost"


class Workspaces:
    """Serves the queue's keys of kind Workspace."""

    def __init__(self, context: Context, statuses: Statuses, queue: WorkQueue) -> None:
        self._context = context
        self._statuses = statuses
        self._queue = queue
        self._standing: dict[tuple[str, str], Standing] = {}

    def standing(self, namespace: str, name: str) -> Standing | None:
        """As last ensured."""
        return self._standing.get((namespace, name))

    def ensure(self, namespace: str, name: str) -> None:
        """Makes all of a workspace as its resource says.

        Raises:
            NotYet: something is under way; look again.
        """
        obj = self._context.seen.get(WORKSPACE, namespace, name)
        if obj is None:
            self._released(namespace, name)
            return
        if is_foreign(self._context, WORKSPACE, obj):
            return
        if obj["metadata"].get("deletionTimestamp"):
            self._end(obj)
            return
        obj = claimed(self._context, WORKSPACE, obj)
        valid, spec = _valid(obj)
        if spec is None:
            self._statuses.write(WORKSPACE, obj, _conditions(valid, None, pending=False), {})
            self._context.events.tell(obj, "Warning", "SpecInvalid", valid.message, "Validate")
            return
        sync_finalizer(self._context.api, WORKSPACE, obj, spec.deletion_policy == "Delete")
        row = self._bind(obj, spec)
        workspace_id: UUID = row["workspace_id"]
        if row["state"] == "deleting":
            self._tell_of_end(obj, workspace_id)
            raise NotYet("The workspace is being deleted.")
        keys, versions = self._keys(obj, workspace_id, row)
        self._rest_or_wake(workspace_id, spec, keys)
        pending = any(state == "pending" for _, state in versions)
        facts: dict[str, Any] = {
            "installation": self._context.installation,
            "workspaceId": str(workspace_id),
            **self._counts(namespace, name),
        }
        active = [version for version, state in versions if state == "active"]
        if active:
            facts["keyVersion"] = active[0]
        self._statuses.write(WORKSPACE, obj, _conditions(valid, keys, pending=pending), facts)
        self._tell_pools(
            namespace,
            name,
            Standing(
                workspace_id,
                spec.suspend,
                False,
                spec.timezone,
                tuple(versions),
                keys,
                spec.deletion_policy == "Delete",
            ),
        )
        if pending:
            raise NotYet("A new key is being rolled out.")

    # -- binding ------------------------------------------------------------------------------

    def _bind(self, obj: Object, spec: WorkspaceSpec) -> dict[str, Any]:
        with self._context.database.tx() as conn:
            row = SQL.bind_workspace(
                conn,
                ref=Jsonb(self._context.reference(obj)),
                generation=spec.generation,
                managed_by=manager_of(obj),
                known=obj.get("status", {}).get("workspaceId"),
                at=machine(),
            )
        if row is None:
            raise NotYet("Another operator binds the workspace in this moment.")
        if row["workspace_id"] is None:
            raise WorkspaceLost(
                f"The database knows no workspace {obj['status']['workspaceId']}, which this "
                "resource stands for.",
                hint="Restore the database that has it; or delete the resource and apply it again, "
                "which makes a new, empty workspace.",
            )
        self._context.bound.put(spec.namespace, spec.name, row["workspace_id"])
        return dict(row)

    def _released(self, namespace: str, name: str) -> None:
        """The resource is gone, and no one asked for its data to go: it rests."""
        workspace_id = self._context.bound.id_of(namespace, name)
        self._standing.pop((namespace, name), None)
        if workspace_id is None:
            return
        with self._context.database.tx() as conn:
            if SQL.rest_workspace(conn, workspace_id=workspace_id, reason=GONE, reasons=RESTS):
                log.info("workspace_released", workspace_id=str(workspace_id))

    def _rest_or_wake(self, workspace_id: UUID, spec: WorkspaceSpec, keys: Condition) -> None:
        with self._context.database.tx() as conn:
            if spec.suspend:
                SQL.rest_workspace(conn, workspace_id=workspace_id, reason=SUSPENDED, reasons=RESTS)
            else:
                told = "" if keys.status == "True" else keys.message
                SQL.wake_workspace(conn, workspace_id=workspace_id, reason=told, reasons=RESTS)

    # -- keys and login -----------------------------------------------------------------------

    def _keys(
        self, obj: Object, workspace_id: UUID, row: dict[str, Any]
    ) -> tuple[Condition, list[tuple[int, str]]]:
        ring = self._context.ring
        known = ring.versions(workspace_id)
        if not self._has_all(workspace_id, row, known):
            with self._context.turn(workspace_id):
                known = ring.versions(workspace_id)
                if not known:
                    ring.activate(workspace_id, ring.add(workspace_id, known))
                    known = ring.versions(workspace_id)
                self._ensure_login(obj, workspace_id)
        try:
            ring.check(workspace_id, known)
        except KeysMissing as error:
            self._context.events.tell(obj, "Warning", "KeysMissing", str(error), "CheckKeys")
            condition = Condition(KEYS_READY, "False", "KeysMissing", str(error))
            return condition, _states(known)
        for one in known:
            if one["state"] == "pending" and self._is_rolled_out(obj, workspace_id, one["version"]):
                ring.activate(workspace_id, one["version"])
                note = f"Credentials are sealed to key version {one['version']} from now on."
                self._context.events.tell(obj, "Normal", "KeyActive", note, "RotateKey")
        if any(one["state"] == "retiring" and not one["sealed"] for one in known):
            ring.archive(workspace_id)
        if any(one["state"] in ("pending", "retiring") for one in known):
            known = ring.versions(workspace_id)
        return Condition(KEYS_READY, "True", "KeysPresent", "Its keys are there."), _states(known)

    def _has_all(
        self, workspace_id: UUID, row: dict[str, Any], known: list[dict[str, Any]]
    ) -> bool:
        namespace = self._context.namespace_of(workspace_id)
        login = self._context.seen.get(SECRET, namespace, login_name(workspace_id))
        return bool(known) and bool(row["has_login"]) and login is not None

    def _ensure_login(self, obj: Object, workspace_id: UUID) -> None:
        """The Secret's password in the database; a new one in the database, then in its Secret.

        In this order an operator that dies in between leaves nothing that does not fit together.
        """
        context = self._context
        namespace = obj["metadata"]["namespace"]
        there = context.api.get(SECRET, namespace, login_name(workspace_id))
        if there is not None:
            context.seen.put(SECRET, there)
            if self._login_is_known(workspace_id):
                return
        password = _password_in(there) or new_password()
        with context.database.tx() as conn:
            verifier = scram_verifier(conn, password, str(workspace_id))
            SQL.ensure_worker_login(conn, workspace_id=workspace_id, verifier=verifier)
        if _password_in(there) is None:
            body = secret(
                namespace,
                login_name(workspace_id),
                {"password": password.reveal().encode()},
                {LOGIN_LABEL: str(workspace_id)},
            )
            context.seen.put(SECRET, context.api.apply(SECRET, body))

    def _login_is_known(self, workspace_id: UUID) -> bool:
        with self._context.database.tx() as conn:
            row = SQL.binding(conn, workspace_id=workspace_id)
        return row is not None and bool(row["has_login"])

    def _is_rolled_out(self, obj: Object, workspace_id: UUID, version: int) -> bool:
        """Whether every worker of the workspace has the key version mounted."""
        wanted = secret_name(workspace_id, version)
        pools = {pool["metadata"]["name"] for pool in self._concerned_pools(obj)}
        return all(
            rollout.serves(child, wanted)
            for child in self._context.seen.all(DEPLOYMENT, obj["metadata"]["namespace"])
            if child["metadata"].get("labels", {}).get(POOL_LABEL) in pools
        )

    # -- pools --------------------------------------------------------------------------------

    def _counts(self, namespace: str, name: str) -> dict[str, int]:
        """Of all its pools, as their statuses tell them."""
        pools = pools_of(self._context.seen, namespace, name)
        return {
            count: sum(pool.get("status", {}).get(count, 0) for pool in pools) for count in COUNTS
        }

    def _concerned_pools(self, workspace: Object) -> list[Object]:
        """Its own, and those of other workspaces that share a worker group with them."""
        meta = workspace["metadata"]
        pools = self._context.seen.all(POOL, meta["namespace"])
        own = [pool for pool in pools if workspace_name(pool) == meta["name"]]
        shared = {pool["spec"].get("workerGroup") for pool in own} - {None}
        return own + [
            pool
            for pool in pools
            if pool["spec"].get("workerGroup") in shared and workspace_name(pool) != meta["name"]
        ]

    def _tell_pools(self, namespace: str, name: str, standing: Standing) -> None:
        """Its pools are looked at again when what they need of it has changed."""
        if self._standing.get((namespace, name)) == standing:
            return
        self._standing[namespace, name] = standing
        obj = self._context.seen.get(WORKSPACE, namespace, name)
        for pool in self._concerned_pools(obj) if obj is not None else ():
            self._queue.add((POOL.name, namespace, pool["metadata"]["name"]))

    def _tell_of_end(self, obj: Object, workspace_id: UUID) -> None:
        """Its pools keep their workers, asleep or awake as the purge needs them."""
        known = _states(self._context.ring.versions(workspace_id))
        keys = Condition(KEYS_READY, "True", "KeysPresent", "Its keys go last.")
        standing = Standing(workspace_id, False, True, "UTC", tuple(known), keys, True)
        self._tell_pools(obj["metadata"]["namespace"], obj["metadata"]["name"], standing)
        told = "Its mail is taken out of its mailboxes; then its rows and its keys go."
        conditions = [
            Condition(READY, "False", "Deleting", told),
            Condition(PROGRESSING, "True", "Deleting", told),
        ]
        self._statuses.write(WORKSPACE, obj, conditions, {})

    # -- the end ------------------------------------------------------------------------------

    def _end(self, obj: Object) -> None:
        """Deletion with `deletionPolicy: Delete`: mail, rows, keys; then the finalizer goes."""
        if not has_finalizer(obj):
            return
        context, meta = self._context, obj["metadata"]
        if let_go_late(context, WORKSPACE, obj):  # even where the database does not answer
            return
        workspace_id = context.bound.id_of(meta["namespace"], meta["name"])
        with context.database.tx() as conn:
            row = SQL.binding(conn, workspace_id=workspace_id)
        if row is None:
            let_go(context.api, WORKSPACE, obj)
            return
        if row["state"] != "deleting":
            workspaces.begin_deletion(context.door.database, row["workspace_id"], ACTOR)
            context.events.tell(
                obj, "Normal", "Deleting", "Its mail, rows and keys are being deleted.", "Delete"
            )
        self._tell_of_end(obj, row["workspace_id"])
        raise NotYet("The workspace's mail, rows and keys are being deleted.")


def _valid(obj: Object) -> tuple[Condition, WorkspaceSpec | None]:
    try:
        spec = workspace_of(obj)
    except SpecInvalid as error:
        return Condition(SPEC_VALID, "False", "SpecInvalid", str(error)), None
    return FOLLOWED, spec


def _conditions(valid: Condition, keys: Condition | None, *, pending: bool) -> list[Condition]:
    keys = keys or Condition(KEYS_READY, "Unknown", "SpecInvalid", "The spec comes first.")
    progressing = (
        Condition(PROGRESSING, "True", "KeyRollout", "A new key is being mounted by its workers.")
        if pending
        else SETTLED
    )
    parts = [valid, keys]
    return [ready(parts), progressing, degraded(parts), *parts]


def _states(known: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(row["version"], row["state"]) for row in known if row["state"] != "destroyed"]


def _password_in(there: Object | None) -> Secret | None:
    encoded = ((there or {}).get("data") or {}).get("password")
    return Secret(base64.b64decode(encoded).decode()) if encoded else None
