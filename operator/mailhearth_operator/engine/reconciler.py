"""All of the operator's work put together: the queue with what it calls, and what fills it."""

from __future__ import annotations

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_operator.cluster.kinds import (
    BY_NAME,
    CHILDREN,
    KEY_LABEL,
    LOGIN_LABEL,
    POOL,
    SECRET,
    WATCHED,
    WORKSPACE,
    Kind,
    Object,
)
from mailhearth_operator.cluster.seen import concerns_us
from mailhearth_operator.engine.context import SQL, Context
from mailhearth_operator.engine.demand import Demands
from mailhearth_operator.engine.mailboxes import DeclaredMailboxes
from mailhearth_operator.engine.outbox import Outbox
from mailhearth_operator.engine.pools import Pools
from mailhearth_operator.engine.queue import Key, WorkQueue
from mailhearth_operator.engine.related import pools_of, workspace_name
from mailhearth_operator.engine.status import Statuses
from mailhearth_operator.engine.workspaces import Workspaces
from mailhearth_operator.manifests.model import POOL_LABEL
from mailhearth_operator.resources.conditions import DEGRADED, READY, Condition

log = structlog.get_logger()
QUIET_CODES = ("try_later", "conflict", "not_found", "api_unavailable", "transaction_undone")
"""Errors that pass by themselves, or that cannot be told: nothing is said on the resource."""
SETTLES_S = 1.5
"""Controllers write a status several times while pods come; one look does for all of it."""


