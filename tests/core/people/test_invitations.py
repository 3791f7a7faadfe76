"""Invitations: for one verified address, once, for a week, and only as long as the inviter may."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID

import pytest

from mailhearth_core.access import Role
from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.verbs import invitations, members, own_workspaces, people
from mailhearth_core.verbs.invitations import InvitationGone, OtherAddress
from mailhearth_core.verbs.members import NotAllowed
from mailhearth_core.verbs.people import Person
from people import NOW, OTHER_ISSUER, People, digest, later


@pytest.fixture
def north(people_here: People) -> UUID:
    return people_here.installation.workspace("north")


@pytest.fixture
def owner(people_here: People, north: UUID) -> Person:
    return people_here.member(north, "owner@example.com", "owner")


def invite(
    people_here: People,
    workspace: UUID,
    by: Person,
    token: str,
    email: str = "ann@example.com",
    role: Role = Role.MEMBER,
    *,
    any_address: bool = False,
) -> UUID:
    return invitations.create(
        people_here.web,
        workspace,
        by,
        email,
        role,
        digest(token),
        any_address=any_address,
        now=NOW,
    )


def accept(people_here: People, token: str, who: Person, now: datetime = NOW) -> UUID:
    return invitations.accept(people_here.web, digest(token), who, now=now)


def test_an_invitation_makes_a_member_once(people_here: People, north: UUID, owner: Person) -> None:
    invite(people_here, north, owner, "t", "Ann@Example.com")
    shown = invitations.look(people_here.web, digest("t"), now=NOW)
    assert (shown.workspace, shown.email, shown.role) == ("north", "ann@example.com", Role.MEMBER)
    assert shown.invited_by == "owner@example.com"
    ann, eve = people_here.person("ann@example.com"), people_here.person("eve@example.com")
    unverified = people_here.person("ann@example.com", issuer=OTHER_ISSUER, verified=False)
    for other in (eve, unverified):
        with pytest.raises(OtherAddress):
            accept(people_here, "t", other)
    with pytest.raises(InvitationGone):
        accept(people_here, "t", ann, later(days=7))
    with pytest.raises(InvitationGone):
        accept(people_here, "other", ann)
    assert accept(people_here, "t", ann, later(days=6)) == north
    assert people_here.roles(north)["ann@example.com"] == "member"
    with pytest.raises(InvitationGone):
        accept(people_here, "t", ann)
    assert invitations.listing(people_here.web, north) == []
    stored = people_here.installation.rows("SELECT to_jsonb(a)::text AS t FROM audit_events a")
    assert not any("ct" in row["t"].split() for row in stored)
    assert people_here.events(north)[-2:] == ["invitation.made", "invitation.accepted"]


def test_any_verified_identity_of_a_person_will_do(
    people_here: People, north: UUID, owner: Person
) -> None:
    invite(people_here, north, owner, "t", "ann@work.example")
    ann = people_here.person("ann@example.com")
    people.link(
        people_here.web,
        ann.id,
        OTHER_ISSUER,
        "x",
        email="ann@work.example",
        email_verified=True,
        now=NOW,
    )
    assert accept(people_here, "t", ann) == north


def test_any_address_may_accept_where_the_inviter_said_so(
    people_here: People, north: UUID, owner: Person
) -> None:
    invite(people_here, north, owner, "t", any_address=True)
    eve = people_here.person("eve@elsewhere.example", verified=False)
    assert accept(people_here, "t", eve) == north
    invite(people_here, north, owner, "u", any_address=True)
    with pytest.raises(Conflict, match="already"):
        accept(people_here, "u", eve)
    assert len(invitations.listing(people_here.web, north)) == 1, "it was not spent"


def test_two_at_once_spend_one_invitation(people_here: People, north: UUID, owner: Person) -> None:
    invite(people_here, north, owner, "t", any_address=True)
    guests = [people_here.person(f"g{n}@example.com") for n in range(4)]

    def come(who: Person) -> bool:
        try:
            accept(people_here, "t", who)
        except InvitationGone:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(come, guests)) == 1
    assert len(people_here.roles(north)) == 2


def test_only_who_may_invites_and_only_what_they_may_give(
    people_here: People, north: UUID, owner: Person
) -> None:
    admin = people_here.member(north, "admin@example.com", "admin")
    member = people_here.member(north, "member@example.com", "member")
    with pytest.raises(NotAllowed):
        invite(people_here, north, member, "t")
    with pytest.raises(NotAllowed):
        invite(people_here, north, admin, "t", role=Role.OWNER)
    for email in ("", "ann", "ann@", "a b@example.com", "ann@example.com\nbcc: x@example.com"):
        with pytest.raises(InvalidValue):
            invite(people_here, north, owner, "t", email)
    first = invite(people_here, north, admin, "t")
    with pytest.raises(NotAllowed):
        invitations.revoke(people_here.web, north, member, first, now=NOW)
    second = invite(people_here, north, owner, "u", role=Role.OWNER)  # instead of the first
    assert [i.id for i in invitations.listing(people_here.web, north)] == [second]
    with pytest.raises(InvitationGone):
        invitations.look(people_here.web, digest("t"), now=NOW)
    south = people_here.installation.workspace("south")
    elsewhere = people_here.member(south, "other@example.com", "owner")
    with pytest.raises(InvitationGone):
        invitations.revoke(people_here.web, south, elsewhere, second, now=NOW)
    invitations.revoke(people_here.web, north, owner, second, now=NOW)
    with pytest.raises(InvitationGone):
        accept(people_here, "u", people_here.person("ann@example.com"))


def test_an_invitation_ends_with_its_inviters_right_to_it(
    people_here: People, north: UUID, owner: Person
) -> None:
    second = people_here.member(north, "second@example.com", "owner")
    invite(people_here, north, second, "o", "o@example.com", Role.OWNER)
    invite(people_here, north, second, "m", "m@example.com")
    invite(people_here, north, owner, "k", "k@example.com")

    def still_open() -> set[str]:
        return {i.email for i in invitations.listing(people_here.web, north)}

    members.change_role(people_here.web, north, owner, second.id, Role.ADMIN, now=NOW)
    assert still_open() == {"m@example.com", "k@example.com"}
    members.remove(people_here.web, north, owner, second.id, now=NOW)
    assert still_open() == {"k@example.com"}
    own_workspaces.begin_deletion(people_here.web, north, owner, now=NOW)
    with pytest.raises(InvitationGone):
        accept(people_here, "k", people_here.person("k@example.com"))


def test_there_is_a_most(
    people_here: People, north: UUID, owner: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    for n in range(2):
        invite(people_here, north, owner, f"t{n}", f"g{n}@example.com")
    invite(people_here, north, owner, "t1", "g1@example.com")  # instead of its own
    with pytest.raises(Conflict, match="No more than 2"):
        invite(people_here, north, owner, "t3", "g3@example.com")
