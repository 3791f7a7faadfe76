"""How many mailboxes a pool lacks for its volume: the arithmetic and who counts."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

from mailhearth_core.verbs.capacity import PoolSize, Shortage, shortages
from mailhearth_core.warmup.policy import Policy

WORKSPACE, OTHER = uuid4(), uuid4()


def pool(
    members: int,
    policy: Mapping[str, int] | None = None,
    *,
    scope: str = "pool",
    workspace: UUID = WORKSPACE,
    network: int = 0,
) -> PoolSize:
    values = {"cap": 6, "reply_rate_percent": 0, "pair_gap_hours": 24, **(policy or {})}
    return PoolSize(workspace, uuid4(), scope, Policy.parse(values), members, network)


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        ({}, 7),  # six threads a day, each peer once a day, and the mailbox itself
        ({"pair_gap_hours": 72}, 19),
        ({"pair_gap_hours": 36}, 10),
        ({"reply_rate_percent": 50}, 4),
        ({"reply_rate_percent": 30}, 6),  # 4.2 new threads, rounded up
    ],
)
def test_what_a_pool_needs(policy: dict[str, int], needed: int) -> None:
    exact, short = pool(needed, policy), pool(needed - 2, policy)
    assert shortages([exact]) == {}
    found = shortages([short])[WORKSPACE, short.pool_id]
    assert found == Shortage(6, needed - 2, needed)
    assert found.text == (
        f"pool too small: 2 more mailboxes needed for 6 mails a day ({needed - 2} of {needed})"
    )


def test_one_that_lacks_is_told_in_the_singular() -> None:
    assert "1 more mailbox needed" in Shortage(6, 6, 7).text


@pytest.mark.parametrize(
    ("mine", "theirs", "workspace", "counted"),
    [
        ("pool", "pool", WORKSPACE, 0),
        ("workspace", "pool", WORKSPACE, 0),
        ("pool", "network", WORKSPACE, 0),
        ("workspace", "workspace", WORKSPACE, 3),
        ("workspace", "network", WORKSPACE, 3),
        ("network", "network", WORKSPACE, 3),
        ("workspace", "network", OTHER, 0),
        ("network", "workspace", OTHER, 0),
        ("network", "network", OTHER, 2),
    ],
)
def test_who_counts_follows_both_scopes(
    mine: str, theirs: str, workspace: UUID, counted: int
) -> None:
    own = pool(1, scope=mine)
    other = pool(3, scope=theirs, workspace=workspace, network=2)
    assert shortages([own, other])[WORKSPACE, own.pool_id].available == 1 + counted
