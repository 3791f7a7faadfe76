"""Backup and restore of private keys, wherever they lie."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError, NotFound
from mailhearth_local.saved_keys.bundle import Bundle, SavedKey, encrypt
from mailhearth_local.saved_keys.places import NO_KEY, Place

STAMP = "%Y%m%dT%H%M%SZ"
STAMPED = r"[0-9]{8}T[0-9]{6}Z"
TIME = "{time}"
"""In the name of a backup: when it was made, so that several stand beside each other."""

RESTORED, PRESENT, REFUSED, LEFT_OUT = "restored", "present", "refused", "left out"


@dataclass(frozen=True)
class Written:
    """A backup that was made.

    Attributes:
        missing: keys that the database knows and that are not there, as `<workspace>/<version>`.
        removed: older backups, removed for this one.
    """

    path: Path
    keys: tuple[SavedKey, ...]
    missing: list[str]
    removed: list[Path]


@dataclass(frozen=True)
class Known:
    """A key version as the database knows it."""

    state: str
    fingerprint: str


@dataclass(frozen=True)
class Deed:
    """What became of one key of a backup: RESTORED, PRESENT, REFUSED or LEFT_OUT, and why."""

    saved: SavedKey
    done: str
    where: str
    why: str = ""


def backup(
    place: Place,
    out: Path,
    recipients: Sequence[str],
    *,
    installation: str,
    known: Mapping[tuple[UUID, int], Known],
    only: UUID | None = None,
    keep: int | None = None,
) -> Written:
    """Writes all keys into one age file (0600), whole or not at all. It needs no identity.

    Args:
        out: `{time}` in its name stands for the time in UTC.
        known: what the database says, where it can be asked. While a key that it knows is missing
            no older backup is removed: one may hold it.
        only: this workspace's keys.
        keep: how many files of that name with another time stay, this one among them.
    Raises:
        InvalidValue: a recipient is none, or the folder does not exist.
        NotFound: there is no key; nothing is written or removed.
    """
    if keep is not None and out.name.count(TIME) != 1:
        raise InvalidValue("--out", str(out), f"a name with {TIME} in it, where --keep is given")
    if not out.parent.is_dir():
        raise InvalidValue("--out", str(out), "a file in a folder that exists")
    keys = tuple(saved for saved in place.collect() if only in (None, saved.workspace_id))
    if not keys:
        raise NotFound(
            "There is no private key to save; nothing was written.",
            hint="Keys are made with a workspace. Look whether this is the right place.",
            code="no_keys",
        )
    now = datetime.now(UTC)
    path = out.with_name(out.name.replace(TIME, f"{now:{STAMP}}"))
    _write(path, encrypt(Bundle(installation, now, keys), recipients))
    there = {(saved.workspace_id, saved.version) for saved in keys}
    missing = [
        f"{workspace_id}/{version}"
        for (workspace_id, version), row in known.items()
        if row.state != "destroyed"
        and only in (None, workspace_id)
        and (workspace_id, version) not in there
    ]
    removed = _prune(out, keep) if keep is not None and not missing else []
    return Written(path, keys, missing, removed)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.part")
    draft.unlink(missing_ok=True)  # of a run that was killed
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        raise MailhearthError(
            f"{path} cannot be written: {error.strerror}.", hint="Choose another --out."
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(out: Path, keep: int) -> list[Path]:
    """The names sort by time."""
    named = re.compile(STAMPED.join(map(re.escape, out.name.split(TIME))))
    alike = sorted(path for path in out.parent.iterdir() if named.fullmatch(path.name))
    old = alike[:-keep]
    for path in old:
        path.unlink()
    return old


def restore(
    place: Place,
    bundle: Bundle,
    *,
    known: Mapping[tuple[UUID, int], Known],
    only: UUID | None = None,
    dry_run: bool = False,
    tell: Callable[[Deed], None] = lambda _: None,
) -> list[Deed]:
    """Puts back what is missing; no key that is there is ever replaced.

    Args:
        known: what the database says, where it can be asked: a destroyed version is left out, and
            a key that the database does not know by this fingerprint is refused.
        only: this workspace's keys.
        dry_run: only say what would be done.
        tell: called after each key.
    """
    deeds = []
    for saved in bundle.keys:
        if only not in (None, saved.workspace_id):
            continue
        deed = _bring_back(place, saved, known.get((saved.workspace_id, saved.version)), dry_run)
        tell(deed)
        deeds.append(deed)
    return deeds


def _bring_back(place: Place, saved: SavedKey, row: Known | None, dry_run: bool) -> Deed:
    where = place.where(saved)
    ours, theirs = saved.key.fingerprint, place.fingerprint(saved)
    if theirs == ours:
        return Deed(saved, PRESENT, where)
    if theirs == NO_KEY:
        why = f"what is there is no key; remove it to put back {ours}"
        return Deed(saved, REFUSED, where, why)
    if theirs is not None:
        return Deed(saved, REFUSED, where, f"another key is there: {theirs}, not {ours}")
    if row is not None and row.state == "destroyed":
        return Deed(saved, LEFT_OUT, where, "this version was destroyed or given up")
    if row is not None and row.fingerprint != ours:
        why = f"the database knows another key: {row.fingerprint}, not {ours}"
        return Deed(saved, REFUSED, where, why)
    if not dry_run:
        try:
            place.put(saved)
        except Conflict:
            if place.fingerprint(saved) is None:
                raise
            # Somebody else put it there in this moment.
            return _bring_back(place, saved, row, dry_run)
    return Deed(saved, RESTORED, where)
