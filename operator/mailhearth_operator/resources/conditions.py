"""`status.conditions`, after the Kubernetes API conventions.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]

READY, PROGRESSING, DEGRADED = "Ready", "Progressing", "Degraded"
SPEC_VALID, KEYS_READY = "SpecValid", "KeysReady"
CREDENTIALS_SEALED, WORKERS_AVAILABLE = "CredentialsSealed", "WorkersAvailable"

MAX_MESSAGE = 32_768
"""Bytes that the API takes of a message."""


@dataclass(frozen=True)
class Condition:
    """One thing that is so, is not so, or cannot be told.

    Attributes:
        reason: one CamelCase word, for programs.
        message: a sentence for people: what is waited for, and what to do.
    """

    type: str
    status: Status
    reason: str
    message: str


FOLLOWED = Condition(SPEC_VALID, "True", "Valid", "The spec can be followed.")
SETTLED = Condition(PROGRESSING, "False", "Settled", "Nothing is under way.")


def ready(parts: Iterable[Condition]) -> Condition:
    """Ready when every part is True; else what the first that is not says."""
    for part in parts:
        if part.status != "True":
            status: Status = "Unknown" if part.status == "Unknown" else "False"
            return Condition(READY, status, part.reason, part.message)
    return Condition(READY, "True", "AsWished", "Everything is as the resource says.")


def degraded(parts: Iterable[Condition]) -> Condition:
    """Degraded as the first part that is False says, or not."""
    for part in parts:
        if part.status == "False":
            return Condition(DEGRADED, "True", part.reason, part.message)
    return Condition(DEGRADED, "False", "AsExpected", "Nothing runs worse than wished.")


def merged(
    old: Sequence[Mapping[str, Any]], now: Iterable[Condition], *, generation: int, at: datetime
) -> list[dict[str, Any]]:
    """The conditions to write: those of `now`, and of `old` what others keep there.

    `lastTransitionTime` moves with the status only. A result that means the same as `old` equals
    it, so that nothing need be written.

    Args:
        generation: `metadata.generation` that was looked at.
        at: machine time.
    """
    before = {one["type"]: one for one in old}
    made = {}
    for one in now:
        was = before.get(one.type, {})
        moved = was.get("status") != one.status
        made[one.type] = {
            "type": one.type,
            "status": one.status,
            "reason": one.reason,
            "message": _cut(one.message),
            "observedGeneration": generation,
            "lastTransitionTime": _stamp(at) if moved else was["lastTransitionTime"],
        }
    kept = [made.pop(one["type"], dict(one)) for one in old]
    return [*kept, *made.values()]


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cut(message: str) -> str:
    return message.encode()[:MAX_MESSAGE].decode(errors="ignore")
