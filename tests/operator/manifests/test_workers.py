"""What a pool's workers are made of, and that the worker's own settings accept it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailhearth_core.settings import WorkerSettings
from mailhearth_operator.manifests.model import Owner, Platform, Pool
from mailhearth_operator.manifests.replicas import Demand, Wish, wanted
from mailhearth_operator.manifests.workers import deployment, objects

OWN, OTHER = UUID(int=7), UUID(int=8)
PLATFORM = Platform(
    image="mailhearth:1",
    database_url="postgresql://db.example:5432/mailhearth?sslmode=verify-full&sslrootcert=/ca/ca.crt",
    redis_secret="redis-workers",
    database_ca="database-ca",
)
NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


def pool(**changes: Any) -> Pool:
    values: dict[str, Any] = {
        "namespace": "mail",
        "owner": Owner("main", "0000-1"),
        "group": "g1",
        "workspaces": (OWN,),
        "key_secrets": {(OWN, 1): "key-own-1", (OWN, 2): "key-own-2", (OTHER, 1): "key-other-1"},
        "login_secrets": {OWN: "login-own", OTHER: "login-other"},
        "replicas": 2,
        "most": 4,
    }
    return Pool(**values | changes)


def test_pods_are_restricted_and_hold_nothing_that_is_not_theirs() -> None:
    made = deployment(PLATFORM, pool())
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {volume.get("hostPath") for volume in pod["volumes"]} == {None}
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/data"]
    # A private key or a login of another workspace is not even named.
    assert "key-other" not in json.dumps(made)
    assert "login-other" not in json.dumps(made)
    (keys,) = [v["projected"]["sources"] for v in pod["volumes"] if v["name"] == "keys"]
    assert [(s["secret"]["name"], s["secret"]["items"][0]["path"]) for s in keys] == [
        ("key-own-1", f"{OWN}/1"),
        ("key-own-2", f"{OWN}/2"),
    ]


def test_the_workers_own_settings_accept_the_environment() -> None:
    (container,) = deployment(PLATFORM, pool())["spec"]["template"]["spec"]["containers"]
    given = {
        "MAILHEARTH_NAME": "main-workers-5d4f-x1",  # from the pod's name
        "MAILHEARTH_REDIS_URL": "rediss://workers:word@redis.example:6379/0",  # from the Secret
    }
    environment = {e["name"]: e.get("value") or given[e["name"]] for e in container["env"]}
    settings = WorkerSettings.load(environment)
    assert settings.groups == ("g1",)
    assert (settings.metrics_port, settings.health_port) == (9090, 8081)
    assert str(settings.keys_folder) == "/keys"


def test_secrets_of_oauth_clients_come_from_the_secret_that_is_named() -> None:
    platform = replace(PLATFORM, oauth_secret="clients")
    (container,) = deployment(platform, pool())["spec"]["template"]["spec"]["containers"]
    asked = {
        e["name"]: e["valueFrom"]["secretKeyRef"]
        for e in container["env"]
        if e["name"].endswith("_CLIENT_SECRET")
    }
    assert asked.keys() <= {f"MAILHEARTH_{field.upper()}" for field in WorkerSettings.model_fields}
    assert asked == {
        f"MAILHEARTH_{owner}_CLIENT_SECRET": {
            "name": "clients",
            "key": f"{owner.lower()}-client-secret",
            "optional": True,  # an installation may have a client at one of them only
        }
        for owner in ("GOOGLE", "MICROSOFT")
    }


def test_selectors_agree_and_all_belongs_to_the_resource() -> None:
    made = objects(PLATFORM, pool())
    assert [o["kind"] for o in made] == ["NetworkPolicy", "PodDisruptionBudget", "Deployment"]
    assert [o["kind"] for o in objects(PLATFORM, pool(most=1))] == ["NetworkPolicy", "Deployment"]
    labels = made[-1]["spec"]["template"]["metadata"]["labels"]
    for one in made:
        spec = one["spec"]
        selector = spec.get("selector") or spec["podSelector"]
        assert selector["matchLabels"].items() <= labels.items()
        assert one["metadata"]["ownerReferences"][0]["uid"] == "0000-1"
    long = pool(owner=Owner("a" * 200, "1"))
    assert len(long.name) <= 63


@pytest.mark.parametrize(
    ("due", "idle_minutes", "next_s", "least", "target", "backlog", "suspended", "replicas"),
    [
        (0, None, None, 0, 1, True, False, 0),  # nothing planned: asleep
        (0, None, 91, 0, 1, True, False, 0),
        (0, None, 90, 0, 1, True, False, 1),  # up before its next send
        (1, None, None, 0, 1, True, False, 1),
        (0, 9, None, 0, 1, True, False, 1),  # idle, but not for long enough
        (0, 10, None, 0, 1, True, False, 0),
        (0, None, None, 1, 1, True, False, 1),  # min 1 never sleeps
        (41, 0, 0, 0, 1, True, False, 2),
        (4_000, 0, 0, 0, 1, True, False, 4),  # never more than max
        (4_000, 0, 0, 0, 1, False, False, 1),  # without Backlog the target alone decides
        (1, 0, 0, 1, 3, False, False, 3),  # kubectl scale
        (1, 0, 0, 1, 9, False, False, 4),
        (1, 0, 0, 0, 0, True, False, 1),
        (4_000, 0, 0, 2, 3, True, True, 0),  # suspended
    ],
)
def test_replicas(
    due: int,
    idle_minutes: int | None,
    next_s: int | None,
    least: int,
    target: int,
    backlog: bool,
    suspended: bool,
    replicas: int,
) -> None:
    busy_at = None if idle_minutes is None else NOW - timedelta(minutes=idle_minutes)
    assert replicas == wanted(
        Demand(due, None if next_s is None else timedelta(seconds=next_s), busy_at),
        Wish(least=least, most=4, target=target, backlog=backlog, suspended=suspended),
        now=NOW,
    )
