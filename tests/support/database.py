"""One real Postgres for a test session, and a migrated database of its own for each test.

The server, its roles and one migrated template are made once; a test's database is a copy of the
template. Roles are global in a cluster, so all databases share them; a worker's login names its
workspace, whose id no other test has.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from mailhearth_core.secrets import Secret
from mailhearth_core.storage import installation as storage_installation
from mailhearth_core.storage.doors import Connection, Database, TenantDoor, WorkerDoors
from mailhearth_core.storage.migrate import migrate
from mailhearth_core.storage.roles import (
    LOGIN_ROLES,
    Roles,
    ensure_roles,
    login_url,
    new_password,
)
from mailhearth_core.verbs import mailboxes, pools, wishes, workspaces
from mailhearth_core.verbs.mailbox_spec import parse_spec
from mailhearth_core.verbs.wishes import Actor
from mailhearth_local.embedded.postgres import EmbeddedPostgres
from mailhearth_local.keystore import FileKeyStore
from mailhearth_local.provisioner import LocalProvisioner

OWNER = "mh_owner"
TEMPLATE = "mailhearth_template"
ACTOR = Actor("tester", "cli")
PASSWORD = "correct horse"


def in_database(url: str, name: str) -> str:
    """The same URL, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


class Cluster:
    """A Postgres with the installation's roles and a migrated template database."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedPostgres(folder / "postgres")
        self.roles = Roles()
        self.passwords: dict[str, Secret] = {role: new_password() for role in LOGIN_ROLES}

    def start(self) -> None:
        self.server.ensure_started()
        with psycopg.connect(self.superuser_url, autocommit=True) as conn:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                conn.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            conn.execute("SELECT pg_reload_conf()")
        owner_url = self.server.provision(OWNER, TEMPLATE).reveal()
        ensure_roles(owner_url, self.roles, self.passwords)
        migrate(owner_url, self.roles)

    def stop(self) -> None:
        self.server.stop()

    @property
    def superuser_url(self) -> str:
        return self.server.superuser_url.reveal()

    def create_database(self, *, template: str = TEMPLATE) -> str:
        """A new database of the owner; returns the owner's URL. `template0` gives an empty one."""
        name = f"t_{secrets.token_hex(6)}"
        with psycopg.connect(self.superuser_url, autocommit=True) as conn:
            conn.execute(
                # Copied as files, not through the log: a third of the time without fsync.
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
                )
            )
        return self.server.provision(OWNER, name).reveal()

    def drop_database(self, url: str) -> None:
        name = urlsplit(url).path.removeprefix("/")
        with psycopg.connect(self.superuser_url, autocommit=True) as conn:
            conn.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@dataclass
