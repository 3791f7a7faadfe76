"""A running operator over a real API server and a real Postgres."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from typing import Any, Self
from unittest import mock

from prometheus_client import CollectorRegistry

from apiserver import MERGE, ApiServer, Json
from custom_resources import Resources
from database import TestInstallation
from mailhearth_operator.main import Operator
from mailhearth_operator.settings import OperatorSettings, PlatformFile
from waiting import wait_for

SECONDS = 30.0
CHILDREN = {
    "Deployment": "apis/apps/v1",
    "PodDisruptionBudget": "apis/policy/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
    "Secret": "api/v1",
    "Event": "apis/events.k8s.io/v1",
}
PLURALS = {"NetworkPolicy": "networkpolicies"}


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


@dataclass
class Operating:
    """One operator in threads of this process; a context manager.

    Attributes:
        resources: Mailhearth's resources of the namespace that it watches.
    """

    api: ApiServer
    resources: Resources
    installation: TestInstallation
    changes: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.registry = CollectorRegistry()
        settings = OperatorSettings.load(
            {
                "MAILHEARTH_DATABASE_URL": self.installation.url("operator").reveal(),
                "MAILHEARTH_CLI_DATABASE_URL": self.installation.url("cli").reveal(),
                "MAILHEARTH_PLATFORM_FILE": "unused",
                "MAILHEARTH_NAMESPACE": self.namespace,
                "MAILHEARTH_METRICS_PORT": "0",
                "MAILHEARTH_HEALTH_PORT": "0",
            }
        )
        with mock.patch.dict("os.environ", {"KUBECONFIG": str(self.api.kubeconfig)}):
            self.operator = Operator(settings, platform_file(**self.changes), self.registry)
            self._thread = threading.Thread(target=self._run, name="operator")
            self._failed: BaseException | None = None
            self._thread.start()
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
