"""Secrets as the operator makes them, and the private key in one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from mailhearth_core.sealing import KEY_BYTES, PrivateKey
from mailhearth_operator.cluster.kinds import Object
from mailhearth_operator.manifests.model import MANAGER, PART_OF


def secret(
    namespace: str,
    name: str,
    data: Mapping[str, bytes],
    labels: Mapping[str, str],
    *,
    kind: str = "Opaque",
) -> Object:
    """A Secret of ours.

    Args:
        labels: besides those that all our objects have.
        kind: its `type`.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/part-of": PART_OF,
                "app.kubernetes.io/managed-by": MANAGER,
                **labels,
            },
        },
        "type": kind,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def private_key(obj: Object) -> PrivateKey | None:
    """The key in a Secret's `private`; None when there is none."""
    try:
        raw = base64.b64decode((obj.get("data") or {}).get("private", ""), validate=True)
    except binascii.Error:
        return None
    return PrivateKey(raw) if len(raw) == KEY_BYTES else None
