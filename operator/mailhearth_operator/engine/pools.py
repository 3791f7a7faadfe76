"""`ensure` for a MailboxPool: projected into the database, mailboxes sealed, objects applied."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.errors import NotYet
from mailhearth_core.verbs import mailboxes
from mailhearth_operator.cluster.keys import secret_name
from mailhearth_operator.cluster.kinds import BY_NAME, POOL, WORKSPACE, Object
from mailhearth_operator.engine import rollout
from mailhearth_operator.engine.claims import is_foreign, is_others
from mailhearth_operator.engine.context import SQL, Context, machine, manager_of
from mailhearth_operator.engine.demand import Demands
from mailhearth_operator.engine.differences import is_as_wished
from mailhearth_operator.engine.finalizer import (
    has_finalizer,
    let_go,
    let_go_late,
    sync_finalizer,
)
from mailhearth_operator.engine.mailboxes import DeclaredMailboxes
from mailhearth_operator.engine.queue import WorkQueue
from mailhearth_operator.engine.related import deployment_of, workspace_name
from mailhearth_operator.engine.status import COUNTS, Statuses
from mailhearth_operator.engine.workspaces import (
    ACTOR,
    Standing,
    Workspaces,
    login_name,
)
from mailhearth_operator.manifests import workers
from mailhearth_operator.manifests.model import Owner, Pool, selector
from mailhearth_operator.manifests.replicas import Wish
from mailhearth_operator.resources.conditions import (
    CREDENTIALS_SEALED,
    DEGRADED,
    FOLLOWED,
    KEYS_READY,
    PROGRESSING,
    SPEC_VALID,
    Condition,
    degraded,
    ready,
)
from mailhearth_operator.resources.spec import PoolSpec, SpecInvalid, effective, pool_of

log = structlog.get_logger()
MOUNTED = ("pending", "active", "retiring")
"""States of the key versions that workers have."""
TOGETHER = timedelta(seconds=5)
"""`kubectl delete -f FOLDER` deletes a pool so long before its workspace, at most."""


class Pools:
    """Serves the queue's keys of kind MailboxPool."""

    def __init__(
        self,
        context: Context,
        statuses: Statuses,
        workspaces: Workspaces,
        declared: DeclaredMailboxes,
        demands: Demands,
        queue: WorkQueue,
    ) -> None:
        self._context = context
        self._statuses = statuses
        self._workspaces = workspaces
        self._declared = declared
        self._demands = demands
        self._queue = queue
        self._groups: dict[tuple[str, str], str] = {}

    def ensure(self, namespace: str, name: str) -> None:
        """Makes all of a pool as its resource says.

        Raises:
            NotYet: its workspace is not bound so far.
        """
        obj = self._context.seen.get(POOL, namespace, name)
        if obj is None:
            self._released(namespace, name)
            return
        if self._is_foreign(obj):
            return
        if obj["metadata"].get("deletionTimestamp"):
            self._end(obj)
            return
        try:
            spec = pool_of(obj, sandbox=self._context.sandbox)
        except SpecInvalid as error:
            self._cannot(obj, Condition(SPEC_VALID, "False", "SpecInvalid", str(error)))
            return
        standing = self._standing(obj, spec)
        if standing is None:
            return
        if standing.ending:
            self._apply(self._resolved(spec, standing))
            return
        held = standing.deletes or spec.deletion_policy == "Delete"
        sync_finalizer(self._context.api, POOL, obj, held)
        row = self._project(obj, spec, standing)
        if standing.keys.status == "True":
            # First the workers: a key that is being rolled out is active only when they have it.
            self._apply(self._resolved(spec, standing))
            sealed = self._declared.ensure(
                obj, spec, standing.id, row["pool_id"], spec.timezone or standing.timezone
            )
            if row["mailboxes"] < len(spec.mailboxes):
                row = self._project(obj, spec, standing)  # it has counted before they were added
        else:
            sealed = Condition(
                CREDENTIALS_SEALED, "Unknown", standing.keys.reason, standing.keys.message
            )
        self._write(obj, spec, standing, row, [FOLLOWED, standing.keys, sealed])

    # -- what it needs --------------------------------------------------------------------------

    def _is_foreign(self, obj: Object) -> bool:
        """Whether the pool or its workspace is another installation's."""
        if is_foreign(self._context, POOL, obj):
            return True
        workspace = self._context.seen.get(
            WORKSPACE, obj["metadata"]["namespace"], workspace_name(obj)
        )
        return workspace is not None and is_others(self._context, workspace)

    def _standing(self, obj: Object, spec: PoolSpec) -> Standing | None:
        """The workspace, claimed, and its pools with it; None after saying that there is none."""
        if self._context.seen.get(WORKSPACE, spec.namespace, spec.workspace) is None:
            told = (
                f"There is no Workspace {spec.workspace} in namespace {spec.namespace}. "
                "Make it, and the pool goes on by itself."
            )
            self._cannot(obj, Condition(KEYS_READY, "Unknown", "WorkspaceNotFound", told))
            return None
        standing = self._workspaces.standing(spec.namespace, spec.workspace)
        if standing is None:
            raise NotYet(f"Workspace {spec.workspace} is not bound yet.")
        return standing

    def _project(self, obj: Object, spec: PoolSpec, standing: Standing) -> dict[str, Any]:
        with self._context.database.tx() as conn:
            row = SQL.project_pool(
                conn,
                workspace_id=standing.id,
                name=spec.name,
                policy=Jsonb(spec.policy.to_json()),
                scope=spec.scope,
                worker_group=spec.group,
                managed_by=manager_of(obj),
                ref=Jsonb(self._context.reference(obj)),
                generation=spec.generation,
                resting=spec.suspend,
                at=machine(),
            )
        self._tell_group(spec.namespace, spec.name, spec.group)
        return dict(row)

    def _tell_group(self, namespace: str, name: str, group: str | None) -> None:
        """The pools of a worker group mount the keys of all whom they serve: who comes or goes
        concerns the others."""
        before = self._groups.get((namespace, name))
        if before == group:
            return
        if group is None:
            del self._groups[namespace, name]
        else:
            self._groups[namespace, name] = group
        for pool in self._context.seen.all(POOL, namespace):
            other = pool["metadata"]["name"]
            if other != name and pool["spec"].get("workerGroup") in {before, group} - {None}:
                self._queue.add((POOL.name, namespace, other))

    def _resolved(self, spec: PoolSpec, standing: Standing) -> Pool:
        """The pool as the manifests take it."""
        versions = {standing.id: standing.versions}
        for workspace_id in self._sharing(spec, standing):
            place = self._context.bound.place_of(workspace_id)
            other = self._workspaces.standing(*place) if place else None
            if other is not None and place is not None and place[0] == spec.namespace:
                versions[workspace_id] = other.versions
        more = {} if spec.resources is None else {"resources": spec.resources}
        return Pool(
            namespace=spec.namespace,
            owner=Owner(spec.name, spec.uid),
            group=spec.group,
            workspaces=tuple(versions),
            key_secrets={
                (workspace_id, version): secret_name(workspace_id, version)
                for workspace_id, known in versions.items()
                for version, state in known
                if state in MOUNTED
            },
            login_secrets={workspace_id: login_name(workspace_id) for workspace_id in versions},
            replicas=self._demands.replicas(
                spec.namespace,
                spec.name,
                spec.group,
                Wish(
                    least=spec.least,
                    most=spec.most,
                    target=spec.target,
                    backlog=spec.backlog,
                    suspended=spec.suspend or standing.suspended,
                ),
            ),
            most=spec.most,
            **more,
        )

    def _sharing(self, spec: PoolSpec, standing: Standing) -> list[UUID]:
        """Other workspaces with pools in the same worker group."""
        with self._context.database.tx() as conn:
            rows = SQL.group_workspaces(conn, worker_group=spec.group)
            return sorted(row["workspace_id"] for row in rows if row["workspace_id"] != standing.id)

    # -- what it makes --------------------------------------------------------------------------

    def _apply(self, pool: Pool) -> None:
        """Writes what differs, and takes away what is no longer wished."""
        context = self._context
        wished = workers.objects(context.platform, pool)
        names = set()
        for body in wished:
            kind = BY_NAME[body["kind"]]
            names.add((kind.name, body["metadata"]["name"]))
            live = context.seen.get(kind, pool.namespace, body["metadata"]["name"])
            closed = workers.closed(body)
            if live is None or not is_as_wished(live, closed):
                made = context.api.apply(kind, body)
                if not is_as_wished(made, closed):
                    # What others have added is theirs, and outlives an apply.
                    made = context.api.merge(kind, pool.namespace, pool.name, closed)
                context.seen.put(kind, made)
                log.info("applied", kind=kind.name, name=body["metadata"]["name"])
        for child in context.seen.owned(pool.owner.uid):
            kind, meta = BY_NAME[child["kind"]], child["metadata"]
            if (kind.name, meta["name"]) not in names:
                context.api.delete(kind, meta["namespace"], meta["name"], uid=meta["uid"])

    # -- status ---------------------------------------------------------------------------------

    def _write(
        self,
        obj: Object,
        spec: PoolSpec,
        standing: Standing,
        row: dict[str, Any],
        parts: list[Condition],
    ) -> None:
        live = deployment_of(self._context.seen, obj)
        demand = self._demands.of(spec.group)
        available = rollout.available(live, due=demand.due_now)
        parts = [*parts, available]
        active = [version for version, state in standing.versions if state == "active"]
        facts: dict[str, Any] = {
            "installation": self._context.installation,
            "workspaceId": str(standing.id),
            "poolId": str(row["pool_id"]),
            "effectivePolicy": effective(spec.policy),
            "mailboxes": row["mailboxes"],
            "active": row["active"],
            "quarantined": row["quarantined"],
            "replicas": (live or {}).get("status", {}).get("replicas", 0),
            "selector": _selector(obj),
        }
        if active:
            facts["keyVersion"] = active[0]
        conditions = [
            ready(parts),
            rollout.progressing(live),
            _degraded(parts, row["unopened"]),
            *parts,
        ]
        before = obj.get("status", {})
        self._statuses.write(POOL, obj, conditions, facts)
        if any(before.get(count, 0) != facts[count] for count in COUNTS):
            self._queue.add((WORKSPACE.name, spec.namespace, spec.workspace))

    def _cannot(self, obj: Object, why: Condition) -> None:
        """Says on the resource what it waits for."""
        parts = [why] if why.type == SPEC_VALID else [FOLLOWED, why]
        conditions = [
            ready(parts),
            Condition(PROGRESSING, "False", why.reason, why.message),
            Condition(DEGRADED, "True", why.reason, why.message),
            *parts,
        ]
        self._context.events.tell(obj, "Warning", why.reason, why.message, "Ensure")
        self._statuses.write(POOL, obj, conditions, {})

    # -- the end --------------------------------------------------------------------------------

    def _released(self, namespace: str, name: str) -> None:
        """The resource is gone: its workers go with it, its mailboxes drain."""
        self._demands.forget(namespace, name)
        self._tell_group(namespace, name, None)
        with self._context.database.tx() as conn:
            list(
                SQL.release_pool(
                    conn,
                    installation=self._context.installation,
                    namespace=namespace,
                    name=name,
                    at=machine(),
                )
            )

    def _end(self, obj: Object) -> None:
        """Deletion: its mailboxes are removed if it says so, its workers when none needs them.

        Raises:
            NotYet: its workspace is being deleted, and they clear up for it.
        """
        if not has_finalizer(obj):
            return
        if let_go_late(self._context, POOL, obj):
            return
        if self._clears_up(obj):
            raise NotYet("Its workers clear up for the workspace that is being deleted.")
        meta = obj["metadata"]
        workspace_id = self._context.bound.id_of(meta["namespace"], workspace_name(obj))
        if workspace_id is not None and obj["spec"].get("deletionPolicy") == "Delete":
            door = self._context.door
            for box in mailboxes.listing(door, workspace_id):
                if box["pool"] == meta["name"]:
                    mailboxes.remove(door, workspace_id, box, ACTOR)
        let_go(self._context.api, POOL, obj)

    def _clears_up(self, obj: Object) -> bool:
        """Whether its workspace goes with all its data, now or, deleted together, in a moment."""
        meta = obj["metadata"]
        workspace = self._context.seen.get(WORKSPACE, meta["namespace"], workspace_name(obj))
        if workspace is None or workspace["spec"].get("deletionPolicy") != "Delete":
            return False
        if is_others(self._context, workspace):
            return False
        if not workspace["metadata"].get("deletionTimestamp"):
            return machine() - datetime.fromisoformat(meta["deletionTimestamp"]) < TOGETHER
        standing = self._workspaces.standing(meta["namespace"], workspace_name(obj))
        if standing is not None and standing.ending:
            try:
                spec = pool_of(obj, sandbox=self._context.sandbox)
            except SpecInvalid:
                return False  # there never were workers
            self._apply(self._resolved(spec, standing))
        return True


def _selector(obj: Object) -> str:
    """For `kubectl scale` and an HPA: the pods of the pool, as text."""
    labels = selector(obj["metadata"]["name"])
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _degraded(parts: list[Condition], unopened: int) -> Condition:
    by_parts = degraded(parts)
    if by_parts.status == "True" or not unopened:
        return by_parts
    told = (
        f"The credentials of {unopened} mailboxes do not open with any key; their owners must "
        "give them again."
    )
    return Condition(DEGRADED, "True", "CredentialsUnopened", told)
