"""The one finalizer, held only while deleting a resource is to delete its data."""

from __future__ import annotations

from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import Kind, Object

FINALIZER = "mailhearth.io/delete-data"


def has_finalizer(obj: Object) -> bool:
    return FINALIZER in obj["metadata"].get("finalizers", ())


def sync_finalizer(api: Api, kind: Kind, obj: Object, wanted: bool) -> None:
    """Sets or takes off the finalizer.

    Raises:
        Conflict: the object has changed since it was seen.
    """
    if has_finalizer(obj) != wanted:
        _write(api, kind, obj, wanted=wanted)


def let_go(api: Api, kind: Kind, obj: Object) -> None:
    """Lets the deletion of the object end."""
    if has_finalizer(obj):
        _write(api, kind, obj, wanted=False)


def _write(api: Api, kind: Kind, obj: Object, *, wanted: bool) -> None:
    meta = obj["metadata"]
    others = [one for one in meta.get("finalizers", ()) if one != FINALIZER]
    body = {
        "metadata": {
            "resourceVersion": meta["resourceVersion"],
            "finalizers": [*others, FINALIZER] if wanted else others,
        }
    }
    api.merge(kind, meta["namespace"], meta["name"], body)
