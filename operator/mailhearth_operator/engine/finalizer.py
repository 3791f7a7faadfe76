"""The one finalizer, held only while deleting a resource is to delete its data."""

from __future__ import annotations

from datetime import datetime, timedelta

from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import Kind, Object
from mailhearth_operator.engine.context import Context, machine

FINALIZER = "mailhearth.io/delete-data"
LONGEST_END = timedelta(minutes=30)
"""A resource whose data cannot be deleted is let go after so long."""


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


def let_go_late(context: Context, kind: Kind, obj: Object) -> bool:
    """Whether the deletion has taken too long and ends without its data; an event says so."""
    since = datetime.fromisoformat(obj["metadata"]["deletionTimestamp"])
    if machine() - since <= LONGEST_END:
        return False
    minutes = LONGEST_END.total_seconds() / 60
    note = (
        f"Its data could not be deleted within {minutes:.0f} minutes. The resource goes without "
        "it; `mailhearth workspace delete` deletes what is left."
    )
    context.events.tell(obj, "Warning", "DeletionTimedOut", note, "Delete")
    let_go(context.api, kind, obj)
    return True


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
