"""A running operator over a real API server and a real Postgres."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from prometheus_client import CollectorRegistry

from apiserver import MERGE, ApiServer, Json
from custom_resources import Resources
from database import TestInstallation, in_database
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.roles import login_url
from mailhearth_operator.main import Operator
from mailhearth_operator.settings import OperatorSettings, PlatformFile
from waiting import wait_for

SECONDS = 20.0
CHILDREN = {
    "Deployment": "apis/apps/v1",
    "PodDisruptionBudget": "apis/policy/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
    "Secret": "api/v1",
    "Event": "apis/events.k8s.io/v1",
}
PLURALS = {"NetworkPolicy": "networkpolicies"}
ANN = {
    "address": "ann@example.com",
    "imap": "imap.example.com:993",
    "smtp": "smtp.example.com:465",
    "password": "first",
    "consent": "true",
}
"""A Secret that declares a mailbox."""
WORKERS = "sales-workers"
"""What the pool `sales` is made of."""


def platform_file(**changes: Any) -> PlatformFile:
    """What the chart would write."""
    return PlatformFile.model_validate(
        {
            "installation": "tests/one",
            "image": "mailhearth:test",
            "databaseUrl": "postgresql://db:5432/mailhearth?sslmode=verify-full",
            "redisSecret": "redis",
            **changes,
        }
    )


@contextmanager
def database_away(installation: TestInstallation) -> Iterator[None]:
    """Nobody can connect to the installation's database, and who was connected is thrown out."""
    name = urlsplit(installation.superuser_url).path.removeprefix("/")
    elsewhere = in_database(installation.superuser_url, "postgres")
    installation.close()
    with psycopg.connect(elsewhere, autocommit=True) as conn:
        conn.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            yield
        finally:
            conn.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


