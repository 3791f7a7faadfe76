"""The mailbox that a command's ADDRESS names."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from mailhearth_core.verbs import mailboxes, workspaces
from mailhearth_local.services.attach import Attached

address_argument = click.argument("address")
workspace_option = click.option(
    "--workspace", "-w", metavar="NAME", help="Needed only where the address is in several."
)


def locate(attached: Attached, address: str, workspace: str | None) -> tuple[UUID, dict[str, Any]]:
    """Its workspace's id and its row, as of `mailboxes.listing`."""
    only = workspaces.find(attached.cli, workspace)["workspace_id"] if workspace else None
    return mailboxes.locate(attached.cli, address, only)


def shown(row: dict[str, Any], workspace: str) -> dict[str, Any]:
    """A mailbox in JSON; nothing secret is in its row."""
    return {
        "id": row["id"],
        "workspace": workspace,
        "pool": row["pool"],
        "address": row["address"],
        "name": row["display_name"],
        "state": row["state"],
        "state_reason": row["state_reason"],
        "consent": row["consent"],
        "timezone": row["timezone"],
        "imap": {"host": row["imap_host"], "port": row["imap_port"], "tls": row["imap_tls"]},
        "smtp": {"host": row["smtp_host"], "port": row["smtp_port"], "tls": row["smtp_tls"]},
        "own_ca": row["ca_pem"] is not None,
        "username": row["username"],
        "auth_failures": row["auth_failures"],
        "last_error": row["last_error"],
        "last_error_at": row["last_error_at"],
        "connected_at": row["connected_at"],
        "created_at": row["created_at"],
    }
