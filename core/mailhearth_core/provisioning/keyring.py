"""A workspace's key versions: made, activated, archived, destroyed; never made anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from mailhearth_core.errors import Conflict, InvalidValue, KeysMissing, MailhearthError, NotFound
from mailhearth_core.keystore import KeyStore
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named

log = structlog.get_logger()
SQL = named("operator")
MAX_VERSION = 2**31 - 1
LOST = "its credential is lost: key version {version} was given up; connect it again"
"""Reason of a mailbox."""


class KeyRing:
    """The keys of all workspaces: private halves in `keys`, public rows in the database.

    Callers take turns for each workspace; see `LocalProvisioner` and the operator's lock.

    Args:
        database: the operator's login.
        hint: what to do about a key that is missing or another one.
    """

    def __init__(self, database: Database, keys: KeyStore, *, hint: str) -> None:
        self._database = database
        self._keys = keys
        self._hint = hint

    def versions(self, workspace_id: UUID) -> list[dict[str, Any]]:
        """The rows: version, state, public_key, fingerprint, sealed (credentials)."""
        with self._database.tx() as conn:
            return list(SQL.key_versions(conn, workspace_id=workspace_id))

    def check(self, workspace_id: UUID, known: list[dict[str, Any]]) -> None:
        """Raises KeysMissing when a private key is absent or is not the one the database knows."""
        for row in known:
            if row["state"] == "destroyed":
                continue
            if self._keys.fingerprint(workspace_id, row["version"]) != row["fingerprint"]:
                raise KeysMissing(
                    f"Key version {row['version']} of workspace {workspace_id} differs from the "
                    "one the database knows.",
                    hint=self._hint,
                )

    def add(self, workspace_id: UUID, known: list[dict[str, Any]]) -> int:
        """A new version, `pending`: its private half is stored before its row becomes visible."""
        taken = [row["version"] for row in known] + list(self._keys.versions(workspace_id))
        version = max(taken, default=0) + 1
        public_key = self._keys.create(workspace_id, version)
        with self._database.tx() as conn:
            list(
                SQL.add_key_version(
                    conn,
                    workspace_id=workspace_id,
                    version=version,
                    public_key=public_key,
                    fingerprint=self._keys.fingerprint(workspace_id, version),
                    at=_machine(),
                )
            )
        return version

    def activate(self, workspace_id: UUID, version: int) -> None:
        """From now on credentials are sealed to it; the version before is retiring."""
        with self._database.tx() as conn:
            list(SQL.activate_key(conn, workspace_id=workspace_id, version=version, at=_machine()))
        log.info("key_active", workspace_id=str(workspace_id), version=version)

    def archive(self, workspace_id: UUID) -> None:
        """Archives the retiring versions that seal nothing any more."""
        with self._database.tx() as conn:
            for row in SQL.archive_keys(conn, workspace_id=workspace_id, at=_machine()):
                log.info("key_archived", workspace_id=str(workspace_id), version=row["version"])

    def destroy(self, workspace_id: UUID, version: int) -> str:
        """Ends an archived version for good; returns what that means.

        Raises:
            MailhearthError: it is not archived.
        """
        if not 1 <= version <= MAX_VERSION:
            raise InvalidValue("key version", version, f"a whole number from 1 to {MAX_VERSION}")
        with self._database.tx() as conn:
            allowed = SQL.mark_key_destroyed(
                conn, workspace_id=workspace_id, version=version, at=_machine()
            )
        if not allowed:
            raise MailhearthError(
                f"Key version {version} is not archived; only archived versions can be destroyed.",
                hint="Rotate the keys and wait until every credential is sealed anew.",
            )
        self._keys.destroy(workspace_id, version)
        return f"version {version} is destroyed: what it sealed, in backups too, is lost for good"

    def abandon(self, workspace_id: UUID, version: int, actor: str) -> str:
        """Gives up a version whose private key is lost for good; returns what was lost with it.

        Credentials sealed to it are deleted, and their mailboxes need_reauth. If it was the active
        version another becomes active at once, as the first one does: nothing is sealed that
        workers without it would have to open. Doing it again is no error.

        Raises:
            NotFound: there is no such version.
            Conflict: its private key is there.
        """
        rows = {row["version"]: row for row in self.versions(workspace_id)}
        row = rows.pop(version, None)
        if row is None:
            raise NotFound(f"There is no key version {version}.")
        if row["state"] != "destroyed" and self._is_there(workspace_id, row):
            raise Conflict(
                f"The private key of version {version} is there: nothing of it is lost.",
                hint="`mailhearth keys rotate` replaces it, and loses nothing.",
            )
        follows = None
        if all(other["state"] != "active" for other in rows.values()):
            follows = self._next(workspace_id, [row, *rows.values()])
        with self._database.tx() as conn:
            lost = SQL.abandon_key(
                conn,
                workspace_id=workspace_id,
                version=version,
                reason=LOST.format(version=version),
                actor=actor,
                at=_machine(),
            )
        log.warning("key_abandoned", workspace_id=str(workspace_id), version=version, **lost)
        if follows is not None:
            self.activate(workspace_id, follows)
        return (
            f"version {version} is given up: {lost['credentials']} credentials of "
            f"{lost['mailboxes']} mailboxes are gone"
        )

    def _next(self, workspace_id: UUID, known: list[dict[str, Any]]) -> int:
        """A pending version whose private key is there, else a new one."""
        for row in known:
            if row["state"] == "pending" and self._is_there(workspace_id, row):
                version: int = row["version"]
                return version
        return self.add(workspace_id, known)

    def _is_there(self, workspace_id: UUID, row: dict[str, Any]) -> bool:
        try:
            self._keys.open(workspace_id, row["version"], row["fingerprint"])
        except KeysMissing:
            return False
        return True

    def forget(self, workspace_id: UUID) -> None:
        """Destroys every version of a workspace whose rows are gone."""
        for version in list(self._keys.versions(workspace_id)):
            self._keys.destroy(workspace_id, version)


def _machine() -> datetime:
    return datetime.now(UTC)
