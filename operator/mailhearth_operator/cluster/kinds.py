"""The kinds that the operator reads and writes, and where the API serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

MAILBOX_LABEL = "mailhearth.io/mailbox"
"""On Secrets that declare a mailbox: `true`. Without it a Secret is refused."""
KEY_LABEL = "mailhearth.io/key"
"""On Secrets that hold a private key: the workspace's id."""
LOGIN_LABEL = "mailhearth.io/login"
"""On Secrets that hold a worker's database password: the workspace's id."""


@dataclass(frozen=True)
class Kind:
    """One kind; `name` is as in `kind:`."""

    api: str
    name: str
    plural: str

    @property
    def root(self) -> str:
        return f"/api/{self.api}" if "/" not in self.api else f"/apis/{self.api}"

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Of one object, of those in a namespace, or of all (None, None)."""
        where = f"{self.root}/namespaces/{namespace}" if namespace else self.root
        return f"{where}/{self.plural}" + (f"/{name}" if name else "")


WORKSPACE = Kind("mailhearth.io/v1alpha1", "Workspace", "workspaces")
POOL = Kind("mailhearth.io/v1alpha1", "MailboxPool", "mailboxpools")
SECRET = Kind("v1", "Secret", "secrets")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")

CHILDREN = (NETWORK_POLICY, BUDGET, DEPLOYMENT)
"""What a pool is made of; garbage-collected with it."""
WATCHED = (WORKSPACE, POOL, SECRET, *CHILDREN)
BY_NAME = {kind.name: kind for kind in (*WATCHED, EVENT)}
