"""Every file of examples/ is taken by a real API server, and says what the product understands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver import ApiServer, Json
from custom_resources import install_foreign
from helm import CHART, RECIPIENT, Rendered, containers, render
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs.mailbox_spec import parse_spec
from mailhearth_operator.cluster.kinds import MAILBOX_LABEL
from mailhearth_operator.engine.context import GITOPS_LABEL
from mailhearth_operator.engine.mailboxes import OPTIONS
from mailhearth_operator.resources.spec import pool_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VALUES = sorted(EXAMPLES.glob("values-*.yaml"))
OBJECTS = sorted(path for path in EXAMPLES.glob("*.yaml") if path not in VALUES)
GITOPS = EXAMPLES / "gitops"
FOREIGN = "externalsecrets.external-secrets.io"
RECIPIENT_OF_TESTS = {"backups": {"keys": {"recipient": RECIPIENT}}}
FEWEST_FILES = 5


def documents(text: str) -> list[Json]:
    return [found for found in yaml.safe_load_all(text) if found]


def in_file(path: Path) -> list[Json]:
    return documents(path.read_text())


def kubectl(*words: str) -> str:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on PATH: https://kubernetes.io/docs/tasks/tools")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kustomized() -> list[Json]:
    return documents(kubectl("kustomize", str(GITOPS)))


@pytest.fixture(scope="module")
def namespace(api: ApiServer) -> str:
    """A namespace under `restricted`, where the External Secrets operator is known."""
    kinds, _, group = FOREIGN.partition(".")
    install_foreign(api, "ExternalSecret", kinds, group, "v1")
    made = api.make_namespace()
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.must(
        "PATCH",
        f"/api/v1/namespaces/{made}",
        {"metadata": {"labels": label}},
        "application/merge-patch+json",
    )
    return made


def try_out(api: ApiServer, namespace: str, objects: list[Json], folder: Path) -> None:
    """Server-side apply as kubectl does it, dry; unknown fields are refused."""
    assert objects
    bare = [one | {"metadata": one["metadata"] | {"namespace": namespace}} for one in objects]
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(bare))
    where = ("--kubeconfig", str(api.kubeconfig), "--cache-dir", str(folder / "cache"))
    strict = ("--server-side", "--dry-run=server", "--validate=strict")
    said = kubectl(*where, "apply", *strict, "-f", str(path))
    assert said.count("serverside-applied") == len(objects)


def test_there_are_examples_to_try() -> None:
    assert len(OBJECTS) >= FEWEST_FILES
    assert len(VALUES) > 1


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_the_server_takes_the_objects(
    api: ApiServer, namespace: str, path: Path, tmp_path: Path
) -> None:
    try_out(api, namespace, in_file(path), tmp_path)


def test_the_server_takes_the_sandbox_and_the_repository(
    api: ApiServer, namespace: str, tmp_path: Path
) -> None:
    sandbox = [one for path in sorted((EXAMPLES / "sandbox").glob("*")) for one in in_file(path)]
    try_out(api, namespace, sandbox, tmp_path)
    try_out(api, namespace, kustomized(), tmp_path)


def test_what_a_repository_owns_carries_the_label() -> None:
    found = kustomized()
    assert {one["kind"] for one in found} == {"Workspace", "MailboxPool", "ExternalSecret"}
    for one in found:
        assert one["metadata"]["labels"] == {GITOPS_LABEL: "gitops"}
    assert {one["metadata"]["namespace"] for one in found} == {"mailhearth"}


def declared_by_store() -> list[dict[str, str]]:
    """What the Secrets of the External Secrets operator will say."""
    templates = [
        one["spec"]["target"] for one in in_file(GITOPS / "mailboxes.yaml") if one["spec"]["data"]
    ]
    for one in templates:
        assert one["template"]["metadata"]["labels"] == {MAILBOX_LABEL: "true"}
    return [one["template"]["data"] for one in templates]


def test_the_declared_mailboxes_are_ones_and_the_pools_name_them() -> None:
    secrets = in_file(EXAMPLES / "mailbox-secret.yaml")
    for one in secrets:
        assert one["metadata"]["labels"] == {MAILBOX_LABEL: "true"}
        values: dict[str, str | None] = dict(one["stringData"])
        assert values.keys() <= OPTIONS
        password = Secret(values.pop("password") or "")
        values["consent"] = "workspace" if values.get("consent") == "true" else "none"
        assert parse_spec(values, password).consent == "workspace"
    for data in declared_by_store():
        assert data.keys() <= OPTIONS
    names = {one["metadata"]["name"] for one in secrets}
    names |= {one["spec"]["target"]["name"] for one in in_file(GITOPS / "mailboxes.yaml")}
    (pool,) = in_file(EXAMPLES / "pool.yaml")
    (owned,) = in_file(GITOPS / "pool.yaml")
    named = [box["secretName"] for one in (pool, owned) for box in one["spec"]["mailboxes"]]
    assert sorted(named) == sorted(names)


def test_the_pool_of_the_sandbox_names_the_mailboxes_of_the_chart() -> None:
    (trial,) = (path for path in VALUES if "trial" in path.name)
    found = render(in_file(trial)[0])
    boxes = {
        one["metadata"]["name"]
        for one in found.of("Secret")
        if one["metadata"].get("labels", {}).get(MAILBOX_LABEL)
    }
    (pool,) = in_file(EXAMPLES / "sandbox" / "pool.yaml")
    named = [one["secretName"] for one in pool["spec"]["mailboxes"]]
    assert set(named) == boxes
    assert len(named) == len(boxes)
    made = pool | {"metadata": pool["metadata"] | {"namespace": "x", "uid": "u", "generation": 1}}
    assert pool_of(made, sandbox=True).mailboxes == tuple(named)


def test_the_production_values_leave_nothing_to_the_trial() -> None:
    found = production()
    assert found.of("StatefulSet") == []
    assert {one["kind"] for one in found.objects} >= {"Ingress", "PrometheusRule", "CronJob"}
    # Two renderings are equal but for what the chart would ask a cluster for.
    assert {one["metadata"]["name"] for one in found.of("Secret")} == {"mailhearth-logins"}
    for name, pod in found.pods():
        for container in containers(pod):
            environ = {one["name"]: one.get("value", "") for one in container.get("env", ())}
            for variable, value in environ.items():
                if "DATABASE_URL" in variable:
                    assert "@db.example.org:5432/mailhearth?sslmode=verify-full" in value, name


def production() -> Rendered:
    values: Json = in_file(EXAMPLES / "values-production.yaml")[0]
    values["backups"]["keys"] |= RECIPIENT_OF_TESTS["backups"]["keys"]
    return render(values)


def test_a_reader_of_backups_mounts_the_claims_of_the_chart() -> None:
    found = render(
        {
            "backups": {
                "database": {"enabled": True},
                "keys": {"enabled": True, "recipient": RECIPIENT},
            }
        }
    )
    claims = {one["metadata"]["name"] for one in found.of("PersistentVolumeClaim")}
    (pod,) = in_file(EXAMPLES / "reach-backups.yaml")
    named = {one["persistentVolumeClaim"]["claimName"] for one in pod["spec"]["volumes"]}
    assert named <= claims
    version: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert pod["spec"]["containers"][0]["image"] == f"mailhearth:{version['appVersion']}"
    # A policy of the chart holds for it: nothing in, nothing out.
    (policy,) = (
        one for one in found.of("NetworkPolicy") if one["metadata"]["name"] == "mailhearth-volume"
    )
    wanted = policy["spec"]["podSelector"]["matchLabels"]
    assert wanted.items() <= pod["metadata"]["labels"].items()
    assert "egress" not in policy["spec"]


def test_what_would_be_wrong_is_noticed(api: ApiServer, namespace: str, tmp_path: Path) -> None:
    (pool,) = in_file(EXAMPLES / "pool.yaml")
    pool["spec"]["replicsa"] = {}
    with pytest.raises(AssertionError, match="replicsa"):
        try_out(api, namespace, [pool], tmp_path)
