"""The local side of the `Provisioner` port: wishes from the outbox become keys, logins and pools.

It runs in the supervisor with the operator's database login, or in a command that runs alone;
calls take turns by a lock file beside the logins. It is level-based: each call looks at all
workspaces and mends what is missing, so a crash between two steps costs nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.errors import KeysMissing, MailhearthError
from mailhearth_core.keystore import KeyExposed, KeyStore
from mailhearth_core.provisioning.keyring import KeyRing
from mailhearth_core.provisioning.outbox import Command, mapping, serve
from mailhearth_core.provisioning.shared import delete_workspace, read_only, retry_action, stale
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.storage.roles import new_password, scram_verifier
from mailhearth_core.warmup.policy import Policy, apply

log = structlog.get_logger()

LOCAL_GROUP = "local"
"""One worker group for all local pools, so that one worker process serves them."""


class LocalProvisioner:
    """Serves wishes on one machine.

    Args:
        database: the operator's login.
        keys: where private keys are kept.
        logins: folder of the workers' database passwords, one file for each workspace.
    """

    def __init__(self, database: Database, keys: KeyStore, logins: Path, *, sandbox: bool) -> None:
        self._database = database
        self._ring = KeyRing(
            database, keys, hint="Restore the keys folder that belongs to this database."
        )
        self._logins = logins
        self._sandbox = sandbox
        self._sql = named("operator")

    def reconcile(self) -> int:
        """See `mailhearth_core.ports.Provisioner`."""
        with self._turn():
            with self._database.tx() as conn:
                workspaces = list(self._sql.workspaces(conn))
            for workspace in workspaces:
                if workspace["state"] != "deleting" and workspace["managed_by"] == "local":
                    self._ensure(workspace)
            return serve(self._database, self._carry_out)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One caller at a time on this machine: a key and a password are made once."""
        self._logins.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._logins / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _ensure(self, workspace: dict[str, Any]) -> None:
        workspace_id: UUID = workspace["workspace_id"]
        try:
            self._ensure_keys(workspace_id)
        except (KeysMissing, KeyExposed) as error:
            log.error("keys_missing", workspace_id=str(workspace_id), reason=error.message)
            if workspace["state"] in ("provisioning", "active"):
                self._set_state(workspace, workspace["state"], str(error))
            return
        if not (workspace["has_login"] and (self._logins / str(workspace_id)).exists()):
            self._make_login(workspace_id)
        if workspace["state"] in ("provisioning", "active"):
            self._set_state(workspace, "active", "")

    def _set_state(self, workspace: dict[str, Any], state: str, reason: str) -> None:
        if (workspace["state"], workspace["state_reason"]) == (state, reason):
            return
        with self._database.tx() as conn:
            list(
                self._sql.set_workspace_state(
                    conn, workspace_id=workspace["workspace_id"], state=state, reason=reason
                )
            )

    def _ensure_keys(self, workspace_id: UUID) -> None:
        known = self._ring.versions(workspace_id)
        if not known:
            self._new_key(workspace_id, known)
            return
        self._ring.check(workspace_id, known)
        for row in known:
            if row["state"] == "pending":
                self._ring.activate(workspace_id, row["version"])
        self._ring.archive(workspace_id)

    def _new_key(self, workspace_id: UUID, known: list[dict[str, Any]]) -> int:
        version = self._ring.add(workspace_id, known)
        self._ring.activate(workspace_id, version)
        return version

    def _abandon(self, workspace_id: UUID, version: int, actor: str) -> str:
        """The workspace then has all keys that it needs, unless others are missing too."""
        told = self._ring.abandon(workspace_id, version, actor)
        with self._database.tx() as conn:
            row = self._sql.binding(conn, workspace_id=workspace_id)
        if row is not None:
            self._ensure(row)
        return told

    def _make_login(self, workspace_id: UUID) -> None:
        """A new password for the workspace's workers, in the database and then in its file."""
        path = self._logins / str(workspace_id)
        password = new_password()
        with self._database.tx() as conn:
            verifier = scram_verifier(conn, password, str(workspace_id))
            self._sql.ensure_worker_login(conn, workspace_id=workspace_id, verifier=verifier)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password.reveal())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)

    def _carry_out(self, command: Command) -> str:
        workspace_id: UUID = command["workspace_id"]
        payload = mapping(command["payload"])
        match command["kind"]:
            case "workspace.provision":
                return "the workspace has its keys and its workers' login"
            case "pool.create":
                return self._create_pool(workspace_id, payload)
            case "pool.set":
                return self._set_pool(workspace_id, command)
            case "keys.rotate":
                version = self._new_key(workspace_id, self._ring.versions(workspace_id))
                return f"version {version} is active; credentials are sealed anew in the background"
            case "keys.destroy":
                return self._ring.destroy(workspace_id, int(payload["version"]))
            case "keys.abandon":
                return self._abandon(workspace_id, int(payload["version"]), command["actor"])
            case "action.retry":
                return retry_action(self._database, workspace_id, command["subject_id"])
            case "workspace.delete":
                return delete_workspace(
                    self._database,
                    self._ring,
                    workspace_id,
                    lambda: (self._logins / str(workspace_id)).unlink(missing_ok=True),
                )
        raise MailhearthError(f"The wish {command['kind']!r} is unknown to this version.")

    def _create_pool(self, workspace_id: UUID, payload: dict[str, Any]) -> str:
        policy = Policy.parse(mapping(payload["policy"]), sandbox=self._sandbox)
        try:
            with self._database.tx() as conn:
                self._sql.create_pool(
                    conn,
                    workspace_id=workspace_id,
                    name=payload["name"],
                    policy=Jsonb(policy.to_json()),
                    scope=payload["peering_scope"],
                    worker_group=LOCAL_GROUP,
                    managed_by="local",
                    external=None,
                    external_generation=None,
                    at=_machine(),
                )
        except psycopg.errors.UniqueViolation:
            raise MailhearthError(
                f"A pool named {payload['name']!r} exists already.", hint="Choose another name."
            ) from None
        except (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation) as error:
            raise MailhearthError(f"The pool is refused: {error.diag.message_primary}.") from None
        return f"pool {payload['name']} created"

    def _set_pool(self, workspace_id: UUID, command: Command) -> str:
        payload = mapping(command["payload"])
        changes = {key: str(value) for key, value in mapping(payload["policy"]).items()}
        with self._database.tx() as conn:
            pool = self._sql.pool(conn, workspace_id=workspace_id, pool_id=command["subject_id"])
            if pool is None:
                raise MailhearthError("The pool is gone.", hint="List pools and choose another.")
            if pool["managed_by"] != "local":
                raise read_only(pool["managed_by"])
            policy = apply(Policy.from_json(pool["policy"]), changes, sandbox=self._sandbox)
            generation = self._sql.set_pool(
                conn,
                workspace_id=workspace_id,
                pool_id=command["subject_id"],
                seen=command["seen_generation"],
                policy=Jsonb(policy.to_json()),
                scope=payload.get("peering_scope") or pool["peering_scope"],
            )
        if generation is None:
            raise stale(pool["generation"], command["seen_generation"])
        return f"generation {generation}"


def _machine() -> datetime:
    return datetime.now(UTC)
