"""Members: what each may change about the others, and the owner that every workspace keeps."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID

import pytest

from database import ACTOR
from mailhearth_core.access import Permission, Role
from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import members, own_workspaces, workspaces
from mailhearth_core.verbs.members import NotAllowed
from mailhearth_core.verbs.people import LastOwner, Person
from people import NOW, People

SQL = named("people")


@pytest.fixture
def north(people_here: People) -> UUID:
    return people_here.installation.workspace("north")


def test_a_place_is_ones_own(people_here: People, north: UUID) -> None:
    south = people_here.installation.workspace("south")
    ann = people_here.member(north, "ann@example.com", "readonly")
    eve = people_here.member(south, "eve@example.com", "owner")
    place = members.place(people_here.web, ann.id, north)
    assert place is not None
    assert (place.name, place.state, place.role) == ("north", "active", Role.READONLY)
    assert place.allows(Permission.LOOK)
    assert not place.allows(Permission.WORK_MAILBOXES)
    assert members.place(people_here.web, ann.id, south) is None
    assert members.place(people_here.web, eve.id, north) is None
    assert members.place(people_here.web, ann.id, ann.id) is None


def test_roles_change_at_once_and_only_by_those_who_may(people_here: People, north: UUID) -> None:
    web = people_here.web
    who = {
        role.value: people_here.member(north, f"{role}@example.com", role)
        for role in (Role.OWNER, Role.ADMIN, Role.MEMBER, Role.READONLY)
    }
    outsider = people_here.person("eve@example.com")

    def change(by: Person, whom: str, role: Role) -> None:
        members.change_role(web, north, by, who[whom].id, role, now=NOW)

    for by, whom, role in (
        ("member", "readonly", Role.MEMBER),
        ("readonly", "readonly", Role.OWNER),
        ("admin", "owner", Role.MEMBER),
        ("admin", "member", Role.OWNER),
        ("admin", "admin", Role.OWNER),
    ):
        with pytest.raises(NotAllowed):
            change(who[by], whom, role)
    with pytest.raises(NotAllowed):
        members.remove(web, north, who["admin"], who["owner"].id, now=NOW)
    with pytest.raises(NotFound):
        change(outsider, "readonly", Role.OWNER)
    with pytest.raises(NotFound):
        members.change_role(web, north, who["owner"], outsider.id, Role.MEMBER, now=NOW)
    change(who["admin"], "member", Role.ADMIN)
    change(who["owner"], "admin", Role.READONLY)
    with pytest.raises(NotAllowed):
        change(who["admin"], "readonly", Role.MEMBER)
    members.remove(web, north, who["owner"], who["readonly"].id, now=NOW)
    assert members.place(web, who["readonly"].id, north) is None
    members.leave(web, north, who["admin"], now=NOW)
    assert people_here.roles(north) == {
        "owner@example.com": "owner",
        "member@example.com": "admin",
    }
    events = people_here.events(north)
    assert [e for e in events if e.startswith("member.") and e != "member.added"] == [
        "member.role_changed",
        "member.role_changed",
        "member.removed",
        "member.removed",
    ]


def test_the_last_owner_stays(people_here: People, north: UUID) -> None:
    owner = people_here.member(north, "owner@example.com", "owner")
    people_here.member(north, "admin@example.com", "admin")
    web = people_here.web
    with pytest.raises(LastOwner):
        members.leave(web, north, owner, now=NOW)
    with pytest.raises(LastOwner):
        members.change_role(web, north, owner, owner.id, Role.ADMIN, now=NOW)
    with pytest.raises(LastOwner):
        members.remove(web, north, owner, owner.id, now=NOW)
    with pytest.raises(Conflict):
        members.put(
            people_here.installation.database("cli"),
            north,
            owner.id,
            Role.MEMBER,
            ACTOR,
            now=NOW,
        )
    members.change_role(web, north, owner, owner.id, Role.OWNER, now=NOW)  # nothing lost by it
    assert people_here.roles(north)["owner@example.com"] == "owner"


def test_two_owners_who_leave_at_once_leave_one(people_here: People, north: UUID) -> None:
    ann = people_here.member(north, "ann@example.com", "owner")
    bob = people_here.member(north, "bob@example.com", "owner")
    web = people_here.web
    with ThreadPoolExecutor(1) as pool:
        with web.tx() as conn:  # Ann's leaving is under way, and has seen two owners
            list(SQL.hold_members(conn, workspace_id=north))
            assert SQL.set_member(
                conn, workspace_id=north, user_id=ann.id, role=None, actor="ann", now=NOW
            )
            begun = threading.Event()

            def leave() -> None:
                begun.set()
                members.leave(web, north, bob, now=NOW)

            leaving = pool.submit(leave)
            assert begun.wait(10)
            assert not leaving.done()
        with pytest.raises(LastOwner):
            leaving.result(timeout=20)
    assert people_here.roles(north) == {"bob@example.com": "owner"}


def test_many_who_unmake_each_other_at_once_leave_one(people_here: People, north: UUID) -> None:
    owners = [people_here.member(north, f"o{n}@example.com", "owner") for n in range(4)]

    def unmake(by: Person, whom: Person) -> None:
        with suppress(LastOwner, NotAllowed):
            members.change_role(people_here.web, north, by, whom.id, Role.MEMBER, now=NOW)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(unmake, owners, [*owners[1:], owners[0]]))
    assert list(people_here.roles(north).values()).count("owner") >= 1


def test_a_workspace_is_made_renamed_and_ended_by_its_owner(
    people_here: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = people_here.web
    ann = people_here.person("ann@example.com")
    with pytest.raises(InvalidValue):
        own_workspaces.create(web, ann, "No Name", now=NOW)
    made = own_workspaces.create(web, ann, "first", now=NOW)
    assert [(p.name, p.state, p.role) for p in members.places(web, ann.id)] == [
        ("first", "provisioning", Role.OWNER)
    ]
    monkeypatch.setattr(own_workspaces, "MOST_OWNED", 1)
    with pytest.raises(Conflict, match="more than 1"):
        own_workspaces.create(web, ann, "second", now=NOW)
    monkeypatch.undo()
    people_here.installation.provisioner.reconcile()
    (place,) = members.places(web, ann.id)
    assert place.state == "active"
    with pytest.raises(Conflict, match="exists already"):
        own_workspaces.create(web, people_here.person("eve@example.com"), "first", now=NOW)
    own_workspaces.create(web, ann, "second", now=NOW)
    with pytest.raises(Conflict, match="exists already"):
        own_workspaces.rename(web, made, ann, "second", now=NOW)
    own_workspaces.rename(web, made, ann, "third", now=NOW)
    assert (
        workspaces.find(people_here.installation.database("cli"), "third")["workspace_id"] == made
    )

    admin = people_here.member(made, "admin@example.com", "admin")
    with pytest.raises(NotAllowed):
        own_workspaces.begin_deletion(web, made, admin, now=NOW)
    own_workspaces.begin_deletion(web, made, ann, now=NOW)
    gone = members.place(web, ann.id, made)
    assert gone is not None
    assert gone.state == "deleting"
    with pytest.raises(Conflict, match="being deleted"):
        own_workspaces.rename(web, made, ann, "fourth", now=NOW)
    people_here.installation.provisioner.reconcile()
    assert [p.name for p in members.places(web, ann.id)] == ["second"]
    assert people_here.events().count("workspace.deleted") == 1
