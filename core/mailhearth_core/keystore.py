"""Where workspaces' private keys lie: the port, and the folder layout that every store shares.

A version is one file of 32 raw bytes at `<folder>/<workspace id>/<version>`; locally a 0600 file,
in a cluster a Secret mounted under the same path. The public half is derived, never stored beside.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol
from uuid import UUID

from mailhearth_core.errors import InvalidValue, KeysMissing, MailhearthError
from mailhearth_core.sealing import KEY_BYTES, PrivateKey


class KeyExposed(MailhearthError):
    """A private key's file can be read by others than this process's own account."""

    code = "key_exposed"


class KeyReader(Protocol):
    """What a worker may do with keys."""

    def open(
        self, workspace_id: UUID, version: int, expected_fingerprint: str | None = None
    ) -> PrivateKey:
        """The private key. Raises KeysMissing when it is absent, or when its fingerprint is not
        the expected one."""
        ...

    def fingerprint(self, workspace_id: UUID, version: int) -> str:
        """SHA-256 of the public key in hex; raises KeysMissing."""
        ...

    def versions(self, workspace_id: UUID) -> list[int]:
        """The versions that are there, in rising order; empty when there are none."""
        ...


class KeyStore(KeyReader, Protocol):
    """What a provisioner may do besides."""

    def create(self, workspace_id: UUID, version: int) -> bytes:
        """Make a key pair and return its 32 public bytes.

        The private key is durable before this returns, so that its public row may become visible.
        Raises Conflict when the version exists; an existing key is never replaced.
        """
        ...

    def destroy(self, workspace_id: UUID, version: int) -> None:
        """Delete the private key for good; a version that is gone already is no error."""
        ...


class KeyFolder:
    """Reads keys from the shared folder layout; for workers, and below the local store.

    Raises KeyExposed when a file may be read by everybody, or by a group where this account owns
    it. A file of another owner (a Secret mounted for the pod's group) may be group-readable:
    without that the process could not read it at all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, workspace_id: UUID, version: int) -> Path:
        if version < 1:
            raise InvalidValue("key version", version, "a whole number from 1")
        return self.folder / str(workspace_id) / str(version)

    def open(
        self, workspace_id: UUID, version: int, expected_fingerprint: str | None = None
    ) -> PrivateKey:
        path = self.path(workspace_id, version)
        try:
            with path.open("rb") as file:
                _refuse_exposed(path, os.fstat(file.fileno()))
                raw = file.read(KEY_BYTES + 1)
        except FileNotFoundError:
            raise KeysMissing(
                f"Key version {version} of workspace {workspace_id} is not in {self.folder}.",
                hint="Restore it from the backup of the keys; it is never made anew.",
            ) from None
        except OSError as error:
            raise KeysMissing(
                f"Key version {version} of workspace {workspace_id} cannot be read"
                f" ({error.strerror}).",
                hint=f"Let this process's account read {path}.",
            ) from error
        if len(raw) != KEY_BYTES:
            raise KeysMissing(
                f"{path} is not a key: it must hold {KEY_BYTES} raw bytes.",
                hint="Restore it from the backup of the keys.",
            )
        key = PrivateKey(raw)
        if expected_fingerprint is not None and key.fingerprint != expected_fingerprint:
            raise KeysMissing(
                f"Key version {version} of workspace {workspace_id} is another key than the"
                f" database knows ({key.fingerprint[:16]}, expected {expected_fingerprint[:16]}).",
                hint="Restore the key that belongs to this database.",
            )
        return key

    def fingerprint(self, workspace_id: UUID, version: int) -> str:
        return self.open(workspace_id, version).fingerprint

    def versions(self, workspace_id: UUID) -> list[int]:
        folder = self.folder / str(workspace_id)
        if not folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if _names_version(entry.name))


def _names_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == str(int(name)) and int(name) >= 1


def _refuse_exposed(path: Path, status: os.stat_result) -> None:
    allowed = stat.S_IRWXU
    if status.st_uid != os.geteuid():
        allowed |= stat.S_IRGRP
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~allowed:
        raise KeyExposed(
            f"The private key {path} has mode {mode:04o}: others may read or change it.",
            hint=f"Run `chmod 600 {path}`, and rotate the key if others had an account here.",
        )
