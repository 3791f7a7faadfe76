"""What all of the operator's work shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from uuid import UUID

from mailhearth_core.provisioning.keyring import KeyRing
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.keys import RESTORE_HINT, ClusterKeys
from mailhearth_operator.cluster.kinds import Object
from mailhearth_operator.cluster.seen import Seen
from mailhearth_operator.engine.events import Events
from mailhearth_operator.manifests.model import Platform

SQL = named("operator")
GITOPS_LABEL = "mailhearth.io/managed-by"
GITOPS_MANAGERS = {
    "argocd": "argocd",
    "kustomize-controller": "flux",
    "flux": "flux",
    "helm-controller": "flux",
    "helm": "helm",
}
"""By the beginning of a field manager's name: what the dashboard calls it."""


@dataclass
class Bound:
    """The workspaces of custom resources: both ways, as they were last bound."""

    _ids: dict[tuple[str, str], UUID] = field(default_factory=dict)
    _places: dict[UUID, tuple[str, str]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, namespace: str, name: str, workspace_id: UUID) -> None:
        with self._lock:
            self._ids[namespace, name] = workspace_id
            self._places[workspace_id] = (namespace, name)

    def drop(self, workspace_id: UUID) -> None:
        with self._lock:
            place = self._places.pop(workspace_id, None)
            if place is not None:
                self._ids.pop(place, None)

    def id_of(self, namespace: str, name: str) -> UUID | None:
        with self._lock:
            return self._ids.get((namespace, name))

    def place_of(self, workspace_id: UUID) -> tuple[str, str] | None:
        """Namespace and name."""
        with self._lock:
            return self._places.get(workspace_id)


@dataclass
class Context:
    """Made once for each process.

    Attributes:
        installation: names this installation: "namespace/release".
        namespace: of the release; resources made for the dashboard go there.
        database: the operator's login.
        door: the command line's login, which adds mailboxes as `mailbox add` does.
        sandbox: of the installation.
    """

    installation: str
    namespace: str
    platform: Platform
    api: Api
    seen: Seen
    database: Database
    door: TenantDoor
    events: Events
    sandbox: bool
    bound: Bound = field(default_factory=Bound)

    def __post_init__(self) -> None:
        self.keys = ClusterKeys(self.api, self.seen, self.namespace_of)
        self.ring = KeyRing(self.database, self.keys, hint=RESTORE_HINT)

    def namespace_of(self, workspace_id: UUID) -> str:
        """Where a workspace's Secrets lie."""
        place = self.bound.place_of(workspace_id)
        return place[0] if place else self.namespace

    def reference(self, obj: Object) -> dict[str, Any]:
        """`external_ref`: what binds a row to its resource."""
        meta = obj["metadata"]
        return {
            "installation": self.installation,
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        }

    @contextmanager
    def turn(self, workspace_id: UUID) -> Iterator[None]:
        """One operator at a time makes keys and logins of a workspace."""
        with self.database.tx() as conn:
            list(SQL.lock_workspace(conn, workspace_id=str(workspace_id)))
            yield


def manager_of(obj: Object) -> str:
    """`cluster` when the dashboard may change the resource, else who owns it.

    A label says so (`mailhearth.io/managed-by: gitops`), or the manager of a field of the spec is
    one of the well-known ones.
    """
    labels = obj["metadata"].get("labels", {})
    if labels.get(GITOPS_LABEL, "").lower() == "gitops":
        return "gitops"
    for manager in obj["metadata"].get("x-managers", ()):
        for prefix, name in GITOPS_MANAGERS.items():
            if manager.lower().startswith(prefix):
                return name
    return "cluster"


def machine() -> datetime:
    """Machine time."""
    return datetime.now(UTC)
