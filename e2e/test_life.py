"""The life of an installation on a real cluster, from the image to an empty namespace."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster import CHART, ROOT, Cluster, Json, build_image, run, the_version_before, wait_for
from dashboard import dashboard

TAG, BEFORE = "e2e", "e2e-before"
SANDBOX = ROOT / "examples" / "sandbox"
SETTINGS = (
    *("--set", "sandbox.enabled=true", "--set", "backups.database.enabled=true"),
    *("--set", "image.repository=mailhearth", "--set", "image.pullPolicy=IfNotPresent"),
)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


@pytest.fixture(scope="module")
def images() -> None:
    with the_version_before() as tree:
        started = time.monotonic()
        build_image(BEFORE, tree)
        build_image(TAG)
        say(f"two images built and loaded in {time.monotonic() - started:.0f} s")


@pytest.fixture(scope="module")
def cluster(images: None) -> Iterator[Cluster]:
    made = Cluster()
    run("kubectl", "delete", "namespace", made.namespace, "--ignore-not-found", "--timeout=120s")
    namespace: Json = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": made.namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    run("kubectl", "apply", "-f", "-", given=json.dumps(namespace))
    try:
        yield made
    finally:
        run("kubectl", "delete", "namespace", made.namespace, "--wait=false", ok=(0, 1))


def test_an_installation_lives_and_ends(cluster: Cluster) -> None:
    started = time.monotonic()
    install(cluster)
    first_mail(cluster, started)
    pods_are_killed(cluster)
    it_scales(cluster)
    the_dashboard_agrees(cluster)
    a_pool_sleeps_and_wakes(cluster)
    keys_are_rotated(cluster)
    it_is_upgraded(cluster)
    it_is_saved_and_brought_back(cluster)
    it_ends(cluster)


def settings(cluster: Cluster) -> tuple[str, ...]:
    """Values of the release; where another release owns the definitions, they stay that one's."""
    found = run(
        *("kubectl", "get", "crd", "workspaces.mailhearth.io", "--ignore-not-found", "-o", "json")
    )
    owner = json.loads(found or "{}").get("metadata", {}).get("annotations", {})
    if owner.get("meta.helm.sh/release-namespace", cluster.namespace) == cluster.namespace:
        return SETTINGS
    run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    return (*SETTINGS, "--set", "crds.install=false")


def install(cluster: Cluster) -> None:
    """The version before; every pod is admitted under `restricted`."""
    started = time.monotonic()
    cluster.helm(
        *("install", cluster.release, str(CHART), *settings(cluster)),
        *("--set", f"image.tag={BEFORE}"),
        *("--wait", "--timeout", "5m"),
    )
    say(f"helm install --wait: {time.monotonic() - started:.0f} s")
    cluster.helm("test", cluster.release, "--timeout", "2m")


def first_mail(cluster: Cluster, started: float) -> None:
    cluster.kubectl("apply", "-f", str(SANDBOX))
    wait_for("the pool is Ready", lambda: cluster.condition("mbp", "sales", "Ready") == "True")
    wait_for("the first mail", lambda: cluster.sent() > 0, 300)
    took = time.monotonic() - started
    say(f"from helm install to the first warmup mail: {took:.0f} s (goal: 300 s)")
    assert cluster.get("mbp", "sales")["status"]["mailboxes"] == 12
    assert cluster.condition("ws", "acme", "Ready") == "True"


def pods_are_killed(cluster: Cluster) -> None:
    """Worker, operator, scheduler, Redis and Postgres at once, without a word."""
    cluster.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    mail_goes_on(cluster, "after all pods were killed")


def mail_goes_on(cluster: Cluster, when: str) -> None:
    wait_for(f"the operator answers {when}", lambda: cluster.sent() >= 0)
    before = cluster.sent()
    took = wait_for(f"mail goes on {when}", lambda: cluster.sent() > before, 240)
    say(f"mail goes on {when}: {took:.0f} s")


