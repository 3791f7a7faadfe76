"""Sealed credentials: whoever holds a public key can seal, only a workspace's worker can open.

HPKE in base mode (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) with a fresh encapsulation per
record. What a record is for, and where its secret may be sent, goes into `info`: change the host,
the user name or the mailbox, and the record no longer opens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.mail.model import TlsMode
from mailhearth_core.secrets import Secret

FORMAT_VERSION = 1
KEY_BYTES = 32
_PAD_TO = 64  # bytes; so that the length of a record does not tell that of a password
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealBroken(MailhearthError):
    """A sealed record does not open: it was changed, moved, or its destination was edited."""

    code = "seal_broken"


@dataclass(frozen=True, slots=True)
class PasswordDestination:
    """The one server and account a password may be given to.

    `ca_sha256` is the SHA-256 (32 bytes) of the mailbox's own CA bundle, None for the public ones.
    """

    host: str
    port: int
    tls: TlsMode
    ca_sha256: bytes | None
    username: str

    def __post_init__(self) -> None:
        if self.ca_sha256 is not None and len(self.ca_sha256) != 32:
            raise InvalidValue("ca_sha256", len(self.ca_sha256), "a SHA-256 digest of 32 bytes")

    def parts(self) -> tuple[bytes, ...]:
        host = self.host.rstrip(".").lower()  # names are case-insensitive (RFC 4343)
        ca = self.ca_sha256 or b""
        port = self.port.to_bytes(4, "big")
        return (b"password", host.encode(), port, self.tls.encode(), ca, self.username.encode())


@dataclass(frozen=True, slots=True)
class OAuthDestination:
    """The one token endpoint and client a refresh token (or a code) may be given to."""

    token_endpoint: str
    client_id: str

    def parts(self) -> tuple[bytes, ...]:
        return (b"oauth", self.token_endpoint.encode(), self.client_id.encode())


Destination = PasswordDestination | OAuthDestination


@dataclass(frozen=True, slots=True)
class Binding:
    """What one record is: whose, which field (such as `imap_password`), which key, for where."""

    workspace_id: UUID
    mailbox_id: UUID
    field: str
    key_version: int
    destination: Destination

    def info(self) -> bytes:
        """The HPKE `info`: each part behind its length (4 bytes, big-endian), so unambiguous."""
        parts = (
            b"mailhearth sealed credential",
            FORMAT_VERSION.to_bytes(4, "big"),
            self.workspace_id.bytes,
            self.mailbox_id.bytes,
            self.field.encode(),
            self.key_version.to_bytes(8, "big"),
            *self.destination.parts(),
        )
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class PrivateKey:
    """A workspace's private key of one version; shows its fingerprint, never itself."""

    __slots__ = ("__key", "fingerprint", "public_bytes")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise InvalidValue("private key", f"{len(raw)} bytes", f"{KEY_BYTES} raw bytes")
        self.__key = X25519PrivateKey.from_private_bytes(raw)
        self.public_bytes = self.__key.public_key().public_bytes_raw()
        self.fingerprint = fingerprint(self.public_bytes)

    @classmethod
    def generate(cls) -> PrivateKey:
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    def raw(self) -> bytes:
        """The 32 private bytes, for a key store to keep and nobody else."""
        return self.__key.private_bytes_raw()

    def open(self, blob: bytes, info: bytes) -> bytes:
        """Undo HPKE; raises cryptography's InvalidTag on any difference."""
        return bytes(_SUITE.decrypt(blob, self.__key, info=info))

    def __repr__(self) -> str:
        return f"PrivateKey({self.fingerprint[:16]}...)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a PrivateKey cannot be pickled")


def fingerprint(public_key: bytes) -> str:
    """SHA-256 of the 32 public bytes, in lower-case hex."""
    return hashlib.sha256(public_key).hexdigest()


def seal(public_key: bytes, binding: Binding, secret: Secret) -> bytes:
    """Seal a secret to a public key (32 raw bytes) under its binding.

    Returns one version byte, then `enc || ciphertext`. Raises InvalidValue when the key is not a
    usable X25519 public key.
    """
    try:
        key = X25519PublicKey.from_public_bytes(public_key)
        sealed = _SUITE.encrypt(_pad(secret.reveal().encode()), key, info=binding.info())
    except ValueError:  # wrong length, or a point of small order (RFC 7748, section 6.1)
        raise InvalidValue("public key", public_key.hex(), "an X25519 public key") from None
    return bytes([FORMAT_VERSION]) + sealed


def open_sealed(private_key: PrivateKey, binding: Binding, blob: bytes) -> Secret:
    """Open what `seal` made; raises SealBroken on any difference in key, binding or bytes."""
    try:
        if blob[:1] != bytes([FORMAT_VERSION]):
            raise InvalidTag
        return Secret(_unpad(private_key.open(bytes(blob[1:]), binding.info())).decode())
    except InvalidTag:
        raise SealBroken(
            f"The stored {binding.field} of mailbox {binding.mailbox_id} does not open with key"
            f" version {binding.key_version} for its present server and user name.",
            hint="Type the credential again and save.",
        ) from None


def _pad(text: bytes) -> bytes:
    """ISO/IEC 7816-4 padding: 0x80, then zeros up to the block."""
    marked = text + b"\x80"
    return marked + bytes(-len(marked) % _PAD_TO)


def _unpad(padded: bytes) -> bytes:
    return padded.rstrip(b"\x00")[:-1]
