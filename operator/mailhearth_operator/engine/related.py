"""Which of the objects that were seen belong together."""

from __future__ import annotations

from mailhearth_operator.cluster.kinds import DEPLOYMENT, POOL, Object
from mailhearth_operator.cluster.seen import Seen


def workspace_name(pool: Object) -> str:
    """Of the Workspace that a MailboxPool names."""
    name: str = pool["spec"]["workspaceRef"]["name"]
    return name


def pools_of(seen: Seen, namespace: str, workspace: str) -> list[Object]:
    """The MailboxPools of a Workspace."""
    return [pool for pool in seen.all(POOL, namespace) if workspace_name(pool) == workspace]


def deployment_of(seen: Seen, pool: Object) -> Object | None:
    """A pool's workers."""
    for child in seen.owned(pool["metadata"]["uid"]):
        if child["kind"] == DEPLOYMENT.name:
            return child
    return None
