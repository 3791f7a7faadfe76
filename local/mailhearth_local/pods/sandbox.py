"""The mail sandbox in a pod: the demo's mailboxes, reached by a Service.

Its certificate authority comes from a Secret, so that it can be trusted before the pod runs, and
the passwords from a seed, so that whoever has the seed can write them down elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import LOOPBACK, write_atomically
from mailhearth_local.pods.certificates import CERTIFICATE, KEY
from mailhearth_local.sandbox.accounts import write_users
from mailhearth_local.sandbox.demo import demo_users
from mailhearth_local.sandbox.server import Listening, SandboxInfo
from mailhearth_local.sandbox.server import serve as serve_mail
from mailhearth_local.sandbox.service import greets

log = structlog.get_logger()
FOLDER = "sandbox"
"""Subfolder of the volume."""


@dataclass(frozen=True)
class Place:
    """Where things lie in the pod.

    Args:
        data: the volume, where mail is kept.
        authority: folder of the authority's `tls.crt` and `tls.key`.
        seed: file of the seed that the mailboxes' passwords are made from.
    """

    data: Path
    authority: Path
    seed: Path


def serve(place: Place, at: Listening) -> None:
    """Runs until a signal.

    Raises:
        MailhearthError: a file is missing, or a port is taken.
    """
    data = place.data / FOLDER
    write_users(data, demo_users(_seed(place.seed)))
    _take_authority(place.authority, data / "tls")
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's own, at each connection

    def ready(info: SandboxInfo) -> None:
        log.info(
            "ready",
            service="sandbox",
            imap_port=info.imap_port,
            smtp_port=info.smtp_port,
            smtps_port=info.smtps_port,
            mailboxes=len(info.users),
        )

    asyncio.run(serve_mail(data, seed=1, at=at, ready=ready))
    log.info("stopped", service="sandbox")


def check(at: Listening) -> None:
    """For an exec probe in the pod: raises MailhearthError unless SMTP greets and IMAP has TLS."""
    try:
        ssl.get_server_certificate((LOOPBACK, at.imap), timeout=5)
        answers = greets(at.smtp)
    except OSError:
        answers = False
    if not answers:
        raise MailhearthError("The mail sandbox does not answer.", code="not_ready")


def _seed(path: Path) -> Secret:
    try:
        text = path.read_text().strip()
    except OSError:
        text = ""
    if not text:
        raise MailhearthError(
            f"The seed of the sandbox's passwords, {path}, is missing or empty.",
            hint="Mount a Secret with a long random text.",
            code="secret_missing",
        )
    return Secret(text)


def _take_authority(source: Path, tls: Path) -> None:
    """Puts the authority where the sandbox keeps its own; a changed one certifies anew."""
    tls.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        pairs = {
            tls / "ca.pem": (source / CERTIFICATE).read_text(),
            tls / "ca.key": (source / KEY).read_text(),
        }
    except OSError as error:
        raise MailhearthError(
            f"The sandbox's authority in {source} cannot be read ({error.strerror}).",
            hint=f"It takes the files {CERTIFICATE} and {KEY}.",
            code="secret_missing",
        ) from None
    if all(path.is_file() and path.read_text() == text for path, text in pairs.items()):
        return
    (tls / "server.pem").unlink(missing_ok=True)
    for path, text in pairs.items():
        write_atomically(path, text)
