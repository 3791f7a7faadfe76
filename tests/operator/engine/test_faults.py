"""The operator goes on: after its own death, and after that of what it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apiserver import ApiServer
from custom_resources import Resources
from database import TestInstallation
from mailhearth_operator import health
from operating import SECONDS, WORKERS, Operating, database_away, platform_file
from waiting import wait_for


@contextmanager
def process(operating: Operating, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The operator as its pod runs it; killed with no warning at the end."""
    platform = folder / "platform.yaml"
    platform.write_text(json.dumps(platform_file().model_dump(mode="json", by_alias=True)))
    environ = {
        **operating.variables,
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(operating.api.kubeconfig),
        "MAILHEARTH_PLATFORM_FILE": str(platform),
    }
    started = subprocess.Popen(
        [sys.executable, "-m", "mailhearth_operator"],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()


MOMENTS: dict[str, Callable[[Operating], object]] = {
    "a key's Secret is there": lambda one: one.key_secrets(),
    "a login's Secret is there": lambda one: one.listed("Secret", "mailhearth.io/login"),
    "the first object is there": lambda one: one.get("NetworkPolicy", WORKERS),
}


@pytest.mark.parametrize("moment", list(MOMENTS))
def test_an_operator_killed_in_the_middle_is_followed_by_one_that_settles(
    api: ApiServer,
    resources: Resources,
    installation: TestInstallation,
    tmp_path: Path,
    moment: str,
) -> None:
    operating = Operating(api, resources, installation)
    resources.created("Workspace", "acme", {})
    resources.created("MailboxPool", "sales", {"workspaceRef": {"name": "acme"}})
    with process(operating, tmp_path):
        wait_for(lambda: MOMENTS[moment](operating), 60)
    with operating:
        operating.until("Workspace", "acme", "Ready", "True")
        wait_for(lambda: operating.get("Deployment", WORKERS) is not None, SECONDS)
        operating.roll_out(WORKERS)
        operating.until("MailboxPool", "sales", "Ready", "True")
        row = installation.one("SELECT version, state FROM key_versions")
        assert row["state"] == "active"
        name = f"mailhearth-key-{operating.workspace_id()}-{row['version']}"
        assert name in operating.key_secrets()
        operating.sign_in(operating.password() or "")


def test_an_api_server_that_was_away_is_followed_again(operating: Operating) -> None:
    operating.settle()
    operating.api.stop_server()
    try:
        operating.operator.reconciler.add_all()
        assert operating.operator.health.reasons() == []
    finally:
        operating.api.start_server()
    operating.delete("PodDisruptionBudget", WORKERS)
    wait_for(lambda: operating.get("PodDisruptionBudget", WORKERS) is not None, 60)
    operating.patch("MailboxPool", "sales", {"spec": {"replicas": {"target": 2}}})
    wait_for(lambda: operating.replicas() == 2, 60)
    operating.look()
    assert len(operating.key_secrets()) == 1


def test_what_went_unseen_is_noticed_by_comparing(
    operating: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    operating.settle()
    (key,) = operating.key_secrets()
    took_place = operating.operator.reconciler.took_place

    def deaf(kind: object, change: str | None, obj: object) -> None:
        """A watch that begins anew shows what there is, and not what went meanwhile."""

    monkeypatch.setattr(operating.operator.reconciler, "took_place", deaf)
    wait_for(lambda: operating.operator.reconciler.queue.depth() == 0)
    operating.delete("Secret", key)
    operating.delete("NetworkPolicy", WORKERS)
    monkeypatch.setattr(operating.operator.reconciler, "took_place", took_place)
    for _ in range(2):
        operating.operator.health.compare()
    wait_for(lambda: operating.get("NetworkPolicy", WORKERS) is not None, SECONDS)
    operating.until("Workspace", "acme", "KeysReady", "False", "KeysMissing")


def test_a_database_that_is_away_is_said_and_is_no_reason_to_be_ended(
    operating: Operating,
) -> None:
    operating.settle()
    with database_away(operating.installation):
        operating.operator.reconciler.add_all()
        for kind, name in (("Workspace", "acme"), ("MailboxPool", "sales")):
            operating.until(kind, name, "Ready", "Unknown", "DatabaseUnavailable")
            operating.until(kind, name, "Degraded", "True", "DatabaseUnavailable")
        wait_for(lambda: len(operating.events("DatabaseUnavailable")) == 2)
        assert alive(operating)
        assert operating.get("Deployment", WORKERS) is not None
        operating.resources.created("Workspace", "new", {})
    for name in ("acme", "new"):
        operating.until("Workspace", name, "Ready", "True")
    operating.until("MailboxPool", "sales", "Ready", "True")
    operating.until("MailboxPool", "sales", "Degraded", "False")


def test_an_operator_that_starts_without_its_database_says_so_and_goes_on(
    operating: Operating,
) -> None:
    operating.settle()
    operating.stop()
    with database_away(operating.installation):
        operating.start(ready=False)
        operating.until("Workspace", "acme", "Ready", "Unknown", "DatabaseUnavailable")
        assert alive(operating)
    operating.until("Workspace", "acme", "Ready", "True")
    operating.until("MailboxPool", "sales", "Ready", "True")


def test_a_watch_that_is_stuck_ends_the_operator(
    operating: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    operating.settle()
    assert alive(operating)
    monkeypatch.setattr(operating.operator.reconciler, "took_place", lambda *_: None)
    monkeypatch.setattr(health, "BLIND_S", 0.0)
    operating.operator.health.compare()
    assert alive(operating)
    operating.resources.created("Workspace", "new", {})
    for _ in range(2):
        operating.operator.health.compare()
    told = f"the watch of Workspace has not shown {operating.namespace}/new"
    assert told in operating.operator.health.reasons()
    assert not alive(operating)


def test_a_key_that_is_worked_on_for_ever_ends_the_operator(
    operating: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STUCK_S", -1.0)
    operating.operator.reconciler.queue.busy_since["Workspace", "n", "stuck"] = 0.0
    assert "Workspace/n/stuck is worked on" in operating.operator.health.reasons()[0]
    assert not alive(operating)


def alive(operating: Operating) -> bool:
    """What the liveness probe is told."""
    port = operating.operator.ports[0]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
