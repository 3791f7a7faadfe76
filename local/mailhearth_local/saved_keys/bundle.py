"""What a backup of keys holds: JSON, encrypted as age has it (age-encryption.org/v1).

A person with the identity reads it with `age -d`: each key stands under `<workspace>/<version>`,
which is also its path below the keys folder, as base64 of its 32 raw bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pyrage

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.sealing import KEY_BYTES, PrivateKey

WHAT = "private keys of Mailhearth"
FORMAT = 1
SECRET_LINE = "AGE-SECRET-KEY-1"  # noqa: S105 - how a line with an identity begins


class BackupDamaged(MailhearthError):
    """A file is no backup of keys, was changed, or is of a format that this version cannot read."""

    code = "backup_damaged"


class WrongIdentity(MailhearthError):
    """None of the identities opens the file: it was written to other recipients."""

    code = "wrong_identity"


@dataclass(frozen=True)
class SavedKey:
    """One private key.

    Attributes:
        workspace: its name, for people; empty where it is not known.
        namespace: of the Secret that held it; empty when it was a file.
    """

    workspace_id: UUID
    version: int
    key: PrivateKey
    workspace: str = ""
    namespace: str = ""

    @property
    def name(self) -> str:
        return f"{self.workspace_id}/{self.version}"


@dataclass(frozen=True)
class Bundle:
    """The keys of one backup.

    Attributes:
        installation: its id, or "namespace/release" of a chart; empty where it is not known.
        made_at: in UTC.
    """

    installation: str
    made_at: datetime
    keys: tuple[SavedKey, ...]

    def to_json(self) -> str:
        return json.dumps(
            {
                "what": WHAT,
                "format": FORMAT,
                "installation": self.installation,
                "made_at": self.made_at.astimezone(UTC).isoformat(timespec="seconds"),
                "keys": {saved.name: _entry(saved) for saved in self.keys},
            },
            indent=2,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Bundle:
        """Raises BackupDamaged."""
        try:
            found = json.loads(text)
            if found["what"] != WHAT:
                raise ValueError(f"it says it is {found['what']!r}")
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}, this version reads {FORMAT}")
            return cls(
                str(found["installation"]),
                datetime.fromisoformat(found["made_at"]),
                tuple(_saved(name, entry) for name, entry in found["keys"].items()),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise BackupDamaged(
                f"This is no backup of keys: {told}.",
                hint="Give what `mailhearth keys backup` wrote, or what `age -d` made of that.",
            ) from None


def _entry(saved: SavedKey) -> dict[str, str]:
    entry = {
        "fingerprint": saved.key.fingerprint,
        "private": base64.b64encode(saved.key.raw()).decode(),
        "workspace": saved.workspace,
        "namespace": saved.namespace,
    }
    return {name: value for name, value in entry.items() if value}


def _saved(name: str, entry: dict[str, Any]) -> SavedKey:
    workspace_id, slash, version = name.partition("/")
    if not slash or not version.isdecimal() or int(version) < 1:
        raise ValueError(f"{name!r} is not <workspace>/<version>")
    try:
        raw = base64.b64decode(entry["private"], validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError(f"{name} is not a key of {KEY_BYTES} bytes")
    key = PrivateKey(raw)
    if key.fingerprint != entry["fingerprint"]:
        raise ValueError(f"{name} has not the fingerprint that stands beside it")
    return SavedKey(
        UUID(workspace_id),
        int(version),
        key,
        str(entry.get("workspace", "")),
        str(entry.get("namespace", "")),
    )


def encrypt(bundle: Bundle, recipients: Sequence[str]) -> bytes:
    """The bundle as an age file that each of the recipients opens.

    Args:
        recipients: X25519 ones, `age1...`.
    Raises:
        InvalidValue: one is none.
    """
    known = []
    for text in recipients:
        try:
            known.append(pyrage.x25519.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            raise InvalidValue(
                "--to", text, f"an age recipient as `age-keygen -y` prints it, age1... ({error})"
            ) from None
    sealed: bytes = pyrage.encrypt(bundle.to_json().encode(), known)
    return sealed


def decrypt(sealed: bytes, identities: str) -> Bundle:
    """The bundle of an age file.

    Args:
        identities: the text of an identity file, as `age-keygen` writes it.
    Raises:
        InvalidValue: there is no identity in it.
        WrongIdentity, BackupDamaged.
    """
    known = list(_identities(identities.splitlines()))
    if not known:
        raise InvalidValue("--identity", "a file without one", f"lines that begin {SECRET_LINE}")
    try:
        opened: bytes = pyrage.decrypt(sealed, known)
    except pyrage.DecryptError as error:
        if str(error) == "No matching keys found":
            raise WrongIdentity(
                "This identity does not open the file: it was written to other recipients.",
                hint="Use the identity of the recipient that `keys backup --to` was given.",
            ) from None
        raise BackupDamaged(
            f"The file is no age file, or was changed: {error}.", hint="Take another backup."
        ) from None
    return Bundle.from_json(opened)


def _identities(lines: Iterable[str]) -> Iterable[Any]:
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            yield pyrage.x25519.Identity.from_str(text)
        except pyrage.IdentityError as error:
            # The line itself is not told: it may be an identity with a slip of the pen.
            raise InvalidValue(
                "--identity", "a line", f"X25519 identities, {SECRET_LINE}... ({error})"
            ) from None
