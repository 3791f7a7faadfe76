"""Bad resources, each refused by the API server itself with a sentence that helps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from custom_resources import Resources

REF = {"workspaceRef": {"name": "acme"}}
TIME = 'is a time of day such as "'
BELONGS = "startVolume, step and cap belong to mode: custom"
QUANTITY = "is a quantity of 0 or more"


@dataclass(frozen=True)
class Bad:
    """What is wrong, and what the refusal must say: where, and the sentence."""

    where: str
    says: str
    spec: dict[str, Any] = field(default_factory=dict)
    name: str = "north"


def replicas(where: str, says: str, **values: object) -> Bad:
    return Bad(f"spec.replicas{where}", says, REF | {"replicas": values})


def policy(where: str, says: str, **values: object) -> Bad:
    return Bad(f"spec.policy{where}", says, REF | {"policy": values})


def resource_needs(where: str, says: str, **values: object) -> Bad:
    return Bad(f"spec.resources{where}", says, REF | {"resources": values})


def mailboxes(where: str, says: str, *items: object) -> Bad:
    return Bad(f"spec.mailboxes{where}", says, REF | {"mailboxes": list(items)})


def unknown(path: str, **spec: object) -> Bad:
    """A field that is not there is refused by its full path."""
    return Bad("", f'unknown field "{path}"', REF | spec)


def secret(name: str) -> dict[str, Any]:
    return {"secretName": name}


WORKSPACES = {
    "a name with a dot": Bad("metadata.name", "inner hyphens", name="acme.north"),
    "a long name": Bad("metadata.name", "may not be more than 50", name="a" * 51),
    "a reserved name": Bad("metadata.name", "this name is reserved (admin,", name="system"),
    "a reserved beginning": Bad("metadata.name", "are reserved", name="mailhearth-acme"),
    "Kubernetes' beginning": Bad("metadata.name", "are reserved", name="kube-acme"),
    "a zone that is an offset": Bad("spec.timezone", "Europe/Berlin", {"timezone": "+02:00"}),
    "a zone in lower case": Bad("spec.timezone", "Europe/Berlin", {"timezone": "europe/berlin"}),
    "a zone that climbs": Bad("spec.timezone", "Europe/Berlin", {"timezone": "../etc/passwd"}),
    "a policy of deletion": Bad(
        "spec.deletionPolicy", '"Retain", "Delete"', {"deletionPolicy": "Orphan"}
    ),
    "suspend in quotes": Bad("spec.suspend", "must be of type boolean", {"suspend": "yes"}),
    "an empty display name": Bad("spec.displayName", "at least 1 char", {"displayName": ""}),
    "a display name of two lines": Bad("spec.displayName", "one line", {"displayName": "a\nb"}),
    "a long display name": Bad("spec.displayName", "more than 100", {"displayName": "a" * 101}),
    "a sandbox": Bad("", 'unknown field "spec.sandbox"', {"sandbox": True}),
    "a misspelt field": Bad("", 'unknown field "spec.suspended"', {"suspended": True}),
}

POOLS = {
    "a name with a dot": Bad("metadata.name", "inner hyphens", REF, name="north.1"),
    "a reserved name": Bad("metadata.name", "this name is reserved (admin,", REF, name="default"),
    "a reserved beginning": Bad("metadata.name", "are reserved", REF, name="mailhearth-web"),
    "no workspace": Bad("spec.workspaceRef", "Required value", {}),
    "an unnamed workspace": Bad("spec.workspaceRef.name", "Required value", {"workspaceRef": {}}),
    "a workspace as text": Bad("spec.workspaceRef", "type object", {"workspaceRef": "acme"}),
    "a workspace elsewhere": unknown(
        "spec.workspaceRef.namespace", workspaceRef={"name": "acme", "namespace": "other"}
    ),
    "a workspace with its namespace": Bad(
        "spec.workspaceRef.name",
        "a Workspace in this namespace",
        {"workspaceRef": {"name": "other/acme"}},
    ),
    "more at least than at most": replicas(
        "", "replicas.min must be at most replicas.max", min=4, target=4, max=2
    ),
    "a target below": replicas(".target", "at least replicas.min", min=2, target=1),
    "a target above": replicas(".target", "at most replicas.max", target=4, max=3),
    "a sleeping target that may not sleep": replicas(".target", "at least", target=0),
    "less than nothing": replicas(".min", "greater than or equal to 0", min=-1),
    "none at most": replicas(".max", "greater than or equal to 1", min=0, target=0, max=0),
    "too many": replicas(".max", "less than or equal to 100", max=101),
    "half a worker": replicas(".target", "must be of type integer", target=1.5),
    "an unknown autoscaler": Bad("spec.autoscale", '"Backlog", "None"', REF | {"autoscale": "CPU"}),
    "a scope in lower case": Bad(
        "spec.peeringScope", '"Pool", "Workspace", "Network"', REF | {"peeringScope": "pool"}
    ),
    "a policy of deletion": Bad(
        "spec.deletionPolicy", '"Retain", "Delete"', REF | {"deletionPolicy": "Orphan"}
    ),
    "a group with a colon": Bad(
        "spec.workerGroup", "workerGroup takes a-z", REF | {"workerGroup": "rq:queue"}
    ),
    "a reserved group": Bad("spec.workerGroup", "reserved (admin", REF | {"workerGroup": "local"}),
    "a group of ours": Bad("spec.workerGroup", "reserved", REF | {"workerGroup": "mailhearth-x"}),
    "a zone of no place": Bad("spec.timezone", "Europe/Berlin", REF | {"timezone": "Berlin time"}),
    "suspend as a number": Bad("spec.suspend", "must be of type boolean", REF | {"suspend": 1}),
    "a mode nobody knows": policy(".mode", '"standard", "aggressive"', mode="turbo"),
    "a preset's own start": policy(".mode", BELONGS, startVolume=5),
    "a preset's own step": policy(".mode", "the preset aggressive has", mode="aggressive", step=2),
    "a preset's own cap": policy(".mode", BELONGS, mode="conservative", cap=15),
    "a cap beyond a person's": policy(".cap", "or equal to 50", mode="custom", cap=51),
    "a ratio below one": policy(".recipientRatio", "or equal to 1", recipientRatio=0.9),
    "no day": policy(".weekdays", "at least 1 items", weekdays=[]),
    "a day twice": policy(".weekdays", "names each day once", weekdays=["mon", "mon"]),
    "a long day": policy(".weekdays[0]", '"mon", "tue"', weekdays=["monday"]),
    "an hour of one digit": policy(".windowStart", TIME, windowStart="9:00"),
    "an hour that is none": policy(".windowEnd", TIME, windowEnd="25:00"),
    "an hour as a number": policy(".windowStart", "must be of type string", windowStart=9),
    "a start at the day's end": policy(".windowStart", TIME, windowStart="24:00"),
    "a window over midnight": policy(
        ".windowStart", "does not cross midnight", windowStart="22:00", windowEnd="06:00"
    ),
    "a reply after the end": policy(
        ".replyDelayMinMinutes",
        "an hour or more before retentionHours",
        replyDelayMinMinutes=61,
        retentionHours=2,
    ),
    "a number as text": policy(".minGapSeconds", "must be of type integer", minGapSeconds="600"),
    "a field of Python": unknown("spec.policy.start_volume", policy={"start_volume": 5}),
    "a resource nobody has": unknown(
        "spec.resources.requests.gpu", resources={"requests": {"cpu": 1, "gpu": 1}}
    ),
    "a quantity that is none": resource_needs(".requests.cpu", QUANTITY, requests={"cpu": "lots"}),
    "a fraction of a core": resource_needs(".limits.cpu", "integer,string", limits={"cpu": 0.5}),
    "a negative quantity": resource_needs(".limits.memory", QUANTITY, limits={"memory": "-1Mi"}),
    "more asked than allowed": resource_needs(
        "",
        "resources.requests.memory must be at most resources.limits.memory",
        requests={"memory": "1Gi"},
        limits={"memory": "128Mi"},
    ),
    "more cores than allowed": resource_needs(
        "", "resources.requests.cpu must be at most", requests={"cpu": 2}, limits={"cpu": "900m"}
    ),
    "requests of nothing": resource_needs(".requests", "at least 1 properties", requests={}),
    "501 mailboxes": mailboxes(
        "", "at most 500 items", *(secret(f"mailbox-{number}") for number in range(501))
    ),
    "a Secret twice": mailboxes("[1]", "Duplicate value", secret("anna"), secret("anna")),
    "a mailbox without Secret": mailboxes("[0].secretName", "Required value", {}),
    "a Secret elsewhere": mailboxes(
        "[0].secretName", "a Secret in this namespace", secret("other/anna")
    ),
    "a password in the open": unknown(
        "spec.mailboxes[0].password", mailboxes=[secret("anna") | {"password": "x"}]
    ),
}


def check(resources: Resources, kind: str, bad: Bad) -> None:
    answer = resources.create(kind, bad.name, bad.spec, dry_run=True)
    assert not answer.ok, f"the API server took {bad.name}: {bad.spec}"
    if not bad.where:  # an unknown field is refused before the schema is looked at
        assert answer.code == 400, answer.message
        assert bad.says in answer.message
        return
    causes = answer.body["details"]["causes"]
    said = [(cause["field"].lstrip("."), cause["message"]) for cause in causes]
    assert any(at.startswith(bad.where) and bad.says in words for at, words in said), said
    # "<nil>" is what the API server adds when it stopped looking.
    assert all(at == "<nil>" or at.startswith(bad.where.partition("[")[0]) for at, _ in said), said


@pytest.mark.parametrize("wrong", WORKSPACES)
def test_a_bad_workspace_is_refused(resources: Resources, wrong: str) -> None:
    check(resources, "Workspace", WORKSPACES[wrong])


@pytest.mark.parametrize("wrong", POOLS)
def test_a_bad_pool_is_refused(resources: Resources, wrong: str) -> None:
    check(resources, "MailboxPool", POOLS[wrong])


def test_a_pool_stays_with_its_workspace(resources: Resources) -> None:
    resources.created("MailboxPool", "north", REF)
    answer = resources.patch("MailboxPool", "north", {"spec": {"workspaceRef": {"name": "other"}}})
    assert answer.code == 422
    assert "spec.workspaceRef" in answer.message
    assert "cannot be changed; make a new pool" in answer.message


def test_every_mistake_is_told_at_once(resources: Resources) -> None:
    spec = {
        "workspaceRef": {"name": "acme"},
        "replicas": {"min": 4, "target": 3, "max": 2},
        "policy": {"windowStart": "18:00", "weekdays": ["sat", "sat"], "cap": 20},
        "resources": {"requests": {"cpu": "much"}, "limits": {"cpu": "more"}},
    }
    answer = resources.create("MailboxPool", "mailhearth", spec, dry_run=True)
    fields = {cause["field"] for cause in answer.body["details"]["causes"]}
    assert fields >= {
        "metadata.name",
        "spec.replicas.min",
        "spec.replicas.target",
        "spec.policy.windowStart",
        "spec.policy.weekdays",
        "spec.policy.mode",
        "spec.resources.requests.cpu",
        "spec.resources.limits.cpu",
    }
