"""What the builders are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

PART_OF = "mailhearth"
MANAGER = "mailhearth-operator"
"""Field manager of server-side apply, and `app.kubernetes.io/managed-by`."""
WORKSPACE_LABEL = "mailhearth.io/workspace"
POOL_LABEL = "mailhearth.io/pool"

PROBES_PORT, METRICS_PORT = 8081, 9090


@dataclass(frozen=True)
class Platform:
    """What all pools of an installation share.

    Attributes:
        image: of every process.
        pull_policy: `imagePullPolicy`.
        database_url: without a login; each worker finds its own under `/logins`.
        database_ca: ConfigMap whose `ca.crt` signs the database's certificate; None: the system's.
        redis_secret: Secret with the key `url`, of the workers' Redis login.
        oauth_secret: Secret with `google-client-secret`, `microsoft-client-secret`, or one of them.
        image_pull_secrets: Secrets with a login of the image's registry.
        environment: `production`, `staging` or `development`.
        settings: further variables of the workers, by name.
        dns_namespace: where the cluster's DNS lives.
        dns_ports: before and behind its Service.
    """

    image: str
    database_url: str
    redis_secret: str
    pull_policy: str = "IfNotPresent"
    database_ca: str | None = None
    oauth_secret: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    environment: str = "production"
    settings: Mapping[str, str] = field(default_factory=dict)
    dns_namespace: str = "kube-system"
    dns_ports: tuple[int, ...] = (53, 1053, 5353)
    database_port: int = 5432
    redis_port: int = 6379
    mail_ports: tuple[int, ...] = (25, 143, 443, 465, 587, 993)


@dataclass(frozen=True)
class Owner:
    """The MailboxPool that owns what is made for it."""

    name: str
    uid: str

    def reference(self) -> dict[str, Any]:
        return {
            "apiVersion": "mailhearth.io/v1alpha1",
            "kind": "MailboxPool",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True)
class Pool:
    """One MailboxPool, resolved.

    Attributes:
        group: worker group: names the queue.
        workspaces: those it serves: the pool's own, more where a group is shared.
        key_secrets: by workspace and version the Secret of each key that workers may open.
        login_secrets: by workspace the Secret of its database login.
        replicas: what the Deployment shall have, see `replicas.wanted`.
        most: `spec.replicas.max`.
    """

    namespace: str
    owner: Owner
    group: str
    workspaces: tuple[UUID, ...]
    key_secrets: Mapping[tuple[UUID, int], str]
    login_secrets: Mapping[UUID, str]
    replicas: int
    most: int
    resources: Mapping[str, Any] = field(
        default_factory=lambda: {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"memory": "384Mi"},
        }
    )

    @property
    def name(self) -> str:
        """Of the Deployment and what belongs to it: a DNS label (RFC 1123)."""
        return f"{self.owner.name[:52].rstrip('-.')}-workers"

    def selector(self) -> dict[str, str]:
        return selector(self.owner.name)

    def labels(self) -> dict[str, str]:
        return {
            **self.selector(),
            "app.kubernetes.io/part-of": PART_OF,
            "app.kubernetes.io/managed-by": MANAGER,
            WORKSPACE_LABEL: str(self.workspaces[0]),
        }


def selector(pool: str) -> dict[str, str]:
    """Labels that select the pods of the MailboxPool of this name."""
    return {
        "app.kubernetes.io/name": PART_OF,
        "app.kubernetes.io/component": "worker",
        POOL_LABEL: pool,
    }
