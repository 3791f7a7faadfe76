"""The doors to the database: one small pool for each login, one transaction at a time.

`Database` is a process's own login. `TenantDoor` is the web's and the command line's: it names the
workspace for the transaction (`set_config(..., true)`), which guards against a missing WHERE, not
against arbitrary SQL. `WorkerDoors` opens one login for each workspace, so that what a process
broken by hostile mail reaches is one tenant.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from mailhearth_core.errors import KeysMissing, ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.roles import Roles, login_url, without_login

Connection = psycopg.Connection[DictRow]
CONNECT_SECONDS = 5
VANISHED = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's words (seconds, milliseconds): a server whose machine or network is gone without a word
is noticed after 25 s. The kernel's own patience is a quarter of an hour with data under way, and
two hours without. Source: https://www.postgresql.org/docs/current/libpq-connect.html"""
TRUSTED_S = 5.0
"""A connection that a thread kept until these seconds ago is taken without asking the server."""
UNDONE = "transaction_undone"
"""The code of the error that says: nothing is wrong, the same transaction may be tried at once."""


class _PooledConnection(psycopg.Connection[DictRow]):
    """Knows when it was last seen to work, by this machine's monotonic clock."""

    seen_at = float("-inf")

    def look_over(self) -> None:
        """Raises `OperationalError` when it is of no more use.

        A server that ends a connection says so on it, which is seen without a round trip; one that
        vanished without a word is only found by asking.
        """
        if time.monotonic() - self.seen_at > TRUSTED_S or self._was_spoken_to():
            ConnectionPool.check_connection(self)

    def _was_spoken_to(self) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))


class Database:
    """One login's connections. Importing and constructing connect nothing.

    Args:
        url: with user and password.
        max_size: connections at most; none is kept before the first use.
        opening: called with the connection at the beginning of each transaction of `tx`.
    """

    def __init__(
        self,
        url: Secret,
        *,
        max_size: int = 2,
        name: str = "mailhearth",
        opening: Callable[[Connection], None] | None = None,
    ) -> None:
        self._opening = opening
        self._url = url
        self._name = name
        self._max_size = max_size
        self._pool: ConnectionPool[_PooledConnection] | None = None
        self._making = Lock()

    def __repr__(self) -> str:
        return f"Database({without_login(self._url.reveal())})"

    @property
    def pool(self) -> ConnectionPool[_PooledConnection]:
        with self._making:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._url.reveal(),
                    connection_class=_PooledConnection,
                    kwargs={
                        "row_factory": dict_row,
                        "connect_timeout": CONNECT_SECONDS,
                        "application_name": self._name,
                        **VANISHED,
                    },
                    min_size=0,
                    max_size=self._max_size,
                    timeout=CONNECT_SECONDS,
                    reconnect_timeout=CONNECT_SECONDS,
                    max_idle=60,
                    num_workers=1,
                    check=_PooledConnection.look_over,
                    open=True,
                )
            return self._pool

    @contextmanager
    def tx(self) -> Iterator[Connection]:
        """One transaction; commits at the end, rolls back on any exception.

        Raises:
            ServiceUnavailable: the database cannot be reached or broke off, or (`UNDONE`) it undid
                this transaction to let another go on.
        """
        with self.reached(), self.pool.connection() as conn:
            if self._opening is not None:
                self._opening(conn)
            yield conn

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Turns what says that the database is away into `ServiceUnavailable`."""
        try:
            yield
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
            raise ServiceUnavailable(
                "Two changes waited for each other; this one was undone.",
                hint="Try it again.",
                code=UNDONE,
            ) from error
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise ServiceUnavailable(
                f"The database at {without_login(self._url.reveal())} does not answer.",
                hint="Start it or look at its log; work goes on by itself when it is back.",
                code="database_unavailable",
            ) from error

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close(timeout=2)
            self._pool = None


class Kept:
    """One connection of a login, kept by one thread over many transactions; replaced when it broke.

    It is not looked over before each use, which would cost a round trip.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool: ConnectionPool[_PooledConnection] | None = None
        self._conn: _PooledConnection | None = None

    @contextmanager
    def tx(self) -> Iterator[Connection]:
        """As `Database.tx`."""
        with self.statement() as conn, conn.transaction():
            yield conn

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """For one statement, which is a transaction by itself: one round trip, durable after it.

        Raises:
            ServiceUnavailable: the database cannot be reached or broke off.
        """
        with self._database.reached():
            try:
                yield self._connection()
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self.close()
                raise

    def close(self) -> None:
        """Gives the connection back; the next use takes one again."""
        conn, pool, self._conn = self._conn, self._pool, None
        if conn is None or pool is None:
            return
        if conn.info.transaction_status is TransactionStatus.IDLE:
            conn.autocommit = False
            conn.seen_at = time.monotonic()
        else:
            conn.close()
        pool.putconn(conn)

    def _connection(self) -> Connection:
        if self._conn is None:
            self._pool = self._database.pool
            self._conn = self._pool.getconn()
            self._conn.autocommit = True
        return self._conn


class TenantDoor:
    """The one way of web and command line to a workspace's rows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def tenant_tx(self, workspace_id: UUID) -> Iterator[Connection]:
        with self.database.tx() as conn:
            conn.execute(
                "SELECT set_config('mailhearth.workspace', %s, true)", (str(workspace_id),)
            )
            yield conn

    @contextmanager
    def snapshot_tx(self, workspace_id: UUID) -> Iterator[Connection]:
        """As `tenant_tx`, but all that is read is of one moment, and nothing is written."""
        with self.database.tx() as conn:
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            conn.execute(
                "SELECT set_config('mailhearth.workspace', %s, true)", (str(workspace_id),)
            )
            yield conn


class WorkerDoors:
    """The logins of a worker: `<folder>/<workspace>` holds each workspace's database password."""

    def __init__(self, database_url: str, folder: Path, roles: Roles, *, name: str) -> None:
        self._base = database_url
        self._folder = folder
        self._roles = roles
        self._name = name
        self._doors: dict[UUID, tuple[str, Database]] = {}

    def workspaces(self) -> list[UUID]:
        """The workspaces this worker has a login for; none while there is no folder yet."""
        try:
            names = [item.name for item in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(UUID(name) for name in names if _is_uuid(name))

    def door(self, workspace_id: UUID) -> Database:
        """The workspace's own connections; a changed password opens them anew.

        Raises:
            KeysMissing: there is no login file for the workspace.
        """
        try:
            password = (self._folder / str(workspace_id)).read_text().strip()
        except FileNotFoundError:
            raise KeysMissing(
                f"No database login for workspace {workspace_id} is mounted.",
                hint="The provisioner makes it; look whether the workspace is still provisioning.",
                code="login_missing",
            ) from None
        held = self._doors.get(workspace_id)
        if held and held[0] == password:
            return held[1]
        if held:
            held[1].close()
        login = self._roles.worker_login(workspace_id)
        database = Database(login_url(self._base, login, Secret(password)), name=self._name)
        self._doors[workspace_id] = (password, database)
        return database

    def close(self) -> None:
        for _, database in self._doors.values():
            database.close()
        self._doors.clear()


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def one(row: DictRow | None) -> dict[str, Any]:
    """The row that a query must have returned."""
    assert row is not None
    return row
