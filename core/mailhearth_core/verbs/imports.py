"""Importing mailboxes: a file is read, sealed and kept for an hour; a person looks; it is done.

Reading seals every password with its mailbox's final id, so that none lies anywhere in clear. It
goes by batches, each a transaction of its own, so that a large file neither fills the memory nor
holds a connection; nobody knows the import before all of it is there. Carrying it out is one
transaction: all of it or nothing.
"""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from mailhearth_core.errors import Conflict, MailhearthError, NotFound
from mailhearth_core.ids import uuid7
from mailhearth_core.providers import provider_name_for
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, TenantDoor
from mailhearth_core.storage.installation import read_installation
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import import_file, mailboxes
from mailhearth_core.verbs.connecting import settings_of
from mailhearth_core.verbs.credentials import Sealer
from mailhearth_core.verbs.import_file import Decoded, Mistake, Row
from mailhearth_core.verbs.wishes import Actor, audit
from mailhearth_core.warmup.window import local_midnight

LIFE = timedelta(hours=1)
BATCH = 1_000
SQL = named("mailboxes")


@dataclass(frozen=True)
class Preview:
    """A file as it was read.

    Attributes:
        guessed: the encoding is a guess.
        rows: how many there are; `wrong` of them are refused.
    """

    id: UUID
    file_name: str
    encoding: str
    guessed: bool
    rows: int
    wrong: int
    created_at: datetime
    expires_at: datetime

    @property
    def good(self) -> int:
        return self.rows - self.wrong

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the file would be left out."""
        return not self.wrong


@dataclass(frozen=True)
class _Reading:
    """What a file is read with."""

    door: TenantDoor
    workspace_id: UUID
    sandbox: bool
    sealer: Sealer
    pools: Mapping[str, UUID]
    pool_id: UUID


def prepare(
    door: TenantDoor,
    workspace_id: UUID,
    data: bytes,
    *,
    file_name: str,
    pool_id: UUID,
    consent: str,
    allow_app_passwords: bool = False,
) -> UUID:
    """Reads a file and keeps it, sealed, for a look; returns the import.

    Args:
        pool_id: of rows that name none.
        consent: of rows that say nothing of it.
    Raises:
        import_file.UnreadableFile: it is no list of mailboxes.
        NotFound: the pool is not there.
        NotYet: the workspace has no key so far.
    """
    file = import_file.decode(data)
    with door.tenant_tx(workspace_id) as conn:
        mailboxes.check_workspace(conn)
        sandbox = read_installation(conn).sandbox
        sealer = Sealer.of(conn, workspace_id)
        pools = {row["name"]: row["id"] for row in SQL.pool_names(conn)}
    if pool_id not in pools.values():
        raise NotFound("There is no such pool in this workspace.")
    reading = _Reading(door, workspace_id, sandbox, sealer, pools, pool_id)
    rows = import_file.read(file, consent=consent, allow_app_passwords=allow_app_passwords)
    batch = list(islice(rows, BATCH))  # before anything is kept: it may be no list at all
    import_id = _begin(reading, file, file_name)
    try:
        while batch:
            _keep(reading, import_id, batch)
            batch = list(islice(rows, BATCH))
    except BaseException:
        drop(door, workspace_id, import_id)
        raise
    return import_id


def look(door: TenantDoor, workspace_id: UUID, import_id: UUID) -> Preview:
    """How a file was read.

    Raises:
        NotFound: it was carried out, dropped, or its hour is over.
    """
    with door.tenant_tx(workspace_id) as conn:
        row = SQL.import_(conn, id=import_id, now=datetime.now(UTC))
    if row is None:
        raise _gone()
    return Preview(**row)


def rows_of(
    door: TenantDoor,
    workspace_id: UUID,
    import_id: UUID,
    *,
    only_wrong: bool,
    limit: int,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Rows of a file: line, address, errors (column, text), settings, pool."""
    with door.tenant_tx(workspace_id) as conn:
        return list(
            SQL.import_rows(
                conn, import_id=import_id, only_wrong=only_wrong, limit=limit, offset=offset
            )
        )


