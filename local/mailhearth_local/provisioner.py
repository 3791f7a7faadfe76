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

from mailhearth_core.errors import InvalidValue, KeysMissing, MailhearthError, NotYet
from mailhearth_core.keystore import KeyExposed, KeyStore
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.storage.roles import new_password, scram_verifier
from mailhearth_core.warmup.policy import Policy, apply

log = structlog.get_logger()

LOCAL_GROUP = "local"
"""One worker group for all local pools, so that one worker process serves them."""
DELETE_BATCH = 1_000
PURGE_SECONDS = 600.0
"""How long the workers may take a deleted workspace's mail out of its mailboxes."""
MAX_VERSION = 2**31 - 1


class LocalProvisioner:
    """Serves wishes on one machine.

    Args:
        database: the operator's login.
        keys: where private keys are kept.
        logins: folder of the workers' database passwords, one file for each workspace.
    """

    def __init__(self, database: Database, keys: KeyStore, logins: Path, *, sandbox: bool) -> None:
        self._database = database
        self._keys = keys
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
            with self._database.tx() as conn:
                commands = list(self._sql.open_commands(conn))
            return sum(self._fulfil(command) for command in commands)

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
        with self._database.tx() as conn:
            known = list(self._sql.key_versions(conn, workspace_id=workspace_id))
        if not known:
            self._new_key(workspace_id, known)
            return
        for row in known:
            if row["state"] == "destroyed":
                continue
            if self._keys.fingerprint(workspace_id, row["version"]) != row["fingerprint"]:
                raise KeysMissing(
                    f"Key version {row['version']} of workspace {workspace_id} differs from the "
                    "one the database knows.",
                    hint="Restore the keys folder that belongs to this database.",
                )
            if row["state"] == "pending":
                self._activate(workspace_id, row["version"])
        with self._database.tx() as conn:
            for row in self._sql.archive_keys(conn, workspace_id=workspace_id, at=_machine()):
                log.info("key_archived", workspace_id=str(workspace_id), version=row["version"])

    def _new_key(self, workspace_id: UUID, known: list[dict[str, Any]]) -> int:
        """Stores the private half first; only then does its public row become visible."""
        taken = [row["version"] for row in known] + list(self._keys.versions(workspace_id))
        version = max(taken, default=0) + 1
        public_key = self._keys.create(workspace_id, version)
        with self._database.tx() as conn:
            list(
                self._sql.add_key_version(
                    conn,
                    workspace_id=workspace_id,
                    version=version,
                    public_key=public_key,
                    fingerprint=self._keys.fingerprint(workspace_id, version),
                    at=_machine(),
                )
            )
        self._activate(workspace_id, version)
        return version

    def _activate(self, workspace_id: UUID, version: int) -> None:
        with self._database.tx() as conn:
            list(
                self._sql.activate_key(
                    conn, workspace_id=workspace_id, version=version, at=_machine()
                )
            )
        log.info("key_active", workspace_id=str(workspace_id), version=version)

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

    def _fulfil(self, command: dict[str, Any]) -> int:
        try:
            outcome = self._carry_out(command)
            state = "done"
        except MailhearthError as error:
            if not error.permanent:
                log.warning("wish_waits", kind=command["kind"], reason=error.message)
                return 0
            outcome, state = str(error), "refused"
        except (psycopg.DataError, LookupError, TypeError, ValueError) as error:
            # Whoever holds the web's login can write any payload; it must not stop the others.
            outcome, state = f"The wish is malformed: {error!r}.", "refused"
        with self._database.tx() as conn:
            list(
                self._sql.finish_command(
                    conn,
                    workspace_id=command["workspace_id"],
                    id=command["id"],
                    state=state,
                    outcome=outcome,
                    at=_machine(),
                )
            )
        log.info("wish_ended", kind=command["kind"], state=state, outcome=outcome)
        return 1

    def _carry_out(self, command: dict[str, Any]) -> str:
        workspace_id: UUID = command["workspace_id"]
        payload = _mapping(command["payload"])
        match command["kind"]:
            case "workspace.provision":
                return "the workspace has its keys and its workers' login"
            case "pool.create":
                return self._create_pool(workspace_id, payload)
            case "pool.set":
                return self._set_pool(workspace_id, command)
            case "keys.rotate":
                with self._database.tx() as conn:
                    known = list(self._sql.key_versions(conn, workspace_id=workspace_id))
                version = self._new_key(workspace_id, known)
                return f"version {version} is active; credentials are sealed anew in the background"
            case "keys.destroy":
                return self._destroy_key(workspace_id, int(payload["version"]))
            case "action.retry":
                return self._retry(workspace_id, command)
            case "workspace.delete":
                return self._delete(workspace_id)
        raise MailhearthError(f"The wish {command['kind']!r} is unknown to this version.")

    def _create_pool(self, workspace_id: UUID, payload: dict[str, Any]) -> str:
        policy = Policy.parse(_mapping(payload["policy"]), sandbox=self._sandbox)
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

    def _set_pool(self, workspace_id: UUID, command: dict[str, Any]) -> str:
        payload = _mapping(command["payload"])
        changes = {key: str(value) for key, value in _mapping(payload["policy"]).items()}
        with self._database.tx() as conn:
            pool = self._sql.pool(conn, workspace_id=workspace_id, pool_id=command["subject_id"])
            if pool is None:
                raise MailhearthError("The pool is gone.", hint="List pools and choose another.")
            if pool["managed_by"] != "local":
                raise MailhearthError(
                    f"The pool is managed by {pool['managed_by']}; it is read-only here.",
                    hint="Change it where it is declared.",
                )
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
            raise MailhearthError(
                f"The pool has changed since (generation {pool['generation']}, this wish saw "
                f"{command['seen_generation']}).",
                hint="Look at it again and repeat the change.",
                code="stale_generation",
            )
        return f"generation {generation}"

    def _retry(self, workspace_id: UUID, command: dict[str, Any]) -> str:
        """Looks once more whether it may be: much may have happened since it was wished for."""
        with self._database.tx() as conn:
            refusal = self._sql.retry_action(
                conn,
                workspace_id=workspace_id,
                action_id=command["subject_id"],
                machine=_machine(),
            )
        if refusal is not None:
            raise MailhearthError(f"It is not tried again: {refusal}.")
        return "it is planned again"

    def _destroy_key(self, workspace_id: UUID, version: int) -> str:
        if not 1 <= version <= MAX_VERSION:
            raise InvalidValue("key version", version, f"a whole number from 1 to {MAX_VERSION}")
        with self._database.tx() as conn:
            allowed = self._sql.mark_key_destroyed(
                conn, workspace_id=workspace_id, version=version, at=_machine()
            )
        if not allowed:
            raise MailhearthError(
                f"Key version {version} is not archived; only archived versions can be destroyed.",
                hint="Rotate the keys and wait until every credential is sealed anew.",
            )
        self._keys.destroy(workspace_id, version)
        return f"version {version} is destroyed: what it sealed, in backups too, is lost for good"

    def _delete(self, workspace_id: UUID) -> str:
        """Mail first, while it can be reached; then the login, so that no worker writes any more;
        keys and the wish itself last."""
        with self._database.tx() as conn:
            purging = self._sql.purging(
                conn, workspace_id=workspace_id, now=_machine(), seconds=PURGE_SECONDS
            )
        if purging is None:
            raise MailhearthError("The workspace is not being deleted.", hint="Delete it properly.")
        if purging:
            raise NotYet(f"The mail of {purging} mailboxes is being taken out of them.")
        with self._database.tx() as conn:
            list(self._sql.drop_worker_login(conn, workspace_id=workspace_id))
        (self._logins / str(workspace_id)).unlink(missing_ok=True)
        try:
            self._delete_rows(workspace_id)
            for version in list(self._keys.versions(workspace_id)):
                self._keys.destroy(workspace_id, version)
            with self._database.tx() as conn:
                list(self._sql.end_workspace(conn, workspace_id=workspace_id, at=_machine()))
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotYet(
                f"Workspace {workspace_id} is still written to: {error.diag.message_primary}."
            ) from None
        return "deleted"

    def _delete_rows(self, workspace_id: UUID) -> None:
        removed = 1
        while removed:
            with self._database.tx() as conn:
                removed = self._sql.delete_workspace_batch(
                    conn, workspace_id=workspace_id, batch=DELETE_BATCH
                )


def _mapping(value: object) -> dict[str, Any]:
    """Raises TypeError when it is anything else: a payload is whatever somebody wrote."""
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {value!r}")
    return value


def _machine() -> datetime:
    return datetime.now(UTC)
