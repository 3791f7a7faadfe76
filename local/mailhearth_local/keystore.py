"""Private keys as 0600 files of this account, apart from the database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from uuid import UUID

from mailhearth_core.errors import Conflict
from mailhearth_core.keystore import KeyFolder
from mailhearth_core.sealing import PrivateKey


class FileKeyStore(KeyFolder):
    """The `KeyStore` of a single machine, over the layout that workers read."""

    def create(self, workspace_id: UUID, version: int) -> bytes:
        """Make a version; raises Conflict when it exists. Durable (fsync) when it returns."""
        key = PrivateKey.generate()
        self.put(workspace_id, version, key)
        return key.public_bytes

    def put(self, workspace_id: UUID, version: int, key: PrivateKey) -> None:
        """Keep a key that was made before, as `create` does."""
        path = self.path(workspace_id, version)
        self._make_private(self.folder)
        self._make_private(path.parent)
        draft = path.parent / f".{version}.{secrets.token_hex(8)}"
        try:
            _write_durably(draft, key.raw())
            os.link(draft, path)  # unlike a rename, refuses to replace
        except FileExistsError:
            raise Conflict(
                f"Key version {version} of workspace {workspace_id} exists.",
                hint="Make the next version; a key is never replaced.",
            ) from None
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def destroy(self, workspace_id: UUID, version: int) -> None:
        """Delete a version for good; one that is gone already is no error."""
        path = self.path(workspace_id, version)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync_folder(path.parent)

    @staticmethod
    def _make_private(folder: Path) -> None:
        """Make a folder of mode 0700, durable in its parent."""
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(folder.parent)
        folder.chmod(0o700)


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
