"""What a spec means to core: read from resources that the API server has filled in."""

from __future__ import annotations

import re
from typing import Any

import pytest

from custom_resources import Resources
from mailhearth_core.warmup.policy import PRESETS, Policy
from mailhearth_operator.resources.spec import (
    SpecInvalid,
    effective,
    own_group,
    pool_of,
    workspace_of,
)

GROUP = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

REF = {"workspaceRef": {"name": "acme"}}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_pool_of_defaults(resources: Resources, preset: str) -> None:
    made = resources.created("MailboxPool", "north", REF | {"policy": {"mode": preset}})
    pool = pool_of(made, sandbox=False)
    assert (pool.workspace, pool.name, pool.generation) == ("acme", "north", 1)
    assert (pool.least, pool.target, pool.most, pool.backlog) == (1, 1, 3, True)
    assert (pool.scope, pool.suspend, pool.deletion_policy) == ("pool", False, "Retain")
    assert pool.group == own_group(resources.namespace, "north")
    assert GROUP.fullmatch(pool.group), "as settings and the database take it"
    assert pool.policy == Policy.parse({"mode": preset})
    told = effective(pool.policy)
    assert (told["startVolume"], told["step"], told["cap"]) == PRESETS[preset]
    status = {"status": {"effectivePolicy": told}}
    assert resources.patch("MailboxPool", "north", status, "status").ok


def test_all_that_can_be_said(resources: Resources) -> None:
    made = resources.created(
        "MailboxPool",
        "small",
        {
            **REF,
            "suspend": True,
            "deletionPolicy": "Delete",
            "timezone": "Asia/Kolkata",
            "peeringScope": "Network",
            "workerGroup": "shared",
            "replicas": {"min": 0, "target": 2, "max": 5},
            "autoscale": "None",
            "policy": {
                "mode": "custom",
                "startVolume": 2,
                "step": 0,
                "cap": 9,
                "windowEnd": "24:00",
            },
            "mailboxes": [{"secretName": "ann"}, {"secretName": "bob"}],
        },
    )
    pool = pool_of(made, sandbox=False)
    assert (pool.scope, pool.group, pool.timezone) == ("network", "shared", "Asia/Kolkata")
    assert (pool.least, pool.target, pool.most, pool.backlog) == (0, 2, 5, False)
    assert (pool.suspend, pool.deletion_policy) == (True, "Delete")
    assert pool.mailboxes == ("ann", "bob")
    assert (pool.policy.start_volume, pool.policy.cap, pool.policy.window_end) == (2, 9, "24:00")
    workspace = workspace_of(resources.created("Workspace", "acme", {"timezone": "Europe/Rome"}))
    assert (workspace.display_name, workspace.timezone) == ("acme", "Europe/Rome")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"timezone": "Europe/Atlantis"}, "Europe/Atlantis is no time zone"),
        ({"policy": {"retentionHours": 119}}, "retentionHours"),
        ({"policy": {"futureField": 1}}, "no field futureField"),
    ],
)
def test_what_a_schema_cannot_refuse(spec: dict[str, Any], says: str) -> None:
    meta = {"namespace": "mail", "name": "north", "uid": "1", "generation": 1}
    with pytest.raises(SpecInvalid, match=says) as caught:
        pool_of({"metadata": meta, "spec": REF | spec}, sandbox=False)
    assert caught.value.permanent
    if "retentionHours" in says:
        assert pool_of({"metadata": meta, "spec": REF | spec}, sandbox=True)
