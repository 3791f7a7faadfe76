"""The mail sandbox in a pod: found by its zone, trusted by its authority, opened by its seed."""

from __future__ import annotations

import hashlib
import imaplib
import json
import smtplib
import ssl
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from database import TestInstallation
from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_core.net import LOOPBACK, Deadline, Dialer, NameNotFound, TlsFailed

SENDER, RECIPIENT = "ines.albrecht@harbour.test", "jun.okabe@meadow.test"
SEED = "a long random text"


def password(address: str) -> str:
    """As the chart's template makes it."""
    return hashlib.sha256(f"{SEED}:{address}".encode()).hexdigest()


def make_authority(folder: Path) -> str:
    """As a chart's genCA makes it: RSA, and called by another digest than ours; returns the PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(b"another digest 20 by"), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    pem = built.public_bytes(serialization.Encoding.PEM)
    (folder / "tls.crt").write_bytes(pem)
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return pem.decode()


def test_mail_goes_through_under_the_names_of_the_zone(pod: Any, tmp_path: Path) -> None:
    ca = make_authority(pod.root / "authority")
    (pod.root / "seed").write_text(SEED + "\n")
    words = [
        *("serve-sandbox", "--data", str(pod.data), "--authority", str(pod.root / "authority")),
        *("--seed", str(pod.root / "seed"), "--service", "localhost", "--listen", "127.0.0.1"),
    ]
    free = ["--imap-port", "0", "--smtp-port", "0", "--smtps-port", "0"]
    program = pod.start(*words, *free)
    ready = program.await_event("ready")
    ports = [f"--{n}-port={ready[f'{n}_port']}" for n in ("imap", "smtp", "smtps")]
    assert pod.run(*words, *ports, "--check").returncode == 0

    done = pod.run("sandbox-zone", "--service", "localhost", "--smtp-port", str(ready["smtp_port"]))
    file = tmp_path / "zone.json"
    file.write_text(done.stdout)
    assert json.loads(done.stdout) == json.loads((pod.data / "sandbox" / "zone.json").read_text())
    zone = ZoneResolver.from_file(file)
    assert ip_address("127.0.0.1") in zone.addresses("imap.meadow.test")
    assert "127.0.0.1" in [r.address for r in zone.questions(5).resolve("mx.meadow.test", "A")]
    assert zone.mx("meadow.test")[0].port == ready["smtp_port"]
    with pytest.raises(NameNotFound):
        zone.addresses("imap.example.com")

    # What a worker does first: dial the name, verified by the mailbox's own authority.
    dialer = Dialer(zone, allowed=LOOPBACK)
    dialed = dialer.connect("imap.sandbox.test", ready["imap_port"], Deadline(10))
    dialer.start_tls(dialed, Deadline(10), ca_pem=ca).close()
    dialed = dialer.connect("imap.sandbox.test", ready["imap_port"], Deadline(10))
    with pytest.raises(TlsFailed):
        dialer.start_tls(dialed, Deadline(10), ca_pem=pod.ca.read_text())

    context = ssl.create_default_context(cadata=ca)
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = SENDER, RECIPIENT, "Hello"
    letter["Message-ID"] = "<1@harbour.test>"
    letter.set_content("Hello there.\n")
    with smtplib.SMTP_SSL("localhost", ready["smtps_port"], context=context) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(SENDER, password(RECIPIENT))
        smtp.login(SENDER, password(SENDER))
        smtp.send_message(letter)
    assert program.stop() == 0

    program = pod.start(*words, *free)  # the mail is on the volume
    imap_port = program.await_event("ready")["imap_port"]
    with imaplib.IMAP4_SSL("localhost", imap_port, ssl_context=context) as imap:
        imap.login(RECIPIENT, password(RECIPIENT))
        held = [int(imap.select(folder)[1][0] or b"0") for folder in ("INBOX", "Junk")]
    assert sum(held) == 1


def test_a_sandbox_takes_mailboxes_on_its_own_server_and_no_others(
    installation: TestInstallation,
) -> None:
    installation.enter_sandbox()
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    there: dict[str, Any] = {"imap": "imap.sandbox.test:1993", "smtp": "smtp.sandbox.test:1465"}
    installation.mailbox(workspace, pool, SENDER, tls="implicit", **there)
    with pytest.raises(InvalidValue, match="implicit or starttls"):
        installation.mailbox(workspace, pool, "a@harbour.test", tls="none", **there)
    for host in ("imap.example.com", "imap.harbour.test", "imap.sandbox.test.example.com"):
        with pytest.raises(Conflict, match="is no server of this sandbox"):
            installation.mailbox(
                workspace,
                pool,
                "a@harbour.test",
                tls="implicit",
                **{**there, "imap": f"{host}:993"},
            )
