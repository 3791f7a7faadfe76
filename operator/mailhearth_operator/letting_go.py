"""Before an operator leaves for good: no resource waits for it any more."""

from __future__ import annotations

import time

import structlog

from mailhearth_core.errors import Conflict, NotFound, NotYet
from mailhearth_operator.cluster.api import Api
from mailhearth_operator.cluster.kinds import DEPLOYMENT, POOL, WORKSPACE, Kind
from mailhearth_operator.engine.finalizer import has_finalizer, let_go

log = structlog.get_logger()
TRIES = 5
STOP_S = 60.0


def stop(api: Api, namespace: str, name: str) -> None:
    """Scales the operator's own Deployment to nothing and waits until its pods are gone: it would
    set the finalizers again.

    Raises:
        NotYet: a pod is still there after `STOP_S`.
    """
    end = time.monotonic() + STOP_S
    while True:
        wanted = there = 0
        for found in api.list_all(DEPLOYMENT, namespace):
            if found["metadata"]["name"] == name:
                wanted = found["spec"].get("replicas", 1)
                there = found.get("status", {}).get("replicas", 0)
        if not wanted and not there:
            return
        if wanted:
            api.merge(DEPLOYMENT, namespace, name, {"spec": {"replicas": 0}})
        if time.monotonic() > end:
            raise NotYet(f"The operator's Deployment {name} still has a pod.")
        time.sleep(0.5)


def let_go_of_all(api: Api, namespaces: tuple[str, ...]) -> int:
    """Takes the finalizer off every resource; their data stay in the database.

    Returns:
        how many resources were let go.
    Raises:
        Conflict: an operator that still runs sets it again.
    """
    count = 0
    for kind in (POOL, WORKSPACE):
        for namespace in namespaces:
            try:
                found = api.list_all(kind, namespace)
            except NotFound:
                continue  # the definitions are gone: nothing can be waited for
            count += sum(_let_go(api, kind, namespace, obj["metadata"]["name"]) for obj in found)
    return count


def _let_go(api: Api, kind: Kind, namespace: str, name: str) -> bool:
    """Whether there was a finalizer. Raises Conflict when others keep changing the object."""
    for left in reversed(range(TRIES)):
        now = api.get(kind, namespace, name)
        if now is None or not has_finalizer(now):
            return False
        try:
            let_go(api, kind, now)
        except Conflict:
            if not left:
                raise
        else:
            log.info("let_go", kind=kind.name, resource=name)
            return True
    return False
