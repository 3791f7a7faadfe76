"""What an embedded service keeps on disk: a lock, a port, private files."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from pathlib import Path

from mailhearth_core.errors import Conflict, MailhearthError
from mailhearth_core.secrets import Secret

LOOPBACK = "127.0.0.1"


class FolderBusy(Conflict):
    """Another living process of ours serves from this folder."""

    code = "folder_busy"


class FolderLock:
    """An exclusive claim on a folder while this process lives (flock: kill -9 frees it too).

    The folder is made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises FolderBusy when another process or object holds it; calling again is harmless."""
        if self._descriptor is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderBusy(
                f"{self._path.parent} is in use by another running Mailhearth.",
                hint="Stop that one first, or choose another data folder.",
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remembered_port(path: Path, *, preferred: int = 0) -> int:
    """The port noted in `path` if it is free now, else another free one, noted there.

    Args:
        preferred: taken before any other where none is noted yet; 0 for no preference.
    """
    noted = path.read_text().strip() if path.is_file() else ""
    if noted.isdigit() and _is_free(int(noted)):
        return int(noted)
    if preferred and not noted and _is_free(preferred):
        write_atomically(path, f"{preferred}\n", mode=0o644)
        return preferred
    return new_port(path)


def new_port(path: Path) -> int:
    """A free loopback port, noted in `path`."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    write_atomically(path, f"{port}\n", mode=0o644)
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def stored_secret(path: Path, *, create: bool = True) -> Secret:
    """The secret in a 0600 file; made (256 random bits, durable) when it is missing.

    Raises:
        MailhearthError: it is missing and `create` is False, or it is empty.
    """
    if not path.exists() and create:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, secrets.token_urlsafe(32))
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = ""
    if not text:
        raise MailhearthError(
            f"The secret {path} is missing or empty.",
            hint="Restore it from the backup of this data folder.",
            code="secret_missing",
        )
    return Secret(text)


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replaces `path` as a whole, durably: a reader sees the old or the new, even after a crash."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
