"""Workspaces' private keys in Kubernetes Secrets: one immutable Secret for each version.

They are created once and never applied, have no owner reference, and nothing of the operator's
mends them: no prune and no repair can destroy a key. Only `destroy` deletes one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from uuid import UUID

from mailhearth_core.errors import KeysMissing
from mailhearth_core.sealing import PrivateKey
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import KEY_LABEL, SECRET, Object
from mailhearth_operator.cluster.seen import Seen, fingerprint
from mailhearth_operator.manifests.model import MANAGER, PART_OF

RESTORE_HINT = (
    "Put it back with `mailhearth keys restore`, or give it up with `mailhearth keys abandon`; "
    "it is never made anew."
)
VERSION_LABEL = "mailhearth.io/key-version"


def secret_name(workspace_id: UUID, version: int) -> str:
    """Of the Secret that holds a version."""
    return f"mailhearth-key-{workspace_id}-{version}"


def key_secret(namespace: str, workspace_id: UUID, version: int, raw: bytes) -> Object:
    """The Secret of a version, ready to be created."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(workspace_id, version),
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/part-of": PART_OF,
                "app.kubernetes.io/managed-by": MANAGER,
                KEY_LABEL: str(workspace_id),
                VERSION_LABEL: str(version),
            },
        },
        "type": "mailhearth.io/private-key",
        "immutable": True,
        "data": {"private": base64.b64encode(raw).decode()},
    }


class ClusterKeys:
    """The `KeyStore` port over Secrets.

    Args:
        namespace_of: where a workspace's keys lie.
    """

    def __init__(self, api: Api, seen: Seen, namespace_of: Callable[[UUID], str]) -> None:
        self._api = api
        self._seen = seen
        self._namespace_of = namespace_of

    def create(self, workspace_id: UUID, version: int) -> bytes:
        """See `KeyStore`: the Secret is in etcd before this returns."""
        key = PrivateKey.generate()
        body = key_secret(self._namespace_of(workspace_id), workspace_id, version, key.raw())
        self._seen.put(SECRET, self._api.create(SECRET, body))
        return key.public_bytes

    def open(
        self, workspace_id: UUID, version: int, expected_fingerprint: str | None = None
    ) -> PrivateKey:
        secret = self._api.get(
            SECRET, self._namespace_of(workspace_id), secret_name(workspace_id, version)
        )
        data = (secret or {}).get("data", {}).get("private", "")
        if not fingerprint(data):
            raise self._missing(workspace_id, version, gone=secret is None)
        key = PrivateKey(base64.b64decode(data))
        if expected_fingerprint is not None and key.fingerprint != expected_fingerprint:
            raise KeysMissing(
                f"Secret {secret_name(workspace_id, version)} holds another key than the database"
                " knows.",
                hint=RESTORE_HINT,
            )
        return key

    def fingerprint(self, workspace_id: UUID, version: int) -> str:
        """From what the watch has shown."""
        name = secret_name(workspace_id, version)
        secret = self._seen.get(SECRET, self._namespace_of(workspace_id), name)
        found = str((secret or {}).get("x-fingerprint", ""))
        if not found:
            raise self._missing(workspace_id, version, gone=secret is None)
        return found

    def versions(self, workspace_id: UUID) -> list[int]:
        prefix = secret_name(workspace_id, 0)[:-1]
        return sorted(
            int(rest)
            for secret in self._seen.all(SECRET, self._namespace_of(workspace_id))
            if secret["metadata"]["name"].startswith(prefix)
            and (rest := secret["metadata"]["name"].removeprefix(prefix)).isdecimal()
        )

    def destroy(self, workspace_id: UUID, version: int) -> None:
        namespace = self._namespace_of(workspace_id)
        self._api.delete(SECRET, namespace, secret_name(workspace_id, version))

    def _missing(self, workspace_id: UUID, version: int, *, gone: bool) -> KeysMissing:
        name = secret_name(workspace_id, version)
        where = f"{self._namespace_of(workspace_id)}/{name}"
        what = "is gone" if gone else "holds no private key"
        return KeysMissing(f"Secret {where}, the key version {version}, {what}.", hint=RESTORE_HINT)