class Reconciler:
    """Makes the cluster as its resources say.

    Args:
        namespaces: those that are watched.
    """

    def __init__(
        self,
        context: Context,
        *,
        namespaces: tuple[str, ...],
        threads: int = 4,
        allow_app_passwords: bool = False,
    ) -> None:
        self.context = context
        self.namespaces = namespaces
        self.settles = SETTLES_S
        self.queue = WorkQueue(self._ensure, threads=threads, failed=self._failed)
        self.demands = Demands(
            context.database, lambda namespace, name: self.queue.add((POOL.name, namespace, name))
        )
        self._statuses = Statuses(context.api, context.seen)
        self.workspaces = Workspaces(context, self._statuses, self.queue)
        self.pools = Pools(
            context,
            self._statuses,
            self.workspaces,
            DeclaredMailboxes(context, allow_app_passwords=allow_app_passwords),
            self.demands,
            self.queue,
        )
        self.outbox = Outbox(context, self.queue)

    # -- what was seen --------------------------------------------------------------------------

    def list_objects(self) -> None:
        """Takes in all that the cluster has, before the first key is worked on."""
        for kind in WATCHED:
            for namespace in self.namespaces:
                for obj in self.context.api.list_all(kind, namespace):
                    if concerns_us(kind, obj["metadata"]):
                        self.context.seen.put(kind, obj)

    def list_bindings(self) -> None:
        """Takes in which rows stand for resources; those of resources that are gone, too."""
        with self.context.database.tx() as conn:
            for row in SQL.bindings(conn):
                ref = row["external_ref"]
                if ref and ref["installation"] == self.context.installation:
                    self.context.bound.put(ref["namespace"], ref["name"], row["workspace_id"])
                    self.queue.add((WORKSPACE.name, ref["namespace"], ref["name"]))
            for row in SQL.pool_places(conn, installation=self.context.installation):
                self.queue.add((POOL.name, row["namespace"], row["name"]))
        self.add_all()

    def tell_all(self, error: MailhearthError) -> None:
        """Says on every resource why nothing is done for it."""
        for kind in (WORKSPACE, POOL):
            for obj in self.context.seen.all(kind):
                meta = obj["metadata"]
                self._failed((kind.name, meta["namespace"], meta["name"]), error)

    def add_all(self) -> None:
        """Everything is looked at again."""
        for kind in (WORKSPACE, POOL):
            for obj in self.context.seen.all(kind):
                meta = obj["metadata"]
                self.queue.add((kind.name, meta["namespace"], meta["name"]))

    def took_place(self, kind: Kind, change: str | None, obj: Object) -> None:
        """A watch event: `change` is ADDED, MODIFIED, DELETED, or None in a first listing."""
        obj = {**obj, "apiVersion": kind.api, "kind": kind.name}
        after = self.settles if self._is_status(kind, change, obj) else 0.0
        if change == "DELETED":
            self.context.seen.drop(kind, obj)
        elif not concerns_us(kind, obj["metadata"]):
            meta = obj["metadata"]
            if self.context.seen.get(kind, meta["namespace"], meta["name"]) is None:
                return
            self.context.seen.drop(kind, obj)  # its label was taken off
        elif not self.context.seen.put(kind, obj):
            return
        for key in self._concerned(kind, obj):
            self.queue.add(key, after=after)

    def _is_status(self, kind: Kind, change: str | None, obj: Object) -> bool:
        """Whether only the status of something that pools are made of has changed."""
        meta = obj["metadata"]
        known = self.context.seen.get(kind, meta["namespace"], meta["name"])
        return (
            kind in CHILDREN
            and change == "MODIFIED"
            and known is not None
            and known["metadata"].get("generation") == meta.get("generation")
            and not meta.get("deletionTimestamp")
        )

    def _concerned(self, kind: Kind, obj: Object) -> list[Key]:
        meta = obj["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        if kind in (WORKSPACE, POOL):
            keys: list[Key] = [(kind.name, namespace, name)]
            if kind is POOL and self.context.seen.get(POOL, namespace, name) is None:
                keys.append((WORKSPACE.name, namespace, workspace_name(obj)))  # it counts them
            if kind is WORKSPACE:
                keys += [
                    (POOL.name, namespace, pool["metadata"]["name"])
                    for pool in pools_of(self.context.seen, namespace, name)
                ]
            return keys
        if kind is SECRET:
            return self._of_secret(obj)
        pool = meta.get("labels", {}).get(POOL_LABEL)
        names = {pool} if pool else set()
        names |= {owner["name"] for owner in meta.get("ownerReferences", ())}
        keys = [(POOL.name, namespace, one) for one in sorted(names) if one]
        for key in list(keys):
            found = self.context.seen.get(POOL, key[1], key[2])
            if found is not None and self._awaits_rollout(found):
                keys.append((WORKSPACE.name, namespace, workspace_name(found)))
        return keys

    def _awaits_rollout(self, pool: Object) -> bool:
        standing = self.workspaces.standing(pool["metadata"]["namespace"], workspace_name(pool))
        return standing is not None and any(state == "pending" for _, state in standing.versions)

    def _of_secret(self, obj: Object) -> list[Key]:
        meta = obj["metadata"]
        namespace, labels = meta["namespace"], meta.get("labels", {})
        keys: list[Key] = [
            (POOL.name, namespace, pool["metadata"]["name"])
            for pool in self.context.seen.all(POOL, namespace)
            if any(one["secretName"] == meta["name"] for one in pool["spec"].get("mailboxes", ()))
        ]
        for label in (KEY_LABEL, LOGIN_LABEL):
            if label in labels:
                keys += [
                    (WORKSPACE.name, namespace, workspace["metadata"]["name"])
                    for workspace in self.context.seen.all(WORKSPACE, namespace)
                    if str(self.context.bound.id_of(namespace, workspace["metadata"]["name"]))
                    == labels[label]
                ]
        return keys

    # -- work -----------------------------------------------------------------------------------

    def _ensure(self, key: Key) -> None:
        kind, namespace, name = key
        if kind == WORKSPACE.name:
            self.workspaces.ensure(namespace, name)
        else:
            self.pools.ensure(namespace, name)

    def _failed(self, key: Key, error: BaseException) -> None:
        """Says on the resource why it is not as wished, where that does not pass in a moment."""
        if isinstance(error, MailhearthError):
            code, told, permanent = error.code, str(error), error.permanent
        else:
            code, permanent = "internal_error", False
            told = (
                f"An error that was not foreseen ({type(error).__name__}); see the operator's log."
            )
        kind = BY_NAME[key[0]]
        obj = self.context.seen.get(kind, key[1], key[2])
        if obj is None or code in QUIET_CODES:
            return
        reason = "".join(word.capitalize() for word in code.split("_"))
        conditions = [
            Condition(READY, "False" if permanent else "Unknown", reason, told),
            Condition(DEGRADED, "True", reason, told),
        ]
        try:
            self._statuses.write(kind, obj, conditions, {})
        except MailhearthError as again:
            log.warning("status_not_written", key="/".join(key), reason=str(again))
        self.context.events.tell(obj, "Warning", reason, told, "Ensure")
