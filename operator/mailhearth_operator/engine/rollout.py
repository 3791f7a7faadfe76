"""What a pool's Deployment tells: which keys its pods have, whether they are there."""

from __future__ import annotations

from mailhearth_operator.cluster.kinds import Object
from mailhearth_operator.resources.conditions import (
    PROGRESSING,
    SETTLED,
    WORKERS_AVAILABLE,
    Condition,
)


def serves(deployment: Object, name: str) -> bool:
    """Whether all pods of a Deployment run with the Secret mounted; one that sleeps does."""
    volumes = deployment["spec"]["template"]["spec"].get("volumes", ())
    mounted = {
        source.get("secret", {}).get("name")
        for volume in volumes
        for source in volume.get("projected", {}).get("sources", ())
    }
    if name not in mounted:
        return False
    return is_rolled_out(deployment)


def is_rolled_out(deployment: Object) -> bool:
    """Whether the pods of the newest template, and no others, are there and available."""
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("availableReplicas", 0) >= wanted
        and status.get("replicas", 0) <= wanted
    )


def available(live: Object | None, *, due: int) -> Condition:
    """Whether a pool has workers, or needs none.

    Args:
        due: actions that could be done now.
    """
    if live is None:
        return Condition(WORKERS_AVAILABLE, "False", "Missing", "Its Deployment is not there yet.")
    wanted = live["spec"].get("replicas", 1)
    there = live.get("status", {}).get("availableReplicas", 0)
    if wanted == 0:
        if due:
            told = f"The pool sleeps, and {due} actions are due; it is being woken."
            return Condition(WORKERS_AVAILABLE, "False", "AsleepWithDueWork", told)
        return Condition(WORKERS_AVAILABLE, "True", "Asleep", "Nothing is due; the pool sleeps.")
    if there >= 1:
        told = "Workers are available."
        return Condition(WORKERS_AVAILABLE, "True", "Available", told)
    return Condition(
        WORKERS_AVAILABLE,
        "False",
        "Unavailable",
        f"None of {wanted} workers is ready. `kubectl describe deployment "
        f"{live['metadata']['name']}` says why.",
    )


def progressing(live: Object | None) -> Condition:
    """Whether its workers are being replaced."""
    if live is not None and is_rolled_out(live):
        return SETTLED
    return Condition(PROGRESSING, "True", "Rollout", "Its workers are being rolled out.")
