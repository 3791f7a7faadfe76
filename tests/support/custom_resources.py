"""Mailhearth's own resources against a real API server: made, tried, changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apiserver import APPLY, MERGE, Answer, ApiServer, Json

GROUP = "mailhearth.io/v1alpha1"
DEFINITIONS = Path(__file__).resolve().parents[2] / "crds"
PLURALS = {"Workspace": "workspaces", "MailboxPool": "mailboxpools"}


def install_definitions(api: ApiServer) -> dict[str, Json]:
    """Applies every file of crds/; by kind, what the API server made of it."""
    return {
        kind: api.install_definition(
            (DEFINITIONS / f"{plural}.yaml").read_text(), f"{plural}.mailhearth.io"
        )
        for kind, plural in PLURALS.items()
    }


def install_foreign(api: ApiServer, kind: str, plural: str, group: str, version: str) -> None:
    """Defines a kind of another product, whose objects may be anything."""
    name = f"{plural}.{group}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    shown = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [shown],
        },
    }
    api.install_definition(json.dumps(body), name)


def schema_of(definition: Json) -> Json:
    """The schema of the one version."""
    (version,) = definition["spec"]["versions"]
    schema: Json = version["schema"]["openAPIV3Schema"]
    return schema


@dataclass(frozen=True)
class Resources:
    """Resources of one namespace. Unknown fields are refused, as kubectl has it."""

    api: ApiServer
    namespace: str

    def path(self, kind: str, name: str = "") -> str:
        collection = f"/apis/{GROUP}/namespaces/{self.namespace}/{PLURALS[kind]}"
        return f"{collection}/{name}" if name else collection

    def create(self, kind: str, name: str, spec: object, *, dry_run: bool = False) -> Answer:
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        body = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return self.api.request("POST", self.path(kind) + query, body)

    def created(self, kind: str, name: str, spec: Json) -> Json:
        """A resource that must be taken."""
        answer = self.create(kind, name, spec)
        assert answer.ok, answer.message
        return answer.body

    def patch(self, kind: str, name: str, body: Json, subresource: str = "") -> Answer:
        """A merge patch of a resource or of a subresource such as `status`."""
        path = self.path(kind, name) + (f"/{subresource}" if subresource else "")
        return self.api.request("PATCH", f"{path}?fieldValidation=Strict", body, MERGE)

    def apply(self, kind: str, name: str, spec: Json, manager: str) -> Answer:
        """Server-side apply."""
        body: dict[str, Any] = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}}
        path = f"{self.path(kind, name)}?fieldManager={manager}&fieldValidation=Strict"
        return self.api.request("PATCH", path, body | {"spec": spec}, APPLY)
