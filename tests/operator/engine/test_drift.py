"""What somebody changes by hand in a pool's objects is put right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apiserver import APPLY, Json
from operating import SECONDS, WORKERS, Operating
from waiting import wait_for


def worker(operating: Operating) -> Json:
    deployment = operating.get("Deployment", WORKERS)
    assert deployment is not None
    found: Json = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def replace(operating: Operating, kind: str, name: str, change: Callable[[Json], Any]) -> None:
    """As `kubectl edit`."""
    obj = operating.get(kind, name)
    assert obj is not None
    change(obj)
    operating.api.must("PUT", operating.path(kind, name) + "?fieldManager=kubectl-edit", obj)


def pod_of(obj: Json) -> Json:
    found: Json = obj["spec"]["template"]["spec"]
    return found


EDITS: dict[str, tuple[str, Callable[[Json], Any]]] = {
    "another image": (
        "Deployment",
        lambda obj: pod_of(obj)["containers"][0].update(image="mailhearth:old"),
    ),
    "other replicas": ("Deployment", lambda obj: obj["spec"].update(replicas=7)),
    "a label taken off": (
        "Deployment",
        lambda obj: obj["metadata"]["labels"].pop("mailhearth.io/pool"),
    ),
    "a variable taken off": (
        "Deployment",
        lambda obj: pod_of(obj)["containers"][0]["env"].pop(),
    ),
    "a variable added": (
        "Deployment",
        lambda obj: pod_of(obj)["containers"][0]["env"].append({"name": "DEBUG", "value": "1"}),
    ),
    "a container added": (
        "Deployment",
        lambda obj: pod_of(obj)["containers"].append({"name": "spy", "image": "spy:1"}),
    ),
    "a container that starts first": (
        "Deployment",
        lambda obj: pod_of(obj).update(initContainers=[{"name": "spy", "image": "spy:1"}]),
    ),
    "a pod of the host's network": (
        "Deployment",
        lambda obj: pod_of(obj).update(hostNetwork=True),
    ),
    "more to mount": (
        "Deployment",
        lambda obj: pod_of(obj)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    ),
    "a privilege": (
        "Deployment",
        lambda obj: pod_of(obj)["containers"][0]["securityContext"].update(runAsUser=0),
    ),
    "an owner taken off": (
        "NetworkPolicy",
        lambda obj: obj["metadata"].pop("ownerReferences"),
    ),
    "a way out for all": (
        "NetworkPolicy",
        lambda obj: obj["spec"]["egress"].append({}),
    ),
    "a budget of none": (
        "PodDisruptionBudget",
        lambda obj: obj["spec"].update(maxUnavailable=0),
    ),
}


def essence(obj: Json | None) -> Json | None:
    """What was wished, without what the server counts."""
    if obj is None:
        return None
    meta = obj["metadata"]
    kept = {key: meta.get(key) for key in ("name", "labels", "ownerReferences")}
    return {"metadata": kept, "spec": obj["spec"]}


def test_edits_are_undone(operating: Operating) -> None:
    operating.settle()
    for what, (kind, change) in EDITS.items():
        before = essence(operating.get(kind, WORKERS))
        replace(operating, kind, WORKERS, change)
        try:
            wait_for(lambda: essence(operating.get(kind, WORKERS)) == before, SECONDS)  # noqa: B023
        except AssertionError:
            pytest.fail(f"{what} was not undone: {essence(operating.get(kind, WORKERS))}")


def test_what_is_added_by_another_manager_s_apply_goes_too(operating: Operating) -> None:
    operating.settle()
    spy = {"spec": {"template": {"spec": {"containers": [{"name": "spy", "image": "spy:1"}]}}}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": WORKERS}, **spy}
    operating.api.must(
        "PATCH", operating.path("Deployment", WORKERS) + "?fieldManager=spy", body, APPLY
    )

    def names() -> list[str]:
        deployment = operating.get("Deployment", WORKERS) or {}
        return [one["name"] for one in pod_of(deployment)["containers"]]

    wait_for(lambda: names() == ["worker"], SECONDS)


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "PodDisruptionBudget"])
def test_what_is_deleted_is_made_anew(operating: Operating, kind: str) -> None:
    operating.settle()
    before = operating.get(kind, WORKERS)
    assert before is not None
    operating.delete(kind, WORKERS)

    def is_new() -> bool:
        now = operating.get(kind, WORKERS)
        return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

    wait_for(is_new, SECONDS)
    assert essence(operating.get(kind, WORKERS)) == essence(before)


def test_a_budget_that_is_no_longer_wished_goes(operating: Operating) -> None:
    operating.settle()
    operating.patch("MailboxPool", "sales", {"spec": {"replicas": {"max": 1}}})
    wait_for(lambda: operating.get("PodDisruptionBudget", WORKERS) is None, SECONDS)
    operating.patch("MailboxPool", "sales", {"spec": {"replicas": {"max": 2}}})
    wait_for(lambda: operating.get("PodDisruptionBudget", WORKERS) is not None, SECONDS)


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "PodDisruptionBudget"])
def test_an_orphan_of_the_pool_is_taken_away(operating: Operating, kind: str) -> None:
    operating.settle()
    obj = operating.get(kind, WORKERS)
    assert obj is not None
    stray = {
        **obj,
        "metadata": {key: obj["metadata"][key] for key in ("labels", "ownerReferences")},
    }
    stray["metadata"]["name"] = "sales-workers-of-old"
    stray.pop("status", None)
    operating.api.must("POST", operating.path(kind), stray)
    wait_for(lambda: operating.get(kind, "sales-workers-of-old") is None, SECONDS)
    assert operating.get(kind, WORKERS) is not None
