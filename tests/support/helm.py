"""The chart as Helm itself renders it, and a table of values that it must do well with."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Json = dict[str, Any]
CHART = Path(__file__).resolve().parents[2] / "charts" / "mailhearth"
RELEASE, NAMESPACE = "mailhearth", "mh"
SECONDS = 120.0

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
RECIPIENT = "age1" + "q" * 58
EXTERNAL: Json = {
    "database": {
        "bundled": {"enabled": False},
        "external": {"host": "db.example.org", "existingSecret": "users-owner"},
    },
    "redis": {
        "bundled": {"enabled": False},
        "external": {"host": "redis.example.org", "existingSecret": "users-redis"},
    },
    "trust": {"certificates": PEM},
}
MONITORING: Json = {name: {"enabled": True} for name in ("serviceMonitor", "rules", "dashboard")}
SANDBOX: Json = {"enabled": True}
CASES: Mapping[str, Json] = {
    "trial": {},
    "external": EXTERNAL,
    "gitops": EXTERNAL
    | {
        "database": EXTERNAL["database"] | {"existingLoginsSecret": "users-logins"},
        "trust": {"existingConfigMap": "users-authorities"},
        "web": {
            "tls": {"enabled": True, "existingSecret": "users-web-tls"},
            "oidc": {"existingSecret": "users-oidc"},
        },
        "workers": {"oauth": {"existingSecret": "users-clients"}},
    },
    "cert-manager": {
        "tls": {"issuer": {"name": "house", "kind": "ClusterIssuer"}},
        "trust": {"certificates": PEM},
        "web": {"tls": {"enabled": True}},
    },
    "cluster-wide": {
        "operator": {"clusterWide": True, "namespaces": ["north", "south"]},
        "monitoring": MONITORING,
        "backups": {"keys": {"enabled": True, "recipient": RECIPIENT}},
    },
    "ingress": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "mail.example.org",
            "tls": {"secretName": "users-certificate"},
            "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"},
        },
        "web": {"tls": {"enabled": True}, "settings": {"MAILHEARTH_REGISTRATION_OPEN": True}},
    },
    "large": EXTERNAL
    | {
        "web": {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 9}},
        "scheduler": {"replicas": 2, "storage": {"accessMode": "ReadWriteMany"}},
        "workers": {"settings": {"MAILHEARTH_PER_HOST_CAP": 8}},
        "image": {"digest": "sha256:" + "a" * 64, "pullSecrets": ["users-registry"]},
        "pods": {
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "mail", "operator": "Exists"}],
            "priorityClassName": "users-class",
            "labels": {"team": "mail"},
            "annotations": {"example.org/note": "all"},
        },
        "commonLabels": {"example.org/cost": "mail"},
        "commonAnnotations": {"example.org/owner": "platform"},
        "networkPolicies": {
            "webFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
            "databaseAt": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        },
    },
    "sandbox": {"sandbox": SANDBOX},
    "monitoring": {"monitoring": MONITORING},
    "backups": {
        "database": {"bundled": {"archive": {"enabled": True}}},
        "backups": {
            "database": {"enabled": True},
            "base": {"enabled": True},
            "keys": {"enabled": True, "recipient": RECIPIENT},
        },
        "monitoring": {"rules": {"enabled": True}},
    },
    "bare": EXTERNAL
    | {
        "crds": {"install": False},
        "networkPolicies": {"enabled": False},
        "web": {"administration": False, "spreadOver": []},
    },
}
"""By name, values that differ from the chart's own."""


class HelmRefused(Exception):
    """Helm would not; the text is what it said."""


def require_helm() -> str:
    """The program; skips the calling test where there is none."""
    found = shutil.which("helm")
    if found is None:
        pytest.skip("helm is not on PATH: install Helm 4, https://helm.sh/docs/intro/install")
    return found


def helm(*arguments: str, values: Json | None = None, kubeconfig: Path | None = None) -> str:
    """One call; returns its standard output. Raises HelmRefused."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HELM_NO_PLUGINS": "1"}
    given = ["--values", "-"] if values is not None else []
    where = ["--kubeconfig", str(kubeconfig)] if kubeconfig is not None else []
    done = subprocess.run(
        [require_helm(), *arguments, *given, *where],
        input=json.dumps(values) if values is not None else "",
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise HelmRefused(done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: tuple[Json, ...]

    def of(self, kind: str) -> list[Json]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str) -> Json:
        """The object of that name; fails where there is none."""
        (found,) = (one for one in self.of(kind) if one["metadata"]["name"] == name)
        return found

    def pods(self) -> Iterator[tuple[str, Json]]:
        """Kind and name of what makes a pod, with the pod's template: metadata and spec."""
        for found in self.objects:
            template = pod_template(found)
            if template is not None:
                yield f"{found['kind']} {found['metadata']['name']}", template


def pod_template(found: Json) -> Json | None:
    """The pod that an object makes or is; None where there is none."""
    match found["kind"]:
        case "Pod":
            return {"metadata": found["metadata"], "spec": found["spec"]}
        case "Deployment" | "StatefulSet" | "Job":
            template: Json = found["spec"]["template"]
            return template
        case "CronJob":
            inner: Json = found["spec"]["jobTemplate"]["spec"]["template"]
            return inner
    return None


def containers(pod: Json) -> list[Json]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def render(values: Json, *, release: str = RELEASE, upgrade: bool = False) -> Rendered:
    """`helm template`, with no cluster to ask. Raises HelmRefused."""
    flags = ["--is-upgrade"] if upgrade else []
    text = helm(*("template", release, str(CHART), "--namespace", NAMESPACE, *flags), values=values)
    return Rendered(tuple(found for found in yaml.safe_load_all(text) if found))


@functools.cache
def rendered(case: str) -> Rendered:
    """A case of the table, rendered once; not to be changed."""
    return render(CASES[case])


def chart_values() -> Json:
    """What values.yaml says."""
    values: Json = yaml.safe_load((CHART / "values.yaml").read_text())
    return values
