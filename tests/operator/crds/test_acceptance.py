"""Good resources: taken, filled in with defaults, scaled, listed, and given a status."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from apiserver import ApiServer, Json, require_control_plane
from custom_resources import Resources, schema_of
from mailhearth_core.verbs.mailbox_spec import timezones

REF = {"workspaceRef": {"name": "acme"}}
CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "KeysMissing",
    "message": "The key is gone: restore it with `mailhearth keys restore`.",
    "lastTransitionTime": "2026-01-05T09:00:00Z",
    "observedGeneration": 1,
}

GOOD_POOLS: dict[str, Json] = {
    "one that may sleep": {"replicas": {"min": 0, "target": 0}},
    "one size": {"replicas": {"min": 100, "target": 100, "max": 100}, "autoscale": "None"},
    "a preset": {"policy": {"mode": "conservative", "replyRatePercent": 0}},
    "numbers of its own": {"policy": {"mode": "custom", "startVolume": 1, "step": 0, "cap": 50}},
    "a window to midnight": {"policy": {"windowStart": "00:00", "windowEnd": "24:00"}},
    "days at the weekend": {"policy": {"weekdays": ["sun", "sat"]}},
    "a whole ratio": {"policy": {"recipientRatio": 2}},
    "a policy that is null": {"policy": None, "replicas": None},
    "a far zone": {"timezone": "America/Argentina/Buenos_Aires"},
    "a zone with an offset": {"timezone": "Etc/GMT+12"},
    "a shared group": {"workerGroup": "small-tenants", "peeringScope": "Network"},
    "needs as numbers and text": {
        "resources": {"requests": {"cpu": "0.5", "memory": "64Mi"}, "limits": {"cpu": 1}}
    },
    "needs in other units": {
        "resources": {"requests": {"memory": 1000000}, "limits": {"memory": "1M"}}
    },
    "500 mailboxes": {
        "mailboxes": [{"secretName": f"team.mailbox-{number}"} for number in range(500)]
    },
    "a Secret's longest name": {"mailboxes": [{"secretName": "a" * 253}]},
}


@pytest.mark.parametrize("good", GOOD_POOLS)
def test_a_good_pool_is_taken(resources: Resources, good: str) -> None:
    answer = resources.create("MailboxPool", "a" * 50, REF | GOOD_POOLS[good], dry_run=True)
    assert answer.ok, answer.message


def test_a_workspace_is_filled_in(resources: Resources) -> None:
    assert resources.created("Workspace", "acme", {})["spec"] == {
        "timezone": "UTC",
        "suspend": False,
        "deletionPolicy": "Retain",
    }


def test_a_pool_is_filled_in(resources: Resources) -> None:
    spec = resources.created("MailboxPool", "north", REF)["spec"]
    # Of the policy, test_policy compares each default with core's.
    assert spec.pop("policy")["mode"] == "standard"
    assert spec == REF | {
        "suspend": False,
        "deletionPolicy": "Retain",
        "peeringScope": "Pool",
        "autoscale": "Backlog",
        "replicas": {"min": 1, "target": 1, "max": 3},
    }


def test_a_second_apply_replaces_the_days_that_the_first_left_to_the_default(
    resources: Resources,
) -> None:
    assert resources.apply("MailboxPool", "north", REF, "gitops").ok
    later = REF | {"policy": {"weekdays": ["tue"]}}
    answer = resources.apply("MailboxPool", "north", later, "gitops")
    assert answer.body["spec"]["policy"]["weekdays"] == ["tue"]


def test_two_managers_may_declare_mailboxes_of_one_pool(resources: Resources) -> None:
    def declare(manager: str, *names: str) -> list[str]:
        listed = [{"secretName": name} for name in names]
        answer = resources.apply("MailboxPool", "north", REF | {"mailboxes": listed}, manager)
        assert answer.ok, answer.message
        return [item["secretName"] for item in answer.body["spec"]["mailboxes"]]

    assert declare("one", "anna", "ben") == ["anna", "ben"]
    assert declare("other", "carl") == ["anna", "ben", "carl"]
    assert declare("one", "ben") == ["ben", "carl"]


def test_scale_is_the_target(resources: Resources) -> None:
    resources.created("MailboxPool", "north", REF)
    status = {"replicas": 1, "selector": "mailhearth.io/pool=north"}
    assert resources.patch("MailboxPool", "north", {"status": status}, "status").ok
    scaled = resources.patch("MailboxPool", "north", {"spec": {"replicas": 3}}, "scale")
    assert scaled.body["spec"] == {"replicas": 3}
    assert scaled.body["status"] == status
    pool = resources.api.must("GET", resources.path("MailboxPool", "north"))
    assert pool["spec"]["replicas"] == {"min": 1, "target": 3, "max": 3}
    beyond = resources.patch("MailboxPool", "north", {"spec": {"replicas": 4}}, "scale")
    assert beyond.code == 422
    assert "replicas.target must be at most replicas.max" in beyond.message


@pytest.mark.parametrize("kind", ["Workspace", "MailboxPool"])
def test_status_is_apart_from_spec(resources: Resources, kind: str) -> None:
    made = resources.created(kind, "acme", REF if kind == "MailboxPool" else {})
    status = {
        "observedGeneration": 1,
        "conditions": [CONDITION],
        "workspaceId": "0198c0de-0000-7000-8000-000000000001",
        "keyVersion": 1,
        "mailboxes": 12,
        "active": 11,
        "quarantined": 1,
    }
    both = {"status": status, "spec": {"suspend": True}}
    written = resources.patch(kind, "acme", both, "status")
    assert written.body["status"] == status
    assert written.body["spec"] == made["spec"]
    assert written.body["metadata"]["generation"] == 1
    changed = resources.patch(kind, "acme", both | {"status": {"mailboxes": 0}})
    assert changed.body["metadata"]["generation"] == 2
    assert changed.body["status"] == status


def test_a_condition_needs_a_reason(resources: Resources) -> None:
    resources.created("Workspace", "acme", {})
    bare = {"status": {"conditions": [CONDITION | {"reason": ""}]}}
    answer = resources.patch("Workspace", "acme", bare, "status")
    assert "status.conditions[0].reason" in answer.message
    twice = {"status": {"conditions": [CONDITION, CONDITION]}}
    assert "Duplicate value" in resources.patch("Workspace", "acme", twice, "status").message


def columns(resources: Resources, kind: str) -> tuple[dict[str, object], set[str]]:
    """What `kubectl get` shows of the one resource, and the columns for `-o wide` alone."""
    path = resources.path(kind)
    query = "?includeObject=None"
    table = resources.api.request(
        "GET", path + query, accept="application/json;as=Table;v=v1;g=meta.k8s.io"
    ).body
    (row,) = table["rows"]
    heads = table["columnDefinitions"]
    shown = {head["name"]: cell for head, cell in zip(heads, row["cells"], strict=True)}
    return shown, {head["name"] for head in heads if head["priority"] > 0}


def test_a_list_shows_what_matters(resources: Resources) -> None:
    resources.created("Workspace", "acme", {"suspend": True})
    resources.created("MailboxPool", "north", REF | {"policy": {"mode": "conservative"}})
    counts = {"mailboxes": 12, "active": 11, "quarantined": 1, "conditions": [CONDITION]}
    resources.patch("Workspace", "acme", {"status": counts}, "status")
    resources.patch("MailboxPool", "north", {"status": counts | {"replicas": 2}}, "status")

    shown, wide = columns(resources, "Workspace")
    assert shown.pop("Age")
    assert shown == {
        "Name": "acme", "Ready": "False", "Mailboxes": 12, "Suspended": True, "Active": 11,
        "Quarantined": 1, "Key": None, "Deletion": "Retain", "Reason": "KeysMissing",
    }  # fmt: skip
    assert wide == {"Active", "Quarantined", "Key", "Deletion", "Reason"}

    shown, wide = columns(resources, "MailboxPool")
    assert shown.pop("Age")
    assert shown == {
        "Name": "north", "Workspace": "acme", "Ready": "False", "Mailboxes": 12, "Replicas": 2,
        "Suspended": False, "Mode": "conservative", "Active": 11, "Quarantined": 1, "Min": 1,
        "Target": 1, "Max": 3, "Reason": "KeysMissing",
    }  # fmt: skip
    assert wide == {"Mode", "Active", "Quarantined", "Min", "Target", "Max", "Reason"}


def test_short_names_and_the_category_are_known(api: ApiServer, resources: Resources) -> None:
    known = api.must("GET", "/apis/mailhearth.io/v1alpha1")["resources"]
    named = {kind["name"]: kind for kind in known if "/" not in kind["name"]}
    assert {name: kind["shortNames"] for name, kind in named.items()} == {
        "workspaces": ["ws"],
        "mailboxpools": ["mbp"],
    }
    assert all(kind["categories"] == ["mailhearth"] for kind in named.values())
    assert all(kind["namespaced"] for kind in named.values())


def undescribed(schema: Json, path: str) -> list[str]:
    """The fields below that say nothing of themselves."""
    found = [] if schema.get("description", "").endswith(".") else [path]
    for name, child in schema.get("properties", {}).items():
        found += undescribed(child, f"{path}.{name}")
    return found + (undescribed(schema["items"], f"{path}[]") if has_fields(schema) else [])


def has_fields(schema: Json) -> bool:
    return "properties" in schema.get("items", {})


@pytest.mark.parametrize("kind", ["Workspace", "MailboxPool"])
def test_every_field_is_described(definitions: dict[str, Json], kind: str) -> None:
    schema = schema_of(definitions[kind])
    parts = ("spec", "status")
    gaps = [gap for part in parts for gap in undescribed(schema["properties"][part], part)]
    assert gaps == []


@pytest.mark.parametrize("kind", ["Workspace", "MailboxPool"])
def test_every_time_zone_of_core_may_be_named(definitions: dict[str, Json], kind: str) -> None:
    spec = schema_of(definitions[kind])["properties"]["spec"]["properties"]
    (rule,) = spec["timezone"]["x-kubernetes-validations"]
    found = re.fullmatch(r"self\.matches\('(.*)'\)", rule["rule"])
    assert found
    # Some systems list their own setting as a zone: it would differ from pod to pod.
    refused = {zone for zone in timezones() if not re.search(found[1], zone)}
    assert refused <= {"localtime"}
    assert max(map(len, timezones())) <= spec["timezone"]["maxLength"]


def test_kubectl_explains_a_field(api: ApiServer, resources: Resources) -> None:
    kubectl = require_control_plane() / "kubectl"
    if not kubectl.exists():
        pytest.skip("KUBEBUILDER_ASSETS has no kubectl: setup-envtest use")
    explained = subprocess.run(
        [kubectl, "--kubeconfig", api.kubeconfig, "explain", "mbp.spec.policy.startVolume"],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(api.kubeconfig.parent)},
    ).stdout
    assert "FIELD: startVolume <integer>" in explained
    assert "1 to 10" in " ".join(explained.split())
    assert json.loads(api.kubeconfig.read_text())["clusters"][0]["cluster"]["server"] == api.url
