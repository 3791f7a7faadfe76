"""Certificates as a Secret brings them into a pod: two files that are replaced now and then."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path

import structlog

from mailhearth_core.errors import MailhearthError

log = structlog.get_logger()
CERTIFICATE, KEY = "tls.crt", "tls.key"
Stamp = tuple[tuple[int, int, int], ...]


class ServerCertificate:
    """The server's side of TLS, from `tls.crt` and `tls.key` in a folder.

    Args:
        protocols: offered by ALPN (RFC 7301), none when empty.
    Raises:
        MailhearthError: the first reading failed. A later one that fails is logged, and the
            certificate read before stays.
    """

    def __init__(self, folder: Path, *, protocols: Sequence[str] = ()) -> None:
        self._certificate = folder / CERTIFICATE
        self._key = folder / KEY
        self._protocols = list(protocols)
        try:
            self._stamp = self._look()
            self._context = self._load()
        except OSError as error:  # ssl.SSLError is one
            raise MailhearthError(
                f"The certificate in {folder} cannot be used: {_reason(error)}.",
                hint=f"It takes {CERTIFICATE} (the chain) and {KEY}, both in PEM.",
                code="certificate_unusable",
            ) from None

    def context(self) -> ssl.SSLContext:
        """For the next connection: what the files hold now."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._context = self._load()
                self._stamp = stamp
                log.info("certificate_renewed", file=str(self._certificate))
        except OSError as error:  # half replaced, or gone: the next look will tell
            log.warning("certificate_kept", reason=_reason(error))
        return self._context

    def _look(self) -> Stamp:
        found = (os.stat(path) for path in (self._certificate, self._key))
        return tuple((about.st_ino, about.st_mtime_ns, about.st_size) for about in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate, self._key)
        if self._protocols:
            context.set_alpn_protocols(self._protocols)
        return context


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