def mistakes_csv(
    door: TenantDoor, workspace_id: UUID, import_id: UUID
) -> Generator[bytes, None, None]:
    """All mistakes of a file as a CSV, one a row, in chunks. No connection is held between them."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(("line", "address", "column", "mistake"))
    line = 0
    while True:
        with door.tenant_tx(workspace_id) as conn:
            rows = list(SQL.import_mistakes(conn, import_id=import_id, after=line, limit=BATCH))
        for row in rows:
            for error in row["errors"]:
                writer.writerow(
                    (row["line"], _harmless(row["address"]), error["column"], error["text"])
                )
        yield _taken_from(text)
        if len(rows) < BATCH:
            return
        line = rows[-1]["line"]


def asks_network(door: TenantDoor, workspace_id: UUID, import_id: UUID) -> bool:
    """Whether a row agrees to peering with the network, for who may not say so for others."""
    with door.tenant_tx(workspace_id) as conn:
        return bool(SQL.import_asks_network(conn, import_id=import_id))


def carry_out(
    door: TenantDoor, workspace_id: UUID, import_id: UUID, actor: Actor, *, only_good: bool
) -> int:
    """Adds the file's mailboxes, each with its first sign-in due; how many. The file is gone then.

    Args:
        only_good: leave out rows with mistakes, and addresses that have come in meanwhile.
    Raises:
        NotFound: it was carried out already, dropped, or its hour is over.
        Conflict: the file has mistakes and `only_good` is not said; or a key is gone. Nothing was
            written.
    """
    try:
        with door.tenant_tx(workspace_id) as conn:
            held = SQL.lock_import(conn, id=import_id, now=datetime.now(UTC))
            if held is None:
                raise _gone()
            mailboxes.check_workspace(conn)
            _check(conn, import_id, only_good=only_good)
            now = business_now(conn)
            zones = [row["timezone"] for row in SQL.import_timezones(conn, import_id=import_id)]
            midnights = {zone: local_midnight(now, zone).isoformat() for zone in zones}
            added: int = SQL.import_mailboxes(
                conn,
                import_id=import_id,
                now=now,
                machine=datetime.now(UTC),
                midnights=Jsonb(midnights),
                actor=actor.name,
                via=actor.via,
            )
            SQL.drop_import(conn, id=import_id)
            audit(conn, workspace_id, "mailboxes.imported", actor, str(import_id), added=added)
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            "One of the addresses has come in by another way at this very moment.",
            hint="Nothing was imported. Try again.",
        ) from None
    return added


def drop(door: TenantDoor, workspace_id: UUID, import_id: UUID) -> None:
    """Forgets a file and the passwords in it."""
    with door.tenant_tx(workspace_id) as conn:
        SQL.drop_import(conn, id=import_id)


def _placed(row: Row, pools: Mapping[str, UUID], *, sandbox: bool) -> Row:
    """With the mistakes that only the workspace knows."""
    mistakes = list(row.mistakes)
    if row.pool and row.pool not in pools:
        mistakes.append(Mistake("pool", "is no pool of this workspace"))
    if row.spec is not None:
        try:
            mailboxes.check_places(row.spec, sandbox=sandbox)
        except MailhearthError as error:
            refused = error.code == "sandbox_refused"
            text = "must be on this machine: the installation is a sandbox" if refused else (
                "none is for servers on this machine only"
            )  # fmt: skip
            mistakes.append(Mistake("imap" if refused else "tls", text))
    if len(mistakes) == len(row.mistakes):
        return row
    return replace(row, spec=None, mistakes=tuple(mistakes))


def _untaken(row: Row, taken: set[str]) -> Row:
    if row.spec is None or row.address not in taken:
        return row
    return replace(row, spec=None, mistakes=(Mistake("address", "is in this workspace already"),))


def _columns(row: Row, pool_id: UUID, sealer: Sealer) -> dict[str, Any]:
    """One row of the table, its password sealed."""
    errors = [{"column": mistake.column, "text": mistake.text} for mistake in row.mistakes]
    columns: dict[str, Any] = {
        "line": row.line,
        "address": row.address,
        "errors": json.dumps(errors),
        "mailbox_id": None,
        "settings": None,
        "key_version": None,
        "imap_sealed": None,
        "smtp_sealed": None,
    }
    if row.spec is None:
        return columns
    mailbox_id = uuid7()
    sealed = sealer.seal(mailbox_id, row.spec)
    settings = settings_of(row.spec, pool_id, is_new=True) | {
        "peer_provider": provider_name_for(row.spec.imap.host),
        "seed": secrets.randbits(62),
    }
    return columns | {
        "mailbox_id": mailbox_id,
        "settings": json.dumps(settings),
        "key_version": sealer.version,
        "imap_sealed": sealed["imap_password"],
        "smtp_sealed": sealed["smtp_password"],
    }


_ARRAYS = {
    "line": "lines",
    "address": "addresses",
    "errors": "errors",
    "mailbox_id": "mailbox_ids",
    "settings": "settings",
    "key_version": "key_versions",
    "imap_sealed": "imap_sealed",
    "smtp_sealed": "smtp_sealed",
}


def _begin(reading: _Reading, file: Decoded, file_name: str) -> UUID:
    import_id = uuid7()
    machine = datetime.now(UTC)
    with reading.door.tenant_tx(reading.workspace_id) as conn:
        SQL.drop_old_imports(conn, now=machine)
        SQL.add_import(
            conn,
            workspace_id=reading.workspace_id,
            id=import_id,
            file_name=_shown(file_name),
            encoding=file.encoding,
            guessed=file.guessed,
            created_at=machine,
            expires_at=machine + LIFE,
        )
    return import_id


def _keep(reading: _Reading, import_id: UUID, rows: Sequence[Row]) -> None:
    """Keeps a few rows, their passwords sealed."""
    placed = [_placed(row, reading.pools, sandbox=reading.sandbox) for row in rows]
    addresses = [row.address for row in placed if row.spec]
    with reading.door.tenant_tx(reading.workspace_id) as conn:
        taken = {row["address"] for row in SQL.taken_among(conn, addresses=addresses)}
    lines = [
        _columns(_untaken(row, taken), reading.pools.get(row.pool, reading.pool_id), reading.sealer)
        for row in placed
    ]
    arrays = {name: [line[column] for line in lines] for column, name in _ARRAYS.items()}
    with reading.door.tenant_tx(reading.workspace_id) as conn:
        SQL.add_import_rows(conn, workspace_id=reading.workspace_id, import_id=import_id, **arrays)


def _taken_from(text: StringIO) -> bytes:
    found = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return found


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def _shown(file_name: str) -> str:
    name = "".join(c for c in file_name if c.isprintable()).replace("\\", "/").rpartition("/")[2]
    return name[:100] or "file"


def _check(conn: Connection, import_id: UUID, *, only_good: bool) -> None:
    for row in SQL.import_key_versions(conn, import_id=import_id):
        if row["state"] not in ("active", "retiring", "archived"):
            raise Conflict(
                "The workspace's key has been replaced since the file was read.",
                hint="Upload it again.",
            )
    if only_good:
        return
    wrong = len(
        list(SQL.import_rows(conn, import_id=import_id, only_wrong=True, limit=1, offset=0))
    )
    taken = list(SQL.import_taken(conn, import_id=import_id))
    if wrong:
        raise Conflict(
            "The file has rows that cannot be imported.", hint="Leave them out, or mend it."
        )
    if taken:
        named_rows = ", ".join(f"{row['address']} (line {row['line']})" for row in taken[:5])
        raise Conflict(
            f"Added by another way since the file was read: {named_rows}.",
            hint="Import the others alone, or upload a file without them.",
        )


def _gone() -> NotFound:
    return NotFound(
        "This import is over: it was carried out or dropped, or its hour has passed.",
        hint="Upload the file again.",
    )
