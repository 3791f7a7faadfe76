"""One workspace can neither read, write nor refer to another's rows; a forgotten table is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest

from database import TestInstallation
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.storage.roles import FAMILIES, LOGIN_ROLES
from tenancy import PEOPLE_TABLES, PLATFORM_TABLES, Door, faults, plant, tenant_tables

FAMILY_OF = {
    "sched": "planner",
    "carry": "carrier",
    "steward": "steward",
    "warden": "warden",
    "signin": "signin",
    "admin": "steward",
}
CALLERS = {
    "sched": {"scheduler"},
    "carry": {"worker"},
    "steward": {"cli"},
    "warden": {"operator"},
    "signin": {"web"},
    "admin": {"admin"},
}
INSTEAD: dict[str, set[str]] = {
    # Of the web's family, but the web may not call them.
    "signin.called": set(),
    "signin.tell": set(),
    "signin.tell_workspace": set(),
    "signin.find_people": {"cli"},
    "signin.admins": {"cli"},
    "signin.grant_admin": {"cli"},
    "signin.revoke_admin": {"cli"},
    "signin.put_member": {"cli"},
    "signin.make_local_link": {"cli"},
    "signin.sweep_sessions": {"scheduler"},
    "signin.sweep_links": {"scheduler"},
    "signin.sweep_invitations": {"scheduler"},
    "admin.called": set(),
    "admin.tell": set(),
}
ALSO_CALLED = {
    ("cli", "sched.pool_demand"),
    ("operator", "sched.pool_demand"),
    ("cli", "sched.domain_blocked"),
    ("cli", "sched.blocked_domains"),
    ("web", "sched.blocked_domains"),
    ("web", "sched.places_today"),
}
TINY = {"installation", "business_clock", "clock_epochs"}
DENIED = psycopg.errors.InsufficientPrivilege


class Two:
    """Two workspaces with a row in every table, and the three doors."""

    def __init__(self, installation: TestInstallation) -> None:
        self.installation = installation
        self.workspaces: list[UUID] = []
        for name in ("north", "south"):
            workspace_id = installation.workspace(name)
            pool = installation.pool(workspace_id)
            mailbox = installation.mailbox(workspace_id, pool, f"a@{name}.test")
            plant(installation, workspace_id, mailbox)
            self.workspaces.append(workspace_id)
        self._worker_doors = installation.worker_doors()

    @contextmanager
    def worker(self, workspace_id: UUID) -> Iterator[Connection]:
        with self._worker_doors.door(workspace_id).tx() as conn:
            yield conn

    @property
    def doors(self) -> dict[str, Door]:
        return {
            "web": self.installation.web_door.tenant_tx,
            "cli": self.installation.door.tenant_tx,
            "worker": self.worker,
        }

    def faults(self) -> list[str]:
        return faults(self.installation, self.doors, *self.workspaces)


@pytest.fixture
def two(installation: TestInstallation) -> Two:
    return Two(installation)


def test_the_wall_stands_in_every_table(two: Two) -> None:
    assert len(tenant_tables(two.installation)) >= 21
    assert two.faults() == []


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("(note text)", ["no workspace_id"]),
        ("(workspace_id uuid NOT NULL REFERENCES workspaces)", ["not forced", "plants no row"]),
        (
            "(workspace_id uuid NOT NULL REFERENCES workspaces, note text UNIQUE)",
            ["spans workspaces"],
        ),
        (
            "(workspace_id uuid NOT NULL, pool_name text, group_id uuid REFERENCES loose (id))",
            ["sees through the wall"],
        ),
    ],
)
def test_a_forgotten_table_is_found(two: Two, definition: str, expected: list[str]) -> None:
    with psycopg.connect(two.installation.owner_url) as conn:
        conn.execute("SET search_path = mailhearth")
        conn.execute("CREATE TABLE loose (workspace_id uuid NOT NULL, id uuid PRIMARY KEY)")
        conn.execute(f"CREATE TABLE forgotten {definition}".encode())
    found = [fault for fault in two.faults() if fault.startswith("forgotten:")]
    for part in expected:
        assert any(part in fault for fault in found), (part, found)


def test_a_table_that_is_granted_without_policies_is_found_at_each_door(two: Two) -> None:
    with psycopg.connect(two.installation.owner_url) as conn:
        conn.execute("SET search_path = mailhearth")
        conn.execute("CREATE TABLE forgotten (workspace_id uuid NOT NULL, note text)")
        for workspace_id in two.workspaces:
            conn.execute("INSERT INTO forgotten VALUES (%s, 'secret')", [workspace_id])
        conn.execute("GRANT ALL ON forgotten TO mh_web, mh_cli, mh_worker")
    found = [fault for fault in two.faults() if fault.startswith("forgotten:")]
    for door in two.doors:
        for deed in ("reads", "inserts", "deletes", "updates", "gives"):
            assert any(f"by {door}: {deed}" in fault for fault in found), (door, deed)
    with psycopg.connect(two.installation.owner_url) as conn:
        conn.execute("ALTER TABLE mailhearth.forgotten ENABLE ROW LEVEL SECURITY")
    found = [fault for fault in two.faults() if fault.startswith("forgotten:")]
    assert "forgotten: row-level security is not forced" in found


def test_without_a_workspace_the_doors_show_nothing(two: Two) -> None:
    for role in ("web", "cli"):
        for table in tenant_tables(two.installation):
            with two.installation.database(role).tx() as conn:
                assert conn.execute(f"SELECT 1 FROM {table}".encode()).fetchall() == []


def test_a_worker_cannot_name_another_workspace(two: Two) -> None:
    mine, theirs = two.workspaces
    with two.worker(mine) as conn:
        conn.execute("SELECT set_config('mailhearth.workspace', %s, true)", [str(theirs)])
        found = conn.execute("SELECT DISTINCT workspace_id FROM mailboxes").fetchall()
        assert found == [{"workspace_id": mine}]
    for statement in (
        f"SET ROLE {two.installation.roles.worker_login(theirs)}",
        f"SET SESSION AUTHORIZATION {two.installation.roles.worker_login(theirs)}",
        "SET ROLE mh_web",
        "SET ROLE mh_carrier",
    ):
        with pytest.raises(DENIED), two.worker(mine) as conn:
            conn.execute(statement.encode())


def test_a_worker_changes_what_happened_never_who_writes_to_whom(two: Two) -> None:
    for statement in (
        "UPDATE outbound SET pair_id = gen_random_uuid()",
        "UPDATE outbound SET peer_address = 'x@x.test'",
        "UPDATE inbound SET pair_id = gen_random_uuid()",
        "UPDATE action SET outbound_id = NULL",
        "UPDATE mailboxes SET consent = 'network'",
        "UPDATE mailboxes SET imap_host = 'evil.test'",
        "UPDATE key_versions SET public_key = sha256('mine')",
        "INSERT INTO consent_ledger (workspace_id) VALUES (NULL)",
    ):
        with pytest.raises(DENIED), two.worker(two.workspaces[0]) as conn:
            conn.execute(statement.encode())


def test_nobody_may_pass_the_policies(two: Two) -> None:
    rows = two.installation.rows(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcanlogin FROM pg_roles "
        "WHERE rolname LIKE 'mh\\_%'"
    )
    names = {row["rolname"] for row in rows}
    assert {f"mh_{role}" for role in (*LOGIN_ROLES, *FAMILIES, "worker", "owner")} <= names
    assert two.installation.roles.worker_login(two.workspaces[0]) in names
    assert [r["rolname"] for r in rows if r["rolsuper"] or r["rolbypassrls"]] == []
    may_create = {r["rolname"] for r in rows if r["rolcreaterole"]}
    assert may_create == {"mh_owner", "mh_warden"}
    assert not any(r["rolcanlogin"] for r in rows if r["rolname"] in {f"mh_{f}" for f in FAMILIES})


def test_each_definer_function_is_a_familys_with_a_pinned_path(two: Two) -> None:
    functions = two.installation.rows(
        "SELECT n.nspname AS family, p.proname, pg_get_userbyid(p.proowner) AS owner, p.prosecdef, "
        "p.proconfig, has_function_privilege('public', p.oid, 'EXECUTE') AS public "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' "
        "AND (p.prosecdef OR n.nspname = ANY (ARRAY['sched', 'carry', 'steward', 'warden', "
        "'signin', 'admin']))"
    )
    assert len(functions) > 40
    for f in functions:
        assert f["family"] in FAMILY_OF, f
        assert f["owner"] == f"mh_{FAMILY_OF[f['family']]}", f
        assert f["prosecdef"], f
        assert f["proconfig"] == ["search_path=mailhearth, pg_temp"], f
        assert not f["public"], f


def test_each_login_may_call_its_own_family_only(two: Two) -> None:
    functions = two.installation.rows(
        "SELECT n.nspname AS family, n.nspname || '.' || p.proname AS name, p.oid "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname IN ('sched', 'carry', 'steward', 'warden', 'signin', 'admin')"
    )
    logins: dict[str, Database] = {
        role: two.installation.database(role) for role in LOGIN_ROLES
    } | {"worker": two.installation.worker_doors().door(two.workspaces[0])}
    for role, database in logins.items():
        with database.tx() as conn:
            for f in functions:
                row = conn.execute(
                    "SELECT has_function_privilege(%s::oid, 'EXECUTE') "
                    "AND has_schema_privilege(%s, 'USAGE') AS may",
                    (f["oid"], f["family"]),
                ).fetchone()
                callers = INSTEAD.get(f["name"], CALLERS[f["family"]])
                wanted = role in callers or (role, f["name"]) in ALSO_CALLED
                assert row == {"may": wanted}, (role, f["name"])
    for role, call in (
        ("web", "SELECT * FROM sched.to_size('2026-03-02', 1)"),
        ("scheduler", "SELECT warden.workspaces()"),
        ("operator", "SELECT steward.end_sending('2026-03-02')"),
        ("worker", "SELECT sched.settle('2026-03-02', NULL)"),
        ("admin", "SELECT carry.withdrawn(NULL)"),
        ("web", "SELECT signin.grant_admin(NULL, '', '2026-03-02')"),
        ("cli", "SELECT * FROM signin.find_session(NULL, '2026-03-02', '1 hour')"),
    ):
        with pytest.raises(DENIED), logins[role].tx() as conn:
            conn.execute(call.encode())


@pytest.mark.parametrize("role", ["web", "cli"])
def test_who_signs_in_is_read_by_no_login(two: Two, role: str) -> None:
    for table in PEOPLE_TABLES:
        for statement in (
            f"SELECT 1 FROM mailhearth.{table}",
            f"INSERT INTO mailhearth.{table} DEFAULT VALUES",
            f"DELETE FROM mailhearth.{table}",
        ):
            with pytest.raises(DENIED), two.installation.database(role).tx() as conn:
                conn.execute(statement.encode())


@pytest.mark.parametrize("role", ["scheduler", "operator", "admin"])
def test_some_logins_touch_no_table(two: Two, role: str) -> None:
    readable = TINY if role != "admin" else set()
    for table in [*tenant_tables(two.installation), *sorted(PLATFORM_TABLES)]:
        for statement in (
            f"SELECT 1 FROM mailhearth.{table}",
            f"INSERT INTO mailhearth.{table} DEFAULT VALUES",
            f"DELETE FROM mailhearth.{table}",
            f"TRUNCATE mailhearth.{table}",
        ):
            if statement.startswith("SELECT") and table in readable:
                continue
            with pytest.raises(DENIED), two.installation.database(role).tx() as conn:
                conn.execute(statement.encode())


def test_the_administration_sees_its_views_across_workspaces(two: Two) -> None:
    with two.installation.database("admin").tx() as conn:
        for view in ("workspaces", "mailboxes", "messages", "actions", "rollups", "day_sizes"):
            rows = conn.execute(f"SELECT workspace_id FROM admin.{view}".encode()).fetchall()
            assert {row["workspace_id"] for row in rows} == set(two.workspaces), view


@pytest.mark.parametrize("role", ["web", "cli"])
def test_public_keys_are_read_and_never_written_by_the_customers_doors(two: Two, role: str) -> None:
    mine = two.workspaces[0]
    for statement in (
        "UPDATE key_versions SET public_key = sha256('mine')",
        "INSERT INTO key_versions (workspace_id) VALUES (NULL)",
        "DELETE FROM key_versions",
    ):
        with pytest.raises(DENIED), two.doors[role](mine) as conn:
            conn.execute(statement.encode())
    with two.doors[role](mine) as conn:
        assert conn.execute("SELECT version FROM key_versions WHERE state = 'active'").fetchall()
