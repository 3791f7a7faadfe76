"""Specs as the API server holds them, turned into what core and the manifests take.

The API server has refused what a schema can refuse (`crds/`). What needs more (time zones that
exist, retention outside a sandbox) is refused here, and becomes the condition SpecValid=False.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mailhearth_core.errors import MailhearthError
from mailhearth_core.verbs.mailbox_spec import timezones
from mailhearth_core.warmup.policy import RAMP, InvalidPolicy, Policy

Resource = Mapping[str, Any]
DeletionPolicy = Literal["Retain", "Delete"]


class SpecInvalid(MailhearthError):
    """A spec that no retry can make right: somebody has to edit it."""

    code = "spec_invalid"


@dataclass(frozen=True)
class WorkspaceSpec:
    """`Workspace.spec`. The time zone is that of pools that name none."""

    namespace: str
    name: str
    uid: str
    generation: int
    display_name: str
    timezone: str
    suspend: bool
    deletion_policy: DeletionPolicy


@dataclass(frozen=True)
class PoolSpec:
    """`MailboxPool.spec`, the policy resolved.

    Attributes:
        group: worker group; by default the pool's own, see `own_group`.
        timezone: None: the workspace's.
        least, target, most: `spec.replicas`.
        mailboxes: names of the Secrets that declare mailboxes.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    workspace: str
    suspend: bool
    deletion_policy: DeletionPolicy
    timezone: str | None
    scope: str
    group: str
    least: int
    target: int
    most: int
    backlog: bool
    policy: Policy
    mailboxes: tuple[str, ...]
    resources: Mapping[str, Any] | None = None


def workspace_of(resource: Resource) -> WorkspaceSpec:
    """Raises `SpecInvalid`."""
    meta, spec = resource["metadata"], resource.get("spec", {})
    return WorkspaceSpec(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta["generation"],
        display_name=spec.get("displayName") or meta["name"],
        timezone=_timezone(spec.get("timezone", "UTC")),
        suspend=spec.get("suspend", False),
        deletion_policy=spec.get("deletionPolicy", "Retain"),
    )


def pool_of(resource: Resource, *, sandbox: bool) -> PoolSpec:
    """Raises `SpecInvalid`, which names all that is wrong with the policy.

    Args:
        sandbox: of the installation: there mail may be kept for hours only.
    """
    meta, spec = resource["metadata"], resource["spec"]
    replicas = spec.get("replicas", {})
    zone = spec.get("timezone")
    return PoolSpec(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta["generation"],
        workspace=spec["workspaceRef"]["name"],
        suspend=spec.get("suspend", False),
        deletion_policy=spec.get("deletionPolicy", "Retain"),
        timezone=None if zone is None else _timezone(zone),
        scope=spec.get("peeringScope", "Pool").lower(),
        group=spec.get("workerGroup") or own_group(meta["namespace"], meta["name"]),
        least=replicas.get("min", 1),
        target=replicas.get("target", 1),
        most=replicas.get("max", 3),
        backlog=spec.get("autoscale", "Backlog") == "Backlog",
        policy=_policy(spec.get("policy", {}), sandbox=sandbox),
        mailboxes=tuple(one["secretName"] for one in spec.get("mailboxes", ())),
        resources=spec.get("resources"),
    )


def own_group(namespace: str, name: str) -> str:
    """The worker group of a pool that names none: a DNS label, always the same."""
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()
    return f"{name}-{digest[:8]}"


def camel(name: str) -> str:
    """A field of core in the spelling of Kubernetes: `start_volume` is `startVolume`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def effective(policy: Policy) -> dict[str, Any]:
    """`status.effectivePolicy`: every number in force, those of the preset resolved."""
    return {camel(name): value for name, value in policy.to_json().items()}


def spec_of_policy(policy: Policy) -> dict[str, Any]:
    """`spec.policy` that gives this policy; a preset's own numbers are left to the preset."""
    values = policy.to_json()
    if policy.mode != "custom":
        values = {key: value for key, value in values.items() if key not in RAMP}
    return {camel(name): value for name, value in values.items()}


def change_to(policy: Policy) -> dict[str, Any]:
    """As `spec_of_policy`, as a merge patch: what it leaves out is taken away."""
    return {camel(name): None for name in RAMP} | spec_of_policy(policy)


def _policy(given: Mapping[str, Any], *, sandbox: bool) -> Policy:
    names = {camel(name): name for name in Policy.model_fields}
    unknown = sorted(given.keys() - names.keys())
    if unknown:
        raise SpecInvalid(
            f"spec.policy has no field {', '.join(unknown)}.",
            hint="The custom resource definitions are newer than the operator: upgrade it.",
        )
    try:
        values = {names[key]: value for key, value in given.items()}
        return Policy.parse(values, sandbox=sandbox)
    except InvalidPolicy as error:
        told = " ".join(
            mistake.message.replace(mistake.field, camel(mistake.field))
            for mistake in error.mistakes
        )
        raise SpecInvalid(f"spec.policy: {told}") from error


def _timezone(name: str) -> str:
    if name not in timezones():
        raise SpecInvalid(
            f"spec.timezone: {name} is no time zone of the IANA database.",
            hint="Use a name such as Europe/Berlin, or UTC.",
        )
    return name
