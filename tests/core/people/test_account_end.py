"""An account's end leaves no row behind: every table is walked for the person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.access import Role
from mailhearth_core.errors import Conflict, MailhearthError, NotFound
from mailhearth_core.settings import SchedulerSettings
from mailhearth_core.verbs import audit, invitations, members, own_workspaces, people, sessions
from mailhearth_core.verbs.people import LastOwner, Person
from mailhearth_worker.scheduler import retention
from people import NOW, OTHER_ISSUER, People, digest, later
from tenancy import plant


def mentions(installation: TestInstallation, *words: str) -> list[str]:
    """Tables with a row that holds one of the words anywhere."""
    tables = installation.rows(
        "SELECT c.oid::regclass::text AS name FROM pg_class c "
        "WHERE c.relnamespace = 'mailhearth'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1"
    )
    found = []
    for table in tables:
        for word in words:
            query = (
                f"SELECT 1 FROM {table['name']} t WHERE lower(to_jsonb(t)::text) LIKE %s LIMIT 1"
            )
            if installation.rows(query, f"%{word}%"):
                found.append(table["name"])
                break
    return found


class Traces:
    """A person who has left something in every table where a person can."""

    def __init__(self, here: People) -> None:
        self.here = here
        installation = here.installation
        self.north = installation.workspace("north")
        self.ann = here.person("ann@example.com", subject="1")
        here.person("ann@old.example", subject="1")
        self.ann = here.person("ann@example.com", subject="1")  # an address she no longer has
        people.link(
            here.web,
            self.ann.id,
            OTHER_ISSUER,
            "1",
            email="ann@work.example",
            email_verified=True,
            now=NOW,
        )
        members.put(
            installation.database("cli"), self.north, self.ann.id, Role.OWNER, ACTOR, now=NOW
        )
        pool = installation.pool(self.north)
        mailbox = installation.mailbox(self.north, pool, "sales@north.test")
        plant(installation, self.north, mailbox)
        installation.rows("DELETE FROM memberships WHERE user_id <> %s", self.ann.id)
        sessions.create(
            here.web,
            digest("s"),
            self.ann.id,
            {"email": "ann@example.com"},
            now=NOW,
            expires_at=later(days=1),
            ip="192.0.2.1",
            agent="",
        )
        people.local_link(
            installation.database("cli"),
            self.ann.id,
            digest("l"),
            actor=ACTOR,
            now=NOW,
            expires_at=later(days=1),
        )
        installation.rows(
            "INSERT INTO platform_admins VALUES (%s, 'ann@example.com', %s)", self.ann.id, NOW
        )
        invitations.create(
            here.web, self.north, self.ann, "guest@example.com", Role.MEMBER, digest("i"), now=NOW
        )
        self.own = own_workspaces.create(here.web, self.ann, "own", now=NOW)
        for table in installation.rows(
            "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_attribute a "
            "ON a.attrelid = c.oid AND a.attname = 'actor' WHERE c.relkind = 'r' "
            "AND c.relnamespace = 'mailhearth'::regnamespace"
        ):
            # Whoever keeps the name of an actor may be keeping hers.
            done = installation.rows(
                f"UPDATE {table['name']} SET actor = 'ann@example.com' RETURNING 1"
            )
            assert done, table


@pytest.fixture
def traces(people_here: People) -> Traces:
    return Traces(people_here)


def test_every_trace_of_a_person_goes_and_the_rest_stays(traces: Traces) -> None:
    here, ann = traces.here, traces.ann
    installation = here.installation
    bob = here.member(traces.north, "bob@example.com", "owner")
    members.put(installation.database("cli"), traces.own, bob.id, Role.OWNER, ACTOR, now=NOW)
    invitations.create(
        here.web, traces.north, bob, "ann@work.example", Role.MEMBER, digest("x"), now=NOW
    )
    words = (str(ann.id), "ann@example.com", "ann@old.example", "ann@work.example")
    for word in words:
        assert mentions(installation, word), word
    assert {"users", "sessions", "sign_in_links", "audit_events", "consent_ledger"} <= set(
        mentions(installation, *words)
    )
    people.delete_account(here.web, ann.id, now=NOW)
    assert mentions(installation, *words) == []
    with pytest.raises(NotFound):
        people.find(here.web, ann.id)
    with pytest.raises(NotFound):
        people.delete_account(here.web, ann.id, now=NOW)
    assert sessions.find(here.web, digest("s"), now=NOW, idle=timedelta(days=1)) is None
    assert here.roles(traces.north) == {"bob@example.com": "owner"}
    assert "person.deleted" in here.events()
    assert "member.left" in here.events(traces.north)
    installation.rows("DELETE FROM audit_checkpoints")  # the planted one is no chain's
    for report in audit.verify_all(installation.database("cli")):
        assert report.faults == []
    # The same identity may come again, as somebody new.
    assert here.person("ann@example.com", subject="1").id != ann.id


def test_a_last_owner_cannot_go(traces: Traces) -> None:
    here = traces.here
    with pytest.raises(LastOwner, match="north, own") as refused:
        people.delete_account(here.web, traces.ann.id, now=NOW)
    assert refused.value.workspaces == ["north", "own"]
    assert len(sessions.listing(here.web, traces.ann.id, now=NOW)) == 1, "nothing half done"
    own_workspaces.begin_deletion(here.web, traces.own, traces.ann, now=NOW)
    bob = here.member(traces.north, "bob@example.com", "owner")
    people.delete_account(here.web, traces.ann.id, now=NOW)
    with pytest.raises(LastOwner, match="north"):
        people.delete_account(here.web, bob.id, now=NOW)


def test_two_owners_who_delete_their_accounts_at_once_leave_one(people_here: People) -> None:
    north = people_here.installation.workspace("north")
    owners = [people_here.member(north, f"o{n}@example.com", "owner") for n in range(3)]

    def go(who: Person) -> bool:
        try:
            people.delete_account(people_here.web, who.id, now=NOW)
        except LastOwner:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(go, owners)) == 2
    assert list(people_here.roles(north).values()) == ["owner"]


def test_whoever_goes_while_they_accept_an_invitation_is_gone(people_here: People) -> None:
    north = people_here.installation.workspace("north")
    owner = people_here.member(north, "owner@example.com", "owner")
    for n in range(6):
        guest = people_here.person(f"g{n}@example.com")
        invitations.create(
            people_here.web,
            north,
            owner,
            guest.email,
            Role.MEMBER,
            digest(guest.email),
            now=NOW,
        )
        with ThreadPoolExecutor(2) as pool:
            coming = pool.submit(
                invitations.accept, people_here.web, digest(guest.email), guest, now=NOW
            )
            going = pool.submit(people.delete_account, people_here.web, guest.id, now=NOW)
            assert coming.exception() is None or isinstance(coming.exception(), MailhearthError)
            assert going.exception() is None or isinstance(going.exception(), Conflict)
        if going.exception() is None:
            assert guest.email not in people_here.roles(north)
            assert mentions(people_here.installation, guest.email, str(guest.id)) == []


def test_what_has_ended_is_forgotten_after_its_time(people_here: People) -> None:
    installation = people_here.installation
    settings = SchedulerSettings.load(
        {
            "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1/0",
            "MAILHEARTH_DATABASE_URL": "postgresql://x:y@127.0.0.1/z",
            "MAILHEARTH_DATA_FOLDER": "/nowhere",
        }
    )
    north = installation.workspace("north")
    owner = people_here.member(north, "owner@example.com", "owner")
    real = datetime.now(UTC)
    kept = {
        "sessions": settings.keep_sessions_days,
        "invitations": settings.keep_invitations_days,
        "sign_in_links": settings.keep_attempts_days,
    }

    def make(tag: str, ends: dict[str, timedelta]) -> None:
        sessions.create(
            people_here.web,
            digest(tag),
            owner.id,
            {},
            now=NOW,
            expires_at=real - ends["sessions"],
            ip="",
            agent=tag,
        )
        invitations.create(
            people_here.web, north, owner, f"{tag}@x.test", Role.MEMBER, digest(tag), now=NOW,
            life=real - ends["invitations"] - NOW,
        )  # fmt: skip
        people.local_link(
            installation.database("cli"),
            owner.id,
            digest(tag),
            actor=ACTOR,
            now=NOW,
            expires_at=real - ends["sign_in_links"],
        )

    make("cold", {table: timedelta(days=days, minutes=1) for table, days in kept.items()})
    make("warm", {table: timedelta(days=days, minutes=-5) for table, days in kept.items()})
    for work in retention.sweeps(real, settings):
        with installation.database("scheduler").tx() as conn:
            work(conn)
    for table in kept:
        (row,) = installation.rows(f"SELECT token_hash FROM {table}")
        assert row["token_hash"] == digest("warm"), table


def test_every_actor_that_is_kept_can_be_forgotten(installation: TestInstallation) -> None:
    """A new table that keeps who did it must let the family `signin` blank it."""
    kept = installation.rows(
        "SELECT c.oid::regclass::text AS name, "
        "has_column_privilege('mh_signin', c.oid, a.attnum, 'UPDATE') AS may, "
        "EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid "
        "AND 'mh_signin'::regrole = ANY (p.polroles)) AS policy "
        "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'actor' "
        "WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'mailhearth'::regnamespace"
    )
    forgotten_otherwise = {"audit_events", "platform_audit_events"}  # by the steward
    assert len(kept) >= 4
    assert {
        row["name"] for row in kept if not (row["may"] and row["policy"])
    } == forgotten_otherwise