class TestInstallation:
    """A migrated database, its doors, and the provisioner that `mailhearth up` would run."""

    __test__ = False

    owner_url: str
    superuser_url: str
    roles: Roles
    passwords: dict[str, Secret]
    folder: Path
    sandbox: bool = False
    _databases: dict[str, Database] = field(default_factory=dict, repr=False)
    _superuser: Connection | None = field(default=None, repr=False)
    _worker_doors: list[WorkerDoors] = field(default_factory=list, repr=False)

    # -- doors ------------------------------------------------------------------------------

    def url(self, role: str) -> Secret:
        """The URL of one of `LOGIN_ROLES`."""
        return login_url(self.owner_url, self.roles.name(role), self.passwords[role])

    def database(self, role: str) -> Database:
        """A login's connections; closed at the end of the test."""
        if role not in self._databases:
            self._databases[role] = Database(self.url(role), max_size=4)
        return self._databases[role]

    @property
    def door(self) -> TenantDoor:
        """The command line's door."""
        return TenantDoor(self.database("cli"))

    @property
    def web_door(self) -> TenantDoor:
        return TenantDoor(self.database("web"))

    def worker_doors(self) -> WorkerDoors:
        """What a worker of all workspaces opens; closed at the end of the test."""
        doors = WorkerDoors(self.owner_url, self.logins, self.roles, name="test-worker")
        self._worker_doors.append(doors)
        return doors

    @contextmanager
    def superuser(self) -> Iterator[Connection]:
        """Sees and writes all, past every policy: to plant rows and to count them."""
        with psycopg.connect(self.superuser_url, row_factory=dict_row) as conn:
            conn.execute("SET search_path = mailhearth")
            yield conn

    def rows(self, query: str, *parameters: Any) -> list[DictRow]:
        """Runs a statement past every policy, commits, and returns its rows."""
        if self._superuser is None or self._superuser.closed:
            self._superuser = psycopg.connect(
                self.superuser_url, row_factory=dict_row, autocommit=True
            )
            self._superuser.execute("SET search_path = mailhearth")
        cursor = self._superuser.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *parameters: Any) -> DictRow:
        """The one row of a query, past every policy."""
        (row,) = self.rows(query, *parameters)
        return row

    # -- what `up` does ---------------------------------------------------------------------

    @property
    def keys(self) -> FileKeyStore:
        return FileKeyStore(self.folder / "keys")

    @property
    def logins(self) -> Path:
        folder = self.folder / "logins"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @property
    def provisioner(self) -> LocalProvisioner:
        return LocalProvisioner(
            self.database("operator"), self.keys, self.logins, sandbox=self.sandbox
        )

    def enter_sandbox(self, day_seconds: float = 60.0) -> None:
        """Scales the clock for good; short retention and the like are allowed from here on."""
        storage_installation.enter_sandbox(self.owner_url, day_seconds)
        self.sandbox = True

    def await_wish(self, workspace_id: UUID, command: UUID) -> str:
        return wishes.await_wish(
            self.door, workspace_id, command, reconcile=self.provisioner.reconcile
        )

    # -- rows -------------------------------------------------------------------------------

    def workspace(self, name: str = "north") -> UUID:
        """An active workspace, with keys and a worker's login."""
        workspace_id = workspaces.create(self.database("cli"), name, ACTOR)
        self.provisioner.reconcile()
        found = workspaces.find(self.database("cli"), name)
        assert found["state"] == "active", found
        return workspace_id

    def pool(self, workspace_id: UUID, name: str = "main", **policy: Any) -> UUID:
        """A pool; `policy` holds changes as `pool set` takes them, `peering_scope` among them."""
        changes = {key: str(value) for key, value in policy.items()}
        command = pools.create(self.door, workspace_id, name, changes, ACTOR, sandbox=self.sandbox)
        self.await_wish(workspace_id, command)
        pool_id: UUID = pools.find(self.door, workspace_id, name)["id"]
        return pool_id

    def mailbox(
        self,
        workspace_id: UUID,
        pool_id: UUID,
        address: str,
        *,
        connected: bool = True,
        password: str = PASSWORD,
        **values: str,
    ) -> UUID:
        """A mailbox with consent for its workspace on loopback servers that need not exist.

        Args:
            connected: write down a first sign-in, so that it is sized, and end its first poll.
            values: of `parse_spec`: imap, smtp, tls, ca, username, name, timezone, consent.
        """
        spec = parse_spec(
            {
                "address": address,
                "imap": "127.0.0.1:1143",
                "smtp": "127.0.0.1:1587",
                "tls": "none",
                "consent": "workspace",
            }
            | values,
            Secret(password),
        )
        mailbox_id = mailboxes.add(self.door, workspace_id, pool_id, spec, ACTOR)
        if connected:
            self.rows("UPDATE mailboxes SET connected_at = created_at WHERE id = %s", mailbox_id)
            self.rows(
                "UPDATE action SET state = 'done', finished_at = due_at WHERE mailbox_id = %s",
                mailbox_id,
            )
        return mailbox_id

    def close(self) -> None:
        for doors in self._worker_doors:
            doors.close()
        for database in self._databases.values():
            database.close()
        if self._superuser is not None:
            self._superuser.close()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """The body of the session fixture `cluster`."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def fresh_installation(cluster: Cluster, folder: Path) -> Iterator[TestInstallation]:
    """The body of the fixture `installation`."""
    owner_url = cluster.create_database()
    name = urlsplit(owner_url).path.removeprefix("/")
    made = TestInstallation(
        owner_url=owner_url,
        superuser_url=in_database(cluster.superuser_url, name),
        roles=cluster.roles,
        passwords=cluster.passwords,
        folder=folder,
    )
    try:
        yield made
    finally:
        made.close()
        cluster.drop_database(owner_url)


def machine_now() -> datetime:
    return datetime.now(UTC)