def it_scales(cluster: Cluster) -> None:
    """By `kubectl scale`, by a HorizontalPodAutoscaler that reads what workers use, and back."""
    cluster.kubectl("scale", "mbp/sales", "--replicas=2")
    workers_are(cluster, "sales", 2)
    cluster.kubectl("scale", "mbp/sales", "--replicas=1")
    workers_are(cluster, "sales", 1)
    cluster.apply(AUTOSCALER)
    took = workers_are(cluster, "sales", 2)
    say(f"the autoscaler read the workers' use and asked for a second: {took:.0f} s")
    cluster.kubectl("delete", "hpa", "sales")
    cluster.kubectl("scale", "mbp/sales", "--replicas=1")
    workers_are(cluster, "sales", 1)


def workers_are(cluster: Cluster, pool: str, count: int) -> float:
    """Waits until so many workers of a pool are ready; the seconds it took."""
    return wait_for(
        f"{count} workers of {pool}",
        lambda: cluster.get("deploy", f"{pool}-workers")["status"].get("readyReplicas", 0) == count,
    )


def the_dashboard_agrees(cluster: Cluster) -> None:
    """What kubectl applies is there, and what there is was applied."""
    with dashboard(cluster) as page:
        assert "acme" in page.text("/admin/workspaces")
        assert "siesta" not in page.text("/admin/workspaces")
        cluster.apply(SIESTA)
        took = wait_for(
            "it is in the dashboard", lambda: "siesta" in page.text("/admin/workspaces")
        )
        say(f"a workspace that was applied is in the dashboard: {took:.1f} s (goal: 5 s)")


def a_pool_sleeps_and_wakes(cluster: Cluster) -> None:
    """With nothing to do it has no pod; a mailbox that is declared is signed in by one."""
    cluster.apply(SIESTA)
    cluster.apply(siesta_pool())
    wait_for(
        "the empty pool sleeps",
        lambda: cluster.reason("mbp", "siesta", "WorkersAvailable") == "Asleep",
    )
    assert cluster.get("deploy", "siesta-workers")["spec"]["replicas"] == 0
    cluster.apply(siesta_pool("sandbox-hana-kovar"))
    took = workers_are(cluster, "siesta", 1)
    say(f"a sleeping pool got a mailbox and woke: {took:.0f} s")
    wait_for("the mailbox was signed in", lambda: cluster.signed_in("siesta"))
    cluster.kubectl("delete", "mbp", "siesta")
    cluster.kubectl("delete", "ws", "siesta")


def keys_are_rotated(cluster: Cluster) -> None:
    """As a rollout: the new version is mounted first, then everything is sealed to it."""
    cluster.mailhearth("keys", "rotate", "--workspace", "acme")
    took = wait_for(
        "key version 2 is active",
        lambda: cluster.get("mbp", "sales")["status"].get("keyVersion") == 2,
    )
    say(f"keys rotated: {took:.0f} s")
    mail_goes_on(cluster, "with the new key")


@contextmanager
def web_is_asked(cluster: Cluster) -> Iterator[list[str]]:
    """Asks web for its health again and again, by the API server; what went wrong."""
    wrong: list[str] = []
    stop = threading.Event()
    path = f"/api/v1/namespaces/{cluster.namespace}/services/mailhearth-web:8080/proxy/healthz"

    def ask() -> None:
        while not stop.is_set():
            try:
                run("kubectl", "get", "--raw", path, seconds=10)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                wrong.append(str(error))
            stop.wait(0.2)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield wrong
    finally:
        stop.set()
        asking.join()


def it_is_upgraded(cluster: Cluster) -> None:
    """Web answers all the while."""
    started = time.monotonic()
    with web_is_asked(cluster) as wrong:
        cluster.helm(
            *("upgrade", cluster.release, str(CHART), *settings(cluster)),
            *("--set", f"image.tag={TAG}"),
            *("--wait", "--timeout", "5m"),
        )
        cluster.kubectl("rollout", "status", "deployment/mailhearth-web", "--timeout=120s")
    assert wrong == []
    say(f"helm upgrade, web answering all the while: {time.monotonic() - started:.0f} s")
    wait_for(
        "the workers are of the new image",
        lambda: (
            cluster.get("deploy", "sales-workers")["spec"]["template"]["spec"]["containers"][0][
                "image"
            ]
            == f"mailhearth:{TAG}"
        ),
    )
    mail_goes_on(cluster, "after the upgrade")


