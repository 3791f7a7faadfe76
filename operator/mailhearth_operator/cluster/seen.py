"""What the watches have shown of the cluster: the operator reads this, not the API.

Filled by one listing at the start, then by watch events. Secrets are kept without their contents:
of each value its digest stays, to tell a change, and of a private key the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from threading import Lock

from mailhearth_operator.cluster.kinds import (
    KEY_LABEL,
    LOGIN_LABEL,
    MAILBOX_LABEL,
    SECRET,
    Kind,
    Object,
)
from mailhearth_operator.cluster.secrets import private_key

Key = tuple[str, str, str]
"""Kind, namespace, name."""
LABELS = (MAILBOX_LABEL, KEY_LABEL, LOGIN_LABEL)


class Seen:
    """The newest known state of each object of the watched kinds."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._objects: dict[Key, Object] = {}
        self._owned: defaultdict[str, set[Key]] = defaultdict(set)

    def put(self, kind: Kind, obj: Object) -> bool:
        """Takes in an object; False when it is older than what is known, or the same."""
        key = key_of(kind, obj)
        slim = _slim(kind, obj)
        with self._lock:
            known = self._objects.get(key)
            if known is not None:
                if not _is_newer(slim, known):
                    return False
                self._disown(key, known)
            self._objects[key] = slim
            for owner in _owners(slim):
                self._owned[owner].add(key)
        return True

    def drop(self, kind: Kind, obj: Object) -> None:
        """Takes an object out."""
        key = key_of(kind, obj)
        with self._lock:
            known = self._objects.get(key)
            if known is None or known["metadata"]["uid"] != obj["metadata"]["uid"]:
                return
            del self._objects[key]
            self._disown(key, known)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get((kind.name, namespace, name))

    def all(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        """Those of a kind, of one namespace or of all."""
        with self._lock:
            return [
                obj
                for (name, where, _), obj in self._objects.items()
                if name == kind.name and namespace in (None, where)
            ]

    def owned(self, uid: str) -> list[Object]:
        """The children of an owner."""
        with self._lock:
            return [self._objects[key] for key in sorted(self._owned.get(uid, ()))]

    def _disown(self, key: Key, obj: Object) -> None:
        for owner in _owners(obj):
            keys = self._owned[owner]
            keys.discard(key)
            if not keys:
                del self._owned[owner]

    def versions(self, kind: Kind) -> Iterator[tuple[Key, str]]:
        """The resource version of each object of a kind."""
        for obj in self.all(kind):
            yield key_of(kind, obj), obj["metadata"]["resourceVersion"]


def concerns_us(kind: Kind, meta: Object) -> bool:
    """Whether an object is kept: of Secrets those with one of our labels, all else."""
    return kind is not SECRET or any(label in meta.get("labels", {}) for label in LABELS)


def key_of(kind: Kind, obj: Object) -> Key:
    return kind.name, obj["metadata"]["namespace"], obj["metadata"]["name"]


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _is_newer(obj: Object, known: Object) -> bool:
    """Resource versions of one object compare as numbers (KEP-5504)."""
    return obj["metadata"]["uid"] != known["metadata"]["uid"] or _version(obj) > _version(known)


def _owners(obj: Object) -> list[str]:
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences", ())]


def _slim(kind: Kind, obj: Object) -> Object:
    """Without what nobody reads. Managers of the spec stay, by name."""
    meta = dict(obj["metadata"])
    managers = meta.pop("managedFields", None) or ()
    slim = {**obj, "metadata": meta}
    meta["x-managers"] = sorted(
        {one["manager"] for one in managers if "f:spec" in one.get("fieldsV1", {})}
    )
    if kind is SECRET:
        data = slim.pop("data", None) or {}
        slim["x-digest"] = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
        key = private_key(obj) if KEY_LABEL in meta.get("labels", {}) else None
        if key is not None:
            slim["x-fingerprint"] = key.fingerprint
    return slim
