"""Whose a resource is: the installation that its status names, and no other's.

Two installations may watch one namespace by mistake, or a resource may be moved from one to the
other. The first that sees a resource writes its name there; the others leave it alone.
"""

from __future__ import annotations

from mailhearth_core.errors import Conflict, NotYet
from mailhearth_operator.cluster.kinds import Kind, Object
from mailhearth_operator.engine.context import Context


def owner_of(obj: Object) -> str | None:
    """The installation that works on a resource; None: none so far."""
    owner: str | None = obj.get("status", {}).get("installation")
    return owner


def is_others(context: Context, obj: Object) -> bool:
    """Whether another installation works on the resource."""
    return owner_of(obj) not in (None, context.installation)


def is_foreign(context: Context, kind: Kind, obj: Object) -> bool:
    """As `is_others`; an event says so once."""
    if not is_others(context, obj):
        return False
    owner, meta = owner_of(obj), obj["metadata"]
    note = (
        f"Installation {context.installation} leaves this {kind.name} alone: it is {owner}'s. To "
        f"hand it over, stop {owner}'s operator, then `kubectl patch {kind.plural} {meta['name']} "
        """--subresource=status --type=merge -p '{"status":{"installation":null}}'`."""
    )
    context.events.tell(obj, "Warning", "OtherInstallation", note, "Claim")
    return True


def claimed(context: Context, kind: Kind, obj: Object) -> Object:
    """The resource, from here on ours; it must not be foreign.

    Raises:
        NotYet: somebody has changed it in this moment, perhaps to claim it.
    """
    if owner_of(obj) is not None:
        return obj
    meta = obj["metadata"]
    body = {
        "metadata": {"resourceVersion": meta["resourceVersion"]},
        "status": {"installation": context.installation},
    }
    path_of = (kind, meta["namespace"], meta["name"])
    try:
        made = context.api.merge(*path_of, body, subresource="status")
    except Conflict:
        raise NotYet(f"{kind.name} {meta['name']} has just changed.") from None
    context.seen.put(kind, made)
    return context.seen.get(*path_of) or made
