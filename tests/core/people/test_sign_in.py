"""Who comes in: an identity is (issuer, subject), an address is nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.access import Role
from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.verbs import invitations, members, people, workspaces
from mailhearth_core.verbs.people import LinkUsed, RegistrationClosed
from people import ISSUER, NOW, OTHER_ISSUER, People, digest, later


def test_an_identity_is_its_issuer_and_subject(people_here: People) -> None:
    ann = people_here.person("Ann@Example.com", subject="1")
    assert (ann.email, ann.name, ann.is_admin) == ("ann@example.com", "Ann", False)
    again = people_here.person("ann.new@example.com", subject="1", registration_open=False)
    assert again.id == ann.id
    assert again.email == "ann.new@example.com"
    # The same address, verified, from elsewhere: another person. The same subject: too.
    other = people_here.person("ann.new@example.com", issuer=OTHER_ISSUER, subject="2")
    third = people_here.person("ann.new@example.com", issuer=OTHER_ISSUER, subject="1")
    assert len({ann.id, other.id, third.id}) == 3
    assert people.find(people_here.web, ann.id) == again
    assert people_here.events().count("person.joined") == 3
    assert people_here.events().count("person.signed_in") == 4


def test_what_an_issuer_says_is_kept_as_one_short_line(people_here: People) -> None:
    odd = people.sign_in(
        people_here.web,
        ISSUER,
        "odd",
        email="x" * 400 + "@example.com",
        email_verified=True,
        name="Ann\x00\n\u202eExample" + "n" * 400,
        now=NOW,
        registration_open=True,
    )
    assert (odd.email, odd.name[:10], len(odd.name)) == ("", "AnnExample", people.MAX_NAME)
    assert odd.called == str(odd.id)


def test_closed_registration_takes_no_stranger_not_even_the_first(
    people_here: People, installation: TestInstallation
) -> None:
    with pytest.raises(RegistrationClosed):
        people_here.person("eve@example.com", registration_open=False)
    assert installation.rows("SELECT 1 FROM users") == []
    assert people_here.events() == ["person.refused"]


def test_an_invitation_lets_in_whom_it_fits(people_here: People) -> None:
    north = people_here.installation.workspace("north")
    owner = people_here.member(north, "owner@example.com", "owner")
    for address, token, any_address in (
        ("ann@example.com", "one", False),
        ("bob@example.com", "two", True),
    ):
        invitations.create(
            people_here.web,
            north,
            owner,
            address,
            Role.MEMBER,
            digest(token),
            any_address=any_address,
            now=NOW,
        )

    def come(email: str, token: str, *, verified: bool = True, days: int = 0) -> people.Person:
        return people_here.person(
            email,
            verified=verified,
            registration_open=False,
            invitation=digest(token),
            now=later(days=days),
        )

    for email, token, verified, days in (
        ("eve@example.com", "one", True, 0),  # another address
        ("ann@example.com", "one", False, 0),  # not verified
        ("ann@example.com", "one", True, 8),  # expired
        ("ann@example.com", "none", True, 0),
    ):
        with pytest.raises(RegistrationClosed):
            come(email, token, verified=verified, days=days)
    ann = come("ann@example.com", "one")
    assert members.places(people_here.web, ann.id) == [], "it is not accepted by signing in"
    assert come("whoever@example.com", "two", verified=False).email == "whoever@example.com"


def test_the_same_person_twice_at_once_is_one(people_here: People) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [
            pool.submit(people_here.person, "ann@example.com", subject="same") for _ in range(4)
        ]
        assert len({future.result().id for future in made}) == 1


def test_identities_are_linked_and_never_joined(people_here: People) -> None:
    ann = people_here.person("ann@example.com", subject="1")
    eve = people_here.person("ann@example.com", issuer=OTHER_ISSUER, subject="2")

    def link(subject: str) -> None:
        people.link(
            people_here.web,
            ann.id,
            OTHER_ISSUER,
            subject,
            email="Ann@Work.Example",
            email_verified=True,
            now=NOW,
        )

    with pytest.raises(Conflict, match="another account"):
        link("2")
    assert people.identities(people_here.web, eve.id)[0].subject == "2"
    link("3")
    link("3")  # theirs already
    assert people_here.person("ann@work.example", issuer=OTHER_ISSUER, subject="3").id == ann.id
    assert people.find(people_here.web, ann.id).email == "ann@example.com", "as the first says"
    first, second = people.identities(people_here.web, ann.id)
    assert (first.issuer, second.email) == (ISSUER, "ann@work.example")
    with pytest.raises(Conflict):
        people.unlink(people_here.web, eve.id, second.id, now=NOW)
    people.unlink(people_here.web, ann.id, first.id, now=NOW)
    with pytest.raises(Conflict, match="only way"):
        people.unlink(people_here.web, ann.id, second.id, now=NOW)
    assert [i.id for i in people.identities(people_here.web, ann.id)] == [second.id]


def test_a_local_link_works_once_and_its_person_owns_what_nobody_owns(
    people_here: People, installation: TestInstallation
) -> None:
    owned = installation.workspace("owned")
    ann = people_here.member(owned, "ann@example.com", "owner")
    installation.workspace("lost")
    cli, web = installation.database("cli"), people_here.web

    def link(token: str, user_id: object = None) -> None:
        people.local_link(
            cli,
            user_id,  # type: ignore[arg-type]
            digest(token),
            actor=ACTOR,
            now=NOW,
            expires_at=later(minutes=10),
        )

    link("a")
    me = people.use_local_link(web, digest("a"), now=later(minutes=9))
    assert (me.email, me.is_admin) == ("owner@localhost", True)
    assert [(p.name, p.role) for p in members.places(web, me.id)] == [("lost", "owner")]
    for token in ("a", "unknown"):
        with pytest.raises(LinkUsed):
            people.use_local_link(web, digest(token), now=NOW)
    link("b")
    with pytest.raises(LinkUsed):
        people.use_local_link(web, digest("b"), now=later(minutes=11))
    link("c", ann.id)
    assert people.use_local_link(web, digest("c"), now=NOW) == ann
    with pytest.raises(NotFound):
        link("d", owned)
    # What the command line makes from now on is this machine's person's.
    workspaces.create(cli, "made-later", ACTOR)
    assert [p.name for p in members.places(web, me.id)] == ["lost", "made-later"]


def test_people_are_found_by_the_command_line(people_here: People) -> None:
    cli = people_here.installation.database("cli")
    ann = people_here.person("ann@example.com", subject="1")
    people_here.person("two@example.com", subject="2")
    people_here.person("two@example.com", issuer=OTHER_ISSUER, subject="2")
    assert people.lookup(cli, "Ann@example.com")["id"] == ann.id
    assert people.lookup(cli, str(ann.id))["email"] == "ann@example.com"
    found = people.lookup(cli, issuer=OTHER_ISSUER, subject="2")
    with pytest.raises(Conflict, match=str(found["id"])):
        people.lookup(cli, "two@example.com")
    with pytest.raises(NotFound, match="Nobody here"):
        people.lookup(cli, "nobody@example.com")
