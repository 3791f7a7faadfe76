"""Checkpoints: a chain's head, signed by a key that is not in the database (Ed25519, RFC 8032)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mailhearth_core.audit.digests import Scope, frame, scope_name, time_bytes
from mailhearth_core.errors import InvalidValue

FORMAT = "mailhearth-checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """Says: the chain of `scope` had this link in place `seq` at that (machine) time."""

    installation: UUID
    scope: Scope
    seq: int
    link: bytes
    at: datetime
    public_key: bytes = b""
    signature: bytes = b""

    def signed(self, key: Ed25519PrivateKey) -> Checkpoint:
        public = key.public_key().public_bytes_raw()
        unsigned = replace(self, public_key=public, signature=b"")
        return replace(unsigned, signature=key.sign(unsigned._statement()))

    def is_genuine(self) -> bool:
        """Whether the signature is that of its own public key; whose key it is, is not said."""
        try:
            key = Ed25519PublicKey.from_public_bytes(self.public_key)
            key.verify(self.signature, self._statement())
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_line(self) -> str:
        """One line of JSON, without the newline."""
        return json.dumps(
            {
                "format": FORMAT,
                "installation": str(self.installation),
                "scope": scope_name(self.scope),
                "seq": self.seq,
                "link": self.link.hex(),
                "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
                "public_key": self.public_key.hex(),
                "signature": self.signature.hex(),
            }
        )

    def _statement(self) -> bytes:
        return frame(
            FORMAT.encode(),
            self.installation.bytes,
            scope_name(self.scope).encode(),
            self.seq.to_bytes(8, "big"),
            self.link,
            time_bytes(self.at),
            self.public_key,
        )


def read_lines(text: str, where: str) -> list[Checkpoint]:
    """The checkpoints of a file (or of a log: lines that are none are passed over).

    A last line that was cut short by a crash is passed over too.

    Raises:
        InvalidValue: a line says it is a checkpoint but cannot be read, or there is none at all.
    """
    found: list[Checkpoint] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if FORMAT not in line:
            continue
        try:
            found.append(_from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines) and not text.endswith("\n"):
                continue
            raise InvalidValue(where, f"line {number}", "a checkpoint as it was written") from None
    if not found:
        raise InvalidValue(where, "no checkpoint in it", "a file of checkpoints")
    return found


def _from_json(body: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        installation=UUID(body["installation"]),
        scope=None if body["scope"] == "platform" else UUID(body["scope"]),
        seq=int(body["seq"]),
        link=bytes.fromhex(body["link"]),
        at=datetime.fromisoformat(body["at"]),
        public_key=bytes.fromhex(body["public_key"]),
        signature=bytes.fromhex(body["signature"]),
    )
