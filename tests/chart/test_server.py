"""The chart against a real API server: every object taken, every pod under `restricted`."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from apiserver import APPLY, ApiServer, Json
from custom_resources import install_foreign
from helm import CASES, CHART, NAMESPACE, RELEASE, helm, rendered

PATHS = {
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
}
"""Kinds without a namespace."""
FOREIGN = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "Certificate": "cert-manager.io/v1",
}
"""Kinds that other products define; here with a schema that takes anything."""


def plural(kind: str) -> str:
    lower = kind.lower()
    if lower.endswith("ss"):
        return f"{lower}es"
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


def path(found: Json, name: str = "") -> str:
    api = found["apiVersion"]
    start = f"/api/{api}" if "/" not in api else f"/apis/{api}"
    if found["kind"] not in PATHS:
        start += f"/namespaces/{found['metadata']['namespace']}"
    return f"{start}/{plural(found['kind'])}" + (f"/{name}" if name else "")


@pytest.fixture(scope="module")
def cluster(api: ApiServer) -> ApiServer:
    """The API server with the namespaces of the cases, and what other products define."""
    for name in (NAMESPACE, "north", "south"):
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": label}
        api.must("POST", "/api/v1/namespaces", {"metadata": metadata})
    users = {"metadata": {"name": "users-class"}, "value": 1000}
    api.must("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", users)
    for kind, version in FOREIGN.items():
        group, _, number = version.partition("/")
        install_foreign(api, kind, plural(kind), group, number)
    return api


@pytest.mark.parametrize("case", list(CASES))
def test_the_server_takes_every_object(cluster: ApiServer, case: str) -> None:
    query = "?dryRun=All&fieldManager=helm&fieldValidation=Strict"
    for found in rendered(case).objects:
        where = path(found, found["metadata"]["name"]) + query
        answer = cluster.request("PATCH", where, found, APPLY)
        assert answer.ok, f"{found['kind']} {found['metadata']['name']}: {answer.message}"


@pytest.mark.parametrize("case", list(CASES))
def test_the_server_admits_every_pod_as_restricted(cluster: ApiServer, case: str) -> None:
    query = "?dryRun=All&fieldValidation=Strict"
    for name, pod in rendered(case).pods():
        spec = dict(pod["spec"])
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
        claims = [mount for container in spec["containers"] for mount in container["volumeMounts"]]
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        spec["volumes"] = [  # a StatefulSet adds its claims
            *spec.get("volumes", []),
            *(
                {"name": mount["name"], "persistentVolumeClaim": {"claimName": mount["name"]}}
                for mount in claims
                if mount["name"] not in volumes
            ),
        ]
        answer = cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods{query}", body)
        assert answer.ok, f"{name}: {answer.message}"


@pytest.fixture
def namespace(cluster: ApiServer) -> str:
    """Of a release that is really installed, into an API server where nothing acts on it."""
    name = cluster.make_namespace()
    return name


def secrets(api: ApiServer, namespace: str) -> dict[str, Json]:
    found = api.must("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]
    return {
        one["metadata"]["name"]: one["data"] for one in found if one["type"] != "helm.sh/release.v1"
    }


def left(api: ApiServer, namespace: str) -> set[str]:
    """What there is of the kinds that the chart makes, without what the API server makes itself."""
    kinds = {path(found).replace(f"/{NAMESPACE}/", f"/{namespace}/") for found in namespaced()}
    names = {
        f"{kind.rsplit('/', 1)[1]}/{one['metadata']['name']}"
        for kind in kinds
        for one in api.must("GET", kind)["items"]
        if one.get("type") != "helm.sh/release.v1"
    }
    return names - {"configmaps/kube-root-ca.crt", "serviceaccounts/default"}


def namespaced() -> list[Json]:
    return [one for one in rendered("backups").objects if one["kind"] not in PATHS]


def test_passwords_and_certificates_are_kept_and_nothing_stuck_is_left(
    cluster: ApiServer, namespace: str
) -> None:
    about = ("--namespace", namespace)

    def act(*arguments: str, values: Json | None = None) -> None:
        helm(*arguments, *about, values=values, kubeconfig=cluster.kubeconfig)

    act("install", RELEASE, str(CHART), values={})
    first = secrets(cluster, namespace)
    assert set(first["mailhearth-logins"]) == {"web", "cli", "scheduler", "operator", "admin"}
    assert len({*first["mailhearth-logins"].values()}) == 5

    # No controller would end the hook's Job.
    act("upgrade", RELEASE, str(CHART), "--no-hooks", values={"web": {"tls": {"enabled": True}}})
    second = secrets(cluster, namespace)
    assert second.keys() - first.keys() == {"mailhearth-web-tls"}
    assert {name: second[name] for name in first} == first
    authority = cluster.must("GET", f"/api/v1/namespaces/{namespace}/configmaps/mailhearth-ca")
    check(authority["data"]["ca.crt"], second["mailhearth-web-tls"], "mailhearth-web")
    check(authority["data"]["ca.crt"], second["mailhearth-postgres-tls"], "mailhearth-postgres")

    act("uninstall", RELEASE, "--no-hooks")
    assert secrets(cluster, namespace) == {}
    assert left(cluster, namespace) == {"persistentvolumeclaims/mailhearth-scheduler"}
    for kind in ("workspaces", "mailboxpools"):
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.mailhearth.io"
        assert cluster.request("GET", path).ok


def check(authority: str, secret: Json, host: str) -> None:
    """Verifies as a TLS client would that the certificate is of that host."""
    store = Store(x509.load_pem_x509_certificates(authority.encode()))
    leaf = x509.load_pem_x509_certificate(base64.b64decode(secret["tls.crt"]))
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName(host))
    assert verifier.verify(leaf, [])
