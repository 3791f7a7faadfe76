"""`up --demo`: one workspace, one pool and twelve mailboxes in the mail sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from mailhearth_core.errors import NotFound
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.verbs import mailboxes, pools, workspaces
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, parse_spec
from mailhearth_core.verbs.wishes import Actor, await_wish
from mailhearth_local.sandbox.accounts import DemoUser
from mailhearth_local.sandbox.server import SandboxInfo

NAME = "demo"
"""Of the workspace and of its pool."""
ACTOR = Actor("demo", "cli")
POLICY = {
    "pair_gap_hours": "24",  # eleven peers are few
    "reply_delay_max_minutes": "720",  # so that replies are seen within the day
    "retention_hours": "48",  # so that filing and expunging are seen too
}


def ensure_demo(
    door: TenantDoor, reconcile: Callable[[], int], info: SandboxInfo, users: Iterable[DemoUser]
) -> None:
    """Makes what is missing; a mailbox whose server has moved is connected again.

    Args:
        reconcile: the provisioner of this process, as no other runs yet.
    """
    workspace_id = _workspace(door, reconcile)
    pool_id = _pool(door, workspace_id, reconcile)
    known = {row["address"]: row for row in mailboxes.listing(door, workspace_id)}
    ca_pem = Path(info.ca_file).read_text()
    for user in users:
        row = known.get(user.address)
        if row is None:
            mailboxes.add(door, workspace_id, pool_id, _spec(user, info), ACTOR)
        elif not _still_there(row, info, ca_pem):
            mailboxes.reconnect(door, workspace_id, row, _spec(user, info, consent="none"), ACTOR)


def _workspace(door: TenantDoor, reconcile: Callable[[], int]) -> UUID:
    try:
        found = workspaces.find(door.database, NAME)
    except NotFound:
        workspaces.create(door.database, NAME, ACTOR)
        reconcile()
        found = workspaces.find(door.database, NAME)
    workspace_id: UUID = found["workspace_id"]
    return workspace_id


def _pool(door: TenantDoor, workspace_id: UUID, reconcile: Callable[[], int]) -> UUID:
    try:
        found = pools.find(door, workspace_id, NAME)
    except NotFound:
        wish = pools.create(door, workspace_id, NAME, POLICY, ACTOR, sandbox=True)
        await_wish(door, workspace_id, wish, reconcile=reconcile)
        found = pools.find(door, workspace_id, NAME)
    pool_id: UUID = found["id"]
    return pool_id


def _spec(user: DemoUser, info: SandboxInfo, consent: str = "workspace") -> MailboxSpec:
    return parse_spec(
        {
            "address": user.address,
            "imap": f"{info.host}:{info.imap_port}",
            "smtp": f"{info.host}:{info.smtps_port}",
            "tls": "implicit",
            "ca": info.ca_file,
            "username": user.address,
            "name": f"{user.first_name} {user.last_name}".strip(),
            "timezone": user.timezone,
            "consent": consent,
        },
        user.password,
    )


def _still_there(row: Mapping[str, Any], info: SandboxInfo, ca_pem: str) -> bool:
    return (row["imap_port"], row["smtp_port"], row["ca_pem"]) == (
        info.imap_port,
        info.smtps_port,
        ca_pem,
    )
