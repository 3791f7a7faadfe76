"""The steps that seal the audit chain and sign its heads. Machine time throughout."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.types.json import Jsonb

from mailhearth_core.audit.chain import Head, seal, start
from mailhearth_core.audit.checkpoints import Checkpoint
from mailhearth_core.audit.digests import Event, Scope, Sealed
from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.keystore import KeyExposed
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.installation import read_installation
from mailhearth_core.storage.named import named

log = structlog.get_logger()
SQL = named("audit")

BATCH = 500
FOLDER = "audit"
KEY_FILE = "checkpoint.key"
CHECKPOINTS_FILE = "checkpoints.jsonl"
_KEY_BYTES = 32


def seal_events(conn: Connection) -> int:
    """Gives the events that wait their places; returns how many. One sealer at a time."""
    waiting: dict[Scope, list[Event]] = defaultdict(list)
    for row in SQL.unsealed_events(conn, batch=BATCH):
        scope = row.pop("workspace_id")
        waiting[scope].append(Event(**row))
    now = datetime.now(UTC)
    seals: list[dict[str, Any]] = []
    for scope, events in waiting.items():
        found = SQL.chain_head(conn, workspace_id=scope)
        head = Head(**found) if found else start(scope)
        seals += [_as_json(scope, sealed) for sealed in seal(head, events, now)]
    if seals and SQL.seal_events(conn, seals=Jsonb(seals)) != len(seals):
        # Erased or deleted since they were read: nothing of this turn stays, the next reads anew.
        raise ServiceUnavailable("Audit events changed while they were sealed.", code="audit_moved")
    return len(seals)


def _as_json(scope: Scope, sealed: Sealed) -> dict[str, Any]:
    return {
        "workspace_id": str(scope) if scope else None,
        "id": str(sealed.event.id),
        "actor": sealed.event.actor,
        "subject": sealed.event.subject,
        "detail": sealed.event.detail,
        "seq": sealed.seq,
        "sealed_at": sealed.sealed_at.isoformat(),
        "link": sealed.link.hex(),
        "salts": [salt.hex() if salt else None for salt in sealed.salts],
        "digests": [digest.hex() for digest in sealed.digests],
    }


class Signer:
    """Signs heads; its key and its file of checkpoints lie in the data folder.

    Args:
        folder: of this process; `audit/` in it is made when needed.
        output: where each checkpoint is written as well (default: stdout), so that what collects
            the logs keeps a copy that this machine cannot change.
    """

    def __init__(self, folder: Path, output: TextIO | None = None) -> None:
        self._folder = folder / FOLDER
        self._output = output
        self._key: Ed25519PrivateKey | None = None

    def sign_heads(self, conn: Connection) -> int:
        """Signs each head that has moved; returns how many. The file is written first."""
        heads = list(SQL.heads_to_sign(conn))
        if not heads:
            return 0
        try:
            points = self._signed(conn, heads)
            self._write(points)
        except (OSError, KeyExposed) as error:
            # Warmup goes on; retention prunes nothing without a checkpoint.
            log.error("checkpoint_failed", reason=str(error))
            return 0
        SQL.add_checkpoints(conn, points=Jsonb([_point_as_json(point) for point in points]))
        return len(points)

    def _signed(self, conn: Connection, heads: list[dict[str, Any]]) -> list[Checkpoint]:
        installation = read_installation(conn).id
        key = self._load()
        now = datetime.now(UTC)
        return [
            Checkpoint(installation, head["workspace_id"], head["seq"], head["link"], now).signed(
                key
            )
            for head in heads
        ]

    def _write(self, points: list[Checkpoint]) -> None:
        text = "".join(f"{point.to_line()}\n" for point in points)
        path = self._folder / CHECKPOINTS_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        output = sys.stdout if self._output is None else self._output
        output.write(text)
        output.flush()

    def _load(self) -> Ed25519PrivateKey:
        """The signing key, made once. Raises KeyExposed when others can read it."""
        if self._key is None:
            path = self._folder / KEY_FILE
            if not path.exists():
                _make_key(path)
            status = path.stat()
            if status.st_mode & 0o077:
                raise KeyExposed(
                    f"The audit key {path} can be read by others.", hint=f"Run `chmod 600 {path}`."
                )
            raw = path.read_bytes()
            if len(raw) != _KEY_BYTES:
                raise OSError(f"{path} is not a key of {_KEY_BYTES} bytes; restore it")
            self._key = Ed25519PrivateKey.from_private_bytes(raw)
        return self._key


def _make_key(path: Path) -> None:
    """Makes a new key, durable; of two processes that make one at the same time one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _point_as_json(point: Checkpoint) -> dict[str, Any]:
    return {
        "workspace_id": str(point.scope) if point.scope else None,
        "seq": point.seq,
        "at": point.at.isoformat(),
        "link": point.link.hex(),
        "public_key": point.public_key.hex(),
        "signature": point.signature.hex(),
    }