def it_is_saved_and_brought_back(cluster: Cluster) -> None:
    """A dump by the CronJob; then the database is put back to it."""
    cluster.kubectl("create", "job", "save", "--from=cronjob/mailhearth-backup")
    cluster.kubectl("wait", "--for=condition=complete", "job/save", "--timeout=120s")
    saved = cluster.sent()
    mail_goes_on(cluster, "after the backup")
    stopped = ("deployment/mailhearth-operator", "deployment/mailhearth-scheduler")
    cluster.kubectl("scale", *stopped, "--replicas=0")
    cluster.kubectl("delete", "deployment", "sales-workers")
    job = cluster.get("cronjob", "mailhearth-backup")["spec"]["jobTemplate"]
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0]["args"] = ["restore", "database", "/backups", "--force"]
    cluster.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "bring-back", "namespace": cluster.namespace},
            "spec": job["spec"],
        }
    )
    cluster.kubectl("wait", "--for=condition=complete", "job/bring-back", "--timeout=180s")
    cluster.kubectl("scale", *stopped, "--replicas=1")
    cluster.kubectl("rollout", "status", stopped[0], "--timeout=120s")
    wait_for("the operator is back", lambda: cluster.sent() >= 0)
    found = cluster.sent()
    say(f"restored: {found} sent in the database, {saved} when it was saved")
    assert found <= saved + 3
    wait_for("the pool is Ready", lambda: cluster.condition("mbp", "sales", "Ready") == "True")
    mail_goes_on(cluster, "after the restore")


def it_ends(cluster: Cluster) -> None:
    """The release first, then the resources: nothing is stuck."""
    cluster.kubectl("patch", "ws", "acme", "--type=merge", "-p", DELETE)
    wait_for(
        "the finalizer",
        lambda: cluster.get("ws", "acme")["metadata"].get("finalizers"),
    )
    cluster.kubectl("delete", "jobs", "--all")
    cluster.helm("uninstall", cluster.release, "--wait", "--timeout", "3m")
    cluster.kubectl("delete", "-f", str(SANDBOX), "--timeout=60s")
    wait_for(
        "the workers are gone",
        lambda: cluster.get("deploy,pods")["items"] == [],
    )
    left = {
        item["kind"]
        for item in cluster.get("all,secrets,configmaps,pvc,networkpolicies,pdb,roles")["items"]
    }
    say(f"left after helm uninstall and kubectl delete: {', '.join(sorted(left))}")
    run("kubectl", "delete", "namespace", cluster.namespace, "--timeout=120s")


DELETE = '{"spec": {"deletionPolicy": "Delete"}}'
AUTOSCALER: Json = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "sales"},
    "spec": {
        "scaleTargetRef": {
            "apiVersion": "mailhearth.io/v1alpha1",
            "kind": "MailboxPool",
            "name": "sales",
        },
        "minReplicas": 1,
        "maxReplicas": 2,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "memory",
                    "target": {"type": "AverageValue", "averageValue": "20Mi"},
                },
            }
        ],
    },
}
"""Asks for a second worker once it has read what the first uses, which is more than 20 Mi."""
SIESTA: Json = {
    "apiVersion": "mailhearth.io/v1alpha1",
    "kind": "Workspace",
    "metadata": {"name": "siesta"},
    "spec": {},
}


def siesta_pool(*mailboxes: str) -> Json:
    """A pool that may sleep, with mailboxes by their Secrets."""
    return {
        "apiVersion": "mailhearth.io/v1alpha1",
        "kind": "MailboxPool",
        "metadata": {"name": "siesta"},
        "spec": {
            "workspaceRef": {"name": "siesta"},
            "replicas": {"min": 0, "max": 1},
            "mailboxes": [{"secretName": name} for name in mailboxes],
        },
    }
