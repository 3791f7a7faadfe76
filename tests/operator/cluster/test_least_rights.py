"""The chart's Role holds what the operator needs, and nothing that it does not use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver import ApiServer, Json
from custom_resources import Resources
from database import ACTOR, TestInstallation
from helm import RELEASE, render, require_helm
from mailhearth_core.provisioning import shared
from mailhearth_core.verbs import keys, pools, workspaces
from mailhearth_operator.cluster.api import Api, load_configuration
from mailhearth_operator.letting_go import let_go_of_all
from operating import ANN, SECONDS, WORKERS, Operating
from waiting import wait_for

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
ACCOUNT = "operator"
Right = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""


@pytest.fixture
def rules() -> list[Json]:
    """Of the operator's Role, as Helm renders it."""
    require_helm()
    found: list[Json] = render({}).one("Role", f"{RELEASE}-operator")["rules"]
    return found


@pytest.fixture
def kubeconfig(api: ApiServer, resources: Resources, rules: list[Json]) -> Path:
    """An account that has the Role, and no more."""
    where = resources.namespace
    made = api.make_account(where, ACCOUNT)
    api.must("POST", f"{RBAC}/{where}/roles", {"metadata": {"name": ACCOUNT}, "rules": rules})
    binding = {
        "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": where}],
    }
    api.must("POST", f"{RBAC}/{where}/rolebindings", binding)
    return made


@pytest.fixture
def operating(
    api: ApiServer, resources: Resources, installation: TestInstallation, kubeconfig: Path
) -> Iterator[Operating]:
    with Operating(api, resources, installation, kubeconfig=kubeconfig) as made:
        yield made


def held(rules: list[Json]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(events: list[Json]) -> tuple[set[Right], list[str]]:
    """The rights that requests needed, and what was forbidden."""
    rights: set[Right] = set()
    forbidden = []
    for event in events:
        about = event.get("objectRef")
        if about is None or "resource" not in about:
            continue
        code = event.get("responseStatus", {}).get("code", 0)
        if code == 403:
            forbidden.append(f"{event['verb']} {event['requestURI']}")
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        right = (about.get("apiGroup", ""), resource, event["verb"])
        rights.add(right)
        if event["verb"] == "patch" and code == 201:  # an apply that makes the object
            rights.add((right[0], resource, "create"))
    return rights, forbidden


def test_a_whole_life_uses_each_right_and_needs_no_other(
    operating: Operating,
    kubeconfig: Path,
    rules: list[Json],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "PURGE_SECONDS", 0.0)
    installation = operating.installation
    operating.secret("ann", ANN)
    operating.settle(mailboxes=[{"secretName": "ann"}])
    for kind in ("Deployment", "NetworkPolicy"):
        leave_a_stray(operating, kind)
    operating.patch("MailboxPool", "sales", {"spec": {"replicas": {"max": 1}}})
    wait_for(lambda: operating.get("PodDisruptionBudget", WORKERS) is None, SECONDS)
    keys.rotate(installation.door, operating.workspace_id(), ACTOR)
    wait_for(lambda: len(operating.key_secrets()) == 2, SECONDS)
    operating.until("Workspace", "acme", "Progressing", "True", "KeyRollout")
    wait_for(lambda: "-2'" in str(operating.get("Deployment", WORKERS)), SECONDS)
    operating.roll_out(WORKERS)
    operating.until("Workspace", "acme", "Progressing", "False")
    operating.patch("Workspace", "acme", {"spec": {"deletionPolicy": "Delete"}})
    for kind, name in (("Workspace", "acme"), ("MailboxPool", "sales")):
        wait_for(
            lambda: (operating.get(kind, name) or {})["metadata"].get("finalizers"),  # noqa: B023
            SECONDS,
        )

    north = workspaces.create(installation.database("cli"), "north", ACTOR)
    operating.until("Workspace", "north", "Ready", "True")
    pools.create(installation.door, north, "main", {}, ACTOR, sandbox=False)
    wait_for(lambda: operating.get("Deployment", "main-workers") is not None, SECONDS)
    workspaces.begin_deletion(installation.database("cli"), north, ACTOR)
    wait_for(lambda: operating.get("MailboxPool", "main") is None, SECONDS)
    wait_for(lambda: operating.get("Workspace", "north") is None, SECONDS)
    operating.operator.health.compare()
    operating.stop()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert let_go_of_all(Api(load_configuration()), (operating.namespace,)) == 2
    operating.start()

    rights, forbidden = used(operating.api.audited(operating.namespace, ACCOUNT))
    assert forbidden == []
    assert rights - held(rules) == set()
    assert held(rules) - rights == set()


def leave_a_stray(operating: Operating, kind: str) -> None:
    """An object of an older version, which had another name."""
    obj = operating.get(kind, WORKERS)
    assert obj is not None
    meta = {key: obj["metadata"][key] for key in ("labels", "ownerReferences")}
    stray = {"metadata": {**meta, "name": "sales-of-old"}, "spec": obj["spec"]}
    operating.api.must("POST", operating.path(kind), stray)
    wait_for(lambda: operating.get(kind, "sales-of-old") is None, SECONDS)


def test_a_right_that_is_missing_is_named_until_it_is_given(
    operating: Operating, rules: list[Json]
) -> None:
    role = f"{RBAC}/{operating.namespace}/roles/{ACCOUNT}"
    fewer = [rule for rule in rules if rule["resources"] != ["deployments"]]
    kept = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list", "watch"]}
    operating.api.must("PUT", role, {"metadata": {"name": ACCOUNT}, "rules": [*fewer, kept]})
    operating.resources.created("Workspace", "acme", {})
    operating.resources.created("MailboxPool", "sales", {"workspaceRef": {"name": "acme"}})
    operating.until("Workspace", "acme", "Ready", "True")
    found = operating.until("MailboxPool", "sales", "Ready", "Unknown", "Forbidden")
    assert "the verb 'patch' on deployments" in found["message"]
    wait_for(lambda: operating.events("Forbidden"))
    operating.api.must("PUT", role, {"metadata": {"name": ACCOUNT}, "rules": rules})
    operating.until("MailboxPool", "sales", "WorkersAvailable", "False", "Unavailable")
