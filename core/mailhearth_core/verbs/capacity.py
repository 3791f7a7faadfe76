"""Whether a pool has mailboxes enough for its volume, and how many it lacks.

A mailbox starts a new thread with the same peer only after the pair gap, so the number of peers
bounds what it may send. Who may be a peer depends on the peering scopes of both pools.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.verbs import pools, workspaces
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.sizing import mailboxes_needed

WIDE = {"workspace", "network"}


@dataclass(frozen=True)
class PoolSize:
    """A pool, and how many mailboxes it has that agreed to warmup and can take part.

    Attributes:
        members: of these, all.
        network_members: of these, those that agreed to the network.
    """

    workspace_id: UUID
    pool_id: UUID
    scope: str
    policy: Policy
    members: int
    network_members: int


@dataclass(frozen=True)
class Shortage:
    """A pool that cannot reach its cap.

    Attributes:
        volume: mails a day that the policy's ramp ends at.
        available: mailboxes that may write to each other, those of the pool included.
        needed: how many there must be.
    """

    volume: int
    available: int
    needed: int

    @property
    def lacking(self) -> int:
        return self.needed - self.available

    @property
    def text(self) -> str:
        return (
            f"pool too small: {self.lacking} more mailbox{'es' * (self.lacking != 1)} needed for "
            f"{self.volume} mails a day ({self.available} of {self.needed})"
        )

    def to_json(self) -> dict[str, int]:
        return {
            "volume": self.volume,
            "available": self.available,
            "needed": self.needed,
            "lacking": self.lacking,
        }


def pool_sizes(database: Database) -> list[PoolSize]:
    """Every pool of every workspace."""
    with database.tx() as conn:
        rows = conn.execute(
            "SELECT workspace_id, pool, count(*) AS members, "
            "count(*) FILTER (WHERE consent = 'network') AS network_members "
            "FROM admin.mailboxes WHERE consent <> 'none' AND state IN ('active', 'needs_reauth') "
            "GROUP BY 1, 2"
        ).fetchall()
    counts = {(row["workspace_id"], row["pool"]): row for row in rows}
    door = TenantDoor(database)
    sizes = []
    for workspace in workspaces.listing(database):
        workspace_id = workspace["workspace_id"]
        for pool in pools.listing(door, workspace_id):
            row = counts.get((workspace_id, pool["name"])) or {"members": 0, "network_members": 0}
            sizes.append(
                PoolSize(
                    workspace_id,
                    pool["id"],
                    pool["peering_scope"],
                    Policy.from_json(pool["policy"]),
                    row["members"],
                    row["network_members"],
                )
            )
    return sizes


def shortages(sizes: Iterable[PoolSize]) -> dict[tuple[UUID, UUID], Shortage]:
    """By workspace and pool, what those lack that are too small."""
    everybody = list(sizes)
    found = {}
    for pool in everybody:
        volume = pool.policy.cap
        # Of a steady volume v, a share r are replies, which the pair gap does not bind.
        threads = -(-volume * (100 - pool.policy.reply_rate_percent) // 100)
        needed = mailboxes_needed(threads, pool.policy) + 1  # its peers, and the mailbox itself
        available = sum(_counted(pool, other) for other in everybody)
        if available < needed:
            found[pool.workspace_id, pool.pool_id] = Shortage(volume, available, needed)
    return found


def _counted(pool: PoolSize, other: PoolSize) -> int:
    """How many of another pool's mailboxes may be peers: the rule of `matching.may_write`."""
    if pool.pool_id == other.pool_id:
        return other.members
    if pool.workspace_id == other.workspace_id:
        return other.members if {pool.scope, other.scope} <= WIDE else 0
    return other.network_members if pool.scope == other.scope == "network" else 0
