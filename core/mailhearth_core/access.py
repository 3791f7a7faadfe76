"""Who may do what in a workspace: the one table that views, templates and the API share.

A role gives permissions in one workspace only. Platform administration is apart: it is no role, and
it opens no workspace.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """What a member of a workspace is, the strongest first."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    READONLY = "readonly"


class Permission(StrEnum):
    """What a page or a call needs; each has exactly one, or asks for none."""

    LOOK = "look"
    """See the workspace: mailboxes, pools, placement, reasons, events, members; leave it."""
    WORK_MAILBOXES = "work_mailboxes"
    """Connect, test, import, pause, resume and reconnect mailboxes."""
    MANAGE_MAILBOXES = "manage_mailboxes"
    """Move mailboxes between pools, change their servers, consent to network peering, delete."""
    MANAGE_POOLS = "manage_pools"
    """Make pools and change their policy and peering scope."""
    MANAGE_MEMBERS = "manage_members"
    """Invite, change roles, remove; never anything about an owner, which only owners may."""
    READ_AUDIT = "read_audit"
    """Read and export the workspace's audit trail."""
    RENAME_WORKSPACE = "rename_workspace"
    EXPORT_WORKSPACE = "export_workspace"
    """Take a copy of all that is the workspace's."""
    DELETE_WORKSPACE = "delete_workspace"


_READONLY = frozenset({Permission.LOOK})
_MEMBER = _READONLY | {Permission.WORK_MAILBOXES}
_ADMIN = _MEMBER | {
    Permission.MANAGE_MAILBOXES,
    Permission.MANAGE_POOLS,
    Permission.MANAGE_MEMBERS,
    Permission.READ_AUDIT,
    Permission.RENAME_WORKSPACE,
}
_OWNER = frozenset(Permission)

ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {Role.OWNER: _OWNER, Role.ADMIN: _ADMIN, Role.MEMBER: _MEMBER, Role.READONLY: _READONLY}
)
"""The table."""

DESCRIPTIONS: Mapping[Role, str] = MappingProxyType(
    {
        Role.OWNER: "everything, also export and deletion of the workspace",
        Role.ADMIN: "members, mailboxes and pools",
        Role.MEMBER: "connects, pauses and resumes mailboxes",
        Role.READONLY: "looks, changes nothing",
    }
)
"""What a role is, for a form that offers it."""


def allows(role: Role | str, permission: Permission) -> bool:
    """Whether a role has a permission.

    Raises:
        ValueError: there is no such role.
    """
    return permission in ROLES[Role(role)]


def gives(role: Role | str) -> tuple[Role, ...]:
    """The roles that a role may give, and take from those who have them; the strongest first."""
    if not allows(role, Permission.MANAGE_MEMBERS):
        return ()
    return tuple(Role) if Role(role) is Role.OWNER else (Role.ADMIN, Role.MEMBER, Role.READONLY)
