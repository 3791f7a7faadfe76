"""Workspaces' private keys in Kubernetes Secrets: one immutable Secret for each version.

They are created once and never applied, have no owner reference, and nothing of the operator's
mends them: no prune and no repair can destroy a key. Only `destroy` deletes one.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from mailhearth_core.errors import KeysMissing
from mailhearth_core.sealing import PrivateKey
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import KEY_LABEL, SECRET, Object
from mailhearth_operator.cluster.secrets import private_key, secret
from mailhearth_operator.cluster.seen import Seen

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
    labels = {KEY_LABEL: str(workspace_id), VERSION_LABEL: str(version)}
    name = secret_name(workspace_id, version)
    made = secret(namespace, name, {"private": raw}, labels, kind="mailhearth.io/private-key")
    return {**made, "immutable": True}


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
        found = self._api.get(
            SECRET, self._namespace_of(workspace_id), secret_name(workspace_id, version)
        )
        key = private_key(found) if found is not None else None
        if key is None:
            raise self._missing(workspace_id, version, gone=found is None)
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
        seen = self._seen.get(SECRET, self._namespace_of(workspace_id), name)
        found = str((seen or {}).get("x-fingerprint", ""))
        if not found:
            raise self._missing(workspace_id, version, gone=seen is None)
        return found

    def versions(self, workspace_id: UUID) -> list[int]:
        prefix = secret_name(workspace_id, 0)[:-1]
        return sorted(
            int(rest)
            for seen in self._seen.all(SECRET, self._namespace_of(workspace_id))
            if seen["metadata"]["name"].startswith(prefix)
            and (rest := seen["metadata"]["name"].removeprefix(prefix)).isdecimal()
        )

    def destroy(self, workspace_id: UUID, version: int) -> None:
        namespace = self._namespace_of(workspace_id)
        self._api.delete(SECRET, namespace, secret_name(workspace_id, version))

    def _missing(self, workspace_id: UUID, version: int, *, gone: bool) -> KeysMissing:
        name = secret_name(workspace_id, version)
        where = f"{self._namespace_of(workspace_id)}/{name}"
        what = "is gone" if gone else "holds no private key"
        return KeysMissing(f"Secret {where}, the key version {version}, {what}.", hint=RESTORE_HINT)