@dataclass
class Operating:
    """One operator in threads of this process; a context manager.

    Attributes:
        resources: Mailhearth's resources of the namespace that it watches.
        changes: of the platform file.
        environ: further variables.
        kubeconfig: None: one that may do everything.
    """

    api: ApiServer
    resources: Resources
    installation: TestInstallation
    changes: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    kubeconfig: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def variables(self) -> dict[str, str]:
        """What the operator's pod would have in its environment."""
        return {
            "MAILHEARTH_DATABASE_URL": self.installation.url("operator").reveal(),
            "MAILHEARTH_CLI_DATABASE_URL": self.installation.url("cli").reveal(),
            "MAILHEARTH_PLATFORM_FILE": "unused",
            "MAILHEARTH_NAMESPACE": self.namespace,
            "MAILHEARTH_METRICS_PORT": "0",
            "MAILHEARTH_HEALTH_PORT": "0",
            **self.environ,
        }

    def start(self, *, ready: bool = True) -> None:
        """Returns once the operator has taken in what there is, or, with `ready=False`, at once."""
        self.registry = CollectorRegistry()
        kubeconfig = str(self.kubeconfig or self.api.kubeconfig)
        with mock.patch.dict("os.environ", {"KUBECONFIG": kubeconfig}):
            settings = OperatorSettings.load(self.variables)
            self.operator = Operator(settings, platform_file(**self.changes), self.registry)
            self.operator.reconciler.settles = 0.05
            self._thread = threading.Thread(target=self._run, name="operator")
            self._failed: BaseException | None = None
            self._thread.start()
        if ready:
            wait_for(self._is_ready, SECONDS)

    def stop(self) -> None:
        self.operator.stop()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        assert self._failed is None, self._failed

    def _run(self) -> None:
        try:
            self.operator.run()
        except BaseException as error:  # noqa: BLE001 - shown by the test's thread
            self._failed = error

    def _is_ready(self) -> bool:
        assert self._failed is None, self._failed
        return self.operator._ready.is_set()

    @property
    def namespace(self) -> str:
        return self.resources.namespace

    # -- looking --------------------------------------------------------------------------------

    def path(self, kind: str, name: str = "") -> str:
        plural = PLURALS.get(kind, f"{kind.lower()}s")
        root = f"/{CHILDREN[kind]}/namespaces/{self.namespace}/{plural}"
        return f"{root}/{name}" if name else root

    def get(self, kind: str, name: str) -> Json | None:
        """An object of ours or of Kubernetes' own; None when there is none."""
        path = self.path(kind, name) if kind in CHILDREN else self.resources.path(kind, name)
        answer = self.api.request("GET", path)
        return answer.body if answer.ok else None

    def condition(self, kind: str, name: str, type_: str) -> Json:
        """One condition as it is now; empty when it is not there."""
        obj = self.get(kind, name) or {}
        for one in obj.get("status", {}).get("conditions", ()):
            if one["type"] == type_:
                found: Json = one
                return found
        return {}

    def until(self, kind: str, name: str, type_: str, status: str, reason: str = "") -> Json:
        """Waits for a condition."""

        def is_so() -> bool:
            now = self.condition(kind, name, type_)
            return now.get("status") == status and reason in ("", now.get("reason"))

        try:
            wait_for(is_so, SECONDS)
        except AssertionError:
            now = (self.get(kind, name) or {}).get("status")
            raise AssertionError(f"{type_} of {name} is not {status} {reason}: {now}") from None
        return self.condition(kind, name, type_)

    def listed(self, kind: str, label: str = "") -> list[Json]:
        """All of a kind in the namespace."""
        path = self.path(kind) if kind in CHILDREN else self.resources.path(kind)
        found: list[Json] = self.api.must("GET", f"{path}?labelSelector={label}")["items"]
        return found

    def key_secrets(self) -> list[str]:
        """Names of the Secrets with private keys."""
        return [one["metadata"]["name"] for one in self.listed("Secret", "mailhearth.io/key")]

    def events(self, reason: str) -> list[str]:
        """The notes of all events with a reason."""
        return [one["note"] for one in self.listed("Event") if one["reason"] == reason]

    def versions(self) -> dict[tuple[str, str], str]:
        """The resourceVersion of everything in the namespace but Events."""
        kinds = [*(kind for kind in CHILDREN if kind != "Event"), "Workspace", "MailboxPool"]
        return {
            (kind, one["metadata"]["name"]): one["metadata"]["resourceVersion"]
            for kind in kinds
            for one in self.listed(kind)
        }

    def workspace_id(self, name: str = "acme") -> UUID:
        """As the resource's status tells it."""
        obj = self.get("Workspace", name)
        assert obj is not None
        return UUID(obj["status"]["workspaceId"])

    def password(self, workspace: str = "acme") -> str | None:
        """Of the workers' database login, as its Secret has it."""
        found = self.get("Secret", f"mailhearth-login-{self.workspace_id(workspace)}")
        return None if found is None else base64.b64decode(found["data"]["password"]).decode()

    def sign_in(self, password: str, workspace: str = "acme") -> None:
        """Signs in to the database as the workers of a workspace do; raises OperationalError."""
        role = self.installation.roles.worker_login(self.workspace_id(workspace))
        url = login_url(self.installation.owner_url, role, Secret(password))
        with psycopg.connect(url.reveal()) as conn:
            assert conn.execute("SELECT session_user").fetchone() == (role,)

    def pool_id(self, name: str = "sales") -> UUID:
        obj = self.get("MailboxPool", name)
        assert obj is not None
        return UUID(obj["status"]["poolId"])

    def replicas(self, name: str = WORKERS) -> int:
        deployment = self.get("Deployment", name)
        assert deployment is not None
        count: int = deployment["spec"]["replicas"]
        return count

    def writes(self) -> float:
        """Requests so far that change something."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "mailhearth_operator_api_requests_total"
            and sample.labels["verb"] not in ("get", "list")
        )

    # -- acting ---------------------------------------------------------------------------------

    def settle(self, **spec: Any) -> None:
        """The workspace `acme` with the pool `sales`, ready, its workers up.

        Args:
            spec: of the pool.
        """
        self.resources.created("Workspace", "acme", {"timezone": "Europe/Berlin"})
        self.resources.created("MailboxPool", "sales", {"workspaceRef": {"name": "acme"}, **spec})
        self.until("Workspace", "acme", "Ready", "True")
        wait_for(lambda: self.get("Deployment", WORKERS) is not None, SECONDS)
        self.roll_out(WORKERS)
        self.until("MailboxPool", "sales", "Ready", "True")

    def patch(self, kind: str, name: str, body: Json) -> None:
        """A merge patch that must be taken."""
        path = self.path(kind, name) if kind in CHILDREN else self.resources.path(kind, name)
        self.api.must("PATCH", path, body, MERGE)

    def delete(self, kind: str, name: str) -> None:
        path = self.path(kind, name) if kind in CHILDREN else self.resources.path(kind, name)
        self.api.must("DELETE", path)

    def look(self) -> None:
        """Everything is looked at again, as every few minutes; returns when that is done."""
        self.operator.reconciler.add_all()
        self.operator.reconciler.demands.read()
        wait_for(lambda: self.operator.reconciler.queue.depth() == 0, SECONDS)

    def secret(self, name: str, data: dict[str, str], *, labelled: bool = True) -> None:
        """Makes or replaces a Secret that declares a mailbox."""
        labels = {"mailhearth.io/mailbox": "true"} if labelled else {}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels},
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
        }
        if self.get("Secret", name) is not None:
            self.api.must("PUT", self.path("Secret", name), body)
        else:
            self.api.must("POST", self.path("Secret"), body)

    def roll_out(self, name: str, replicas: int | None = None) -> None:
        """What the Deployment controller and kubelets would do: the pods are there."""
        deployment = self.get("Deployment", name)
        assert deployment is not None
        wanted = deployment["spec"]["replicas"] if replicas is None else replicas
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": wanted,
            "availableReplicas": wanted,
        }
        self.api.must("PATCH", self.path("Deployment", name) + "/status", {"status": status}, MERGE)
