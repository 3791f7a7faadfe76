"""Backups of the database: a dump of what is in it, or a copy of the whole server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_local.embedded.postgres import ENVIRONMENT, binaries
from mailhearth_local.pods import tunnel
from mailhearth_local.pods.backup_role import ROLE, ensure_backup_role
from mailhearth_local.pods.owner import OwnerSettings, await_database, reached
from mailhearth_local.pods.postgres_files import SUFFIX

STAMP = "%Y%m%dT%H%M%SZ"
PREFIX = "mailhearth-"
DUMP, BASE = ".dump", ".base"
MANIFEST = "backup_manifest"
START_SEGMENT = re.compile(r"^START WAL LOCATION: .* \(file ([0-9A-F]{24})\)$", re.MULTILINE)


@dataclass(frozen=True)
class Backup:
    """A finished backup, and the older ones that were removed for it."""

    path: Path
    size: int
    removed: list[Path]


def database(settings: OwnerSettings, to: Path, *, keep: int) -> Backup:
    """Writes `mailhearth-<UTC>.dump`, as `pg_restore` reads it, whole or not at all.

    Args:
        keep: how many dumps stay in the folder, this one among them.
    Raises:
        MailhearthError: the database cannot be reached, or a row would be left out.
    """
    url = settings.owner_url
    await_database(url, settings.wait_seconds)
    reached(url, lambda: ensure_backup_role(url.reveal(), settings.roles))
    with _draft(to, DUMP) as draft, tunnel.opened(url) as programs:
        programs.run(
            "pg_dump",
            *("--format=custom", f"--file={draft}", "--no-unlogged-table-data"),
            *(f"--role={settings.roles.name(ROLE)}", "--enable-row-security"),
            "--lock-wait-timeout=60s",
        )
        programs.run("pg_restore", "--list", str(draft))  # it can be read
        _sync(draft)
    path = _newest(to, DUMP)
    return Backup(path, path.stat().st_size, _prune(to, DUMP, keep))


def base(settings: OwnerSettings, to: Path, *, keep: int, archive: Path | None) -> Backup:
    """Writes `mailhearth-<UTC>.base`, a copy of the whole server, with what it needs to start.

    The owner needs REPLICATION, which it has in the bundled Postgres.

    Args:
        keep: how many copies stay in the folder, this one among them.
        archive: of the write-ahead log; what no copy that stays needs any more is removed there.
    Raises:
        MailhearthError: the server cannot be reached or copied.
    """
    await_database(settings.owner_url, settings.wait_seconds)
    with _draft(to, BASE) as draft, tunnel.opened(settings.owner_url) as programs:
        programs.run(
            "pg_basebackup",
            *(f"--pgdata={draft}", "--format=plain", "--wal-method=stream", "--checkpoint=fast"),
            *("--manifest-checksums=SHA256", "--no-password"),
        )
        verify(draft)
    path = _newest(to, BASE)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    removed = _prune(to, BASE, keep)
    if archive is not None:
        _clean(archive, oldest=_all(to, BASE)[0])
    return Backup(path, size, removed)


def verify(copy: Path) -> None:
    """Compares a copy of the server with its manifest (the package's pg_verifybackup crashes).

    Raises:
        MailhearthError: a file is missing or differs.
    """
    try:
        manifest = json.loads((copy / MANIFEST).read_text())
        for entry in manifest["Files"]:
            path = copy / entry["Path"]
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == entry["Checksum"]
            if not same:
                raise ValueError(f"{entry['Path']} differs")
    except (OSError, ValueError, KeyError) as error:
        raise MailhearthError(
            f"The copy {copy} is not whole: {error}.",
            hint="Take another one.",
            code="backup_damaged",
        ) from None


@contextmanager
def _draft(folder: Path, kind: str) -> Iterator[Path]:
    """A path to write to; what lies there in the end gets its name, what failed is removed."""
    if not folder.is_dir():
        raise InvalidValue("--to", str(folder), "a folder that exists")
    for left in folder.glob(f".{PREFIX}*{kind}.part"):  # of a run that was killed
        _remove(left)
    name = f"{PREFIX}{datetime.now(UTC):{STAMP}}{kind}"
    draft = folder / f".{name}.part"
    try:
        yield draft
        draft.rename(folder / name)
    except BaseException:
        _remove(draft)
        raise
    _sync(folder)


def _all(folder: Path, kind: str) -> list[Path]:
    """Oldest first: the names sort by time."""
    return sorted(folder.glob(f"{PREFIX}*{kind}"))


def _newest(folder: Path, kind: str) -> Path:
    return _all(folder, kind)[-1]


def newest_dump(place: Path) -> Path:
    """The dump itself, or the newest one of a folder.

    Raises:
        InvalidValue: there is none.
    """
    dumps = _all(place, DUMP) if place.is_dir() else [place]
    if not dumps or not dumps[-1].is_file():
        raise InvalidValue(
            "FILE", str(place), "a dump made by `mailhearth backup database`, or a folder of them"
        )
    return dumps[-1]


def _prune(folder: Path, kind: str, keep: int) -> list[Path]:
    old = _all(folder, kind)[:-keep]
    for path in old:
        _remove(path)
    return old


def _clean(archive: Path, oldest: Path) -> None:
    found = START_SEGMENT.search((oldest / "backup_label").read_text())
    if found is None:
        return
    program = str(binaries() / "pg_archivecleanup")
    done = subprocess.run(  # noqa: S603 - our own words, no shell
        [program, "-x", SUFFIX, str(archive), found[1]],
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    tunnel.check("pg_archivecleanup", done.returncode, done.stderr)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
