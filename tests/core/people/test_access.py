"""The one table of permissions: what it says, and that it covers every role and permission."""

from __future__ import annotations

import pytest

from mailhearth_core.access import DESCRIPTIONS, ROLES, Permission, Role, allows, gives


def test_the_table_is_whole_and_each_role_is_more_than_the_next() -> None:
    assert set(ROLES) == set(DESCRIPTIONS) == set(Role)
    assert ROLES[Role.OWNER] == set(Permission)
    assert ROLES[Role.OWNER] > ROLES[Role.ADMIN] > ROLES[Role.MEMBER] > ROLES[Role.READONLY]
    assert ROLES[Role.READONLY] == {Permission.LOOK}


def test_who_may_what() -> None:
    for permission in (Permission.DELETE_WORKSPACE, Permission.EXPORT_WORKSPACE):
        assert [role for role in Role if allows(role, permission)] == [Role.OWNER]
    for permission in (Permission.MANAGE_MEMBERS, Permission.MANAGE_POOLS, Permission.READ_AUDIT):
        assert [r for r in Role if allows(r.value, permission)] == [Role.OWNER, Role.ADMIN]
    assert allows(Role.MEMBER, Permission.WORK_MAILBOXES)
    assert not allows(Role.READONLY, Permission.WORK_MAILBOXES)
    with pytest.raises(ValueError, match="nobody"):
        allows("nobody", Permission.LOOK)


def test_who_may_give_which_role() -> None:
    assert gives(Role.OWNER) == tuple(Role)
    assert Role.OWNER not in gives(Role.ADMIN)
    assert gives(Role.MEMBER) == gives(Role.READONLY) == ()
