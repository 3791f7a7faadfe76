"""A private Dovecot on loopback for tests: IMAP, LMTP, Sieve, SASL, OAuth by introspection.

Everything lives in a temporary folder; the system's own configuration is never read. Works as root
(mail then belongs to an unprivileged uid) and as an ordinary user.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MAIL_UID = 5000
"""Owner of delivered mail when the test runs as root (Dovecot refuses uid 0)."""

START_DEADLINE_S = 20.0
SERVER_NAMES = ("localhost", "mail.test")


def require_dovecot() -> None:
    """Skips the calling test where Dovecot is not installed, saying what to install."""
    if shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        pytest.skip("Dovecot is missing: apt-get install dovecot-imapd dovecot-lmtpd dovecot-sieve")


def free_port() -> int:
    """A TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(port: int, process: subprocess.Popen[bytes] | None, what: str) -> None:
    """Returns when loopback accepts on `port`; fails when the process ends or time is up."""
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"{what} ended with {process.returncode}") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} does not listen on port {port}") from error
            time.sleep(0.02)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Authority:
    """A throw-away certificate authority; `issue` writes a server key and certificate."""

    def __init__(self, label: str = "Mailhearth test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(label)
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
        )

    def issue(self, folder: Path, names: Iterable[str]) -> tuple[Path, Path]:
        """Writes `server.key` and `server.crt` for `names` and 127.0.0.1; returns (cert, key)."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives.append(x509.IPAddress(ip_address("127.0.0.1")))
        certificate = (
            self._builder(_name("mail server"), key.public_key())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate_path, key_path = folder / "server.crt", folder / "server.key"
        certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.touch(mode=0o600)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate_path, key_path


class IntrospectionServer:
    """RFC 7662-like token introspection over HTTP on loopback, for Dovecot's oauth2 passdb."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                token = query.get("token", [""])[0]
                user = outer._tokens.get(token)
                body = json.dumps({"active": user is not None, "username": user or ""}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/introspect?token="

    def issue(self, username: str) -> str:
        """A fresh access token that Dovecot will take for `username`."""
        token = secrets.token_urlsafe(16)
        self._tokens[token] = username
        return token

    def revoke(self, token: str) -> None:
        """Makes a token inactive. Dovecot's auth cache is off, so this takes effect at once."""
        self._tokens.pop(token, None)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class DovecotServer:
    """One Dovecot process tree; a context manager, or `start()` and `stop()`.

    Args:
        users: address -> password; more can follow with `add_user`, before or after the start.
        special_use: announce RFC 6154 attributes on Junk, Sent, Trash and Drafts.
        junk, sent, trash, drafts: the folders' names (made for every user).
        everything: a folder that claims to show all mail (\\All), as Gmail's; none when empty.
        without: capabilities to hide, such as ("MOVE", "UIDPLUS", "CONDSTORE").
        separator, prefix: of the personal namespace.
        introspection_url: turns XOAUTH2 and OAUTHBEARER on (see `IntrospectionServer`).
        names: names in the certificate besides localhost, mail.test and 127.0.0.1.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        special_use: bool = True,
        junk: str = "Junk",
        sent: str = "Sent",
        trash: str = "Trash",
        drafts: str = "Drafts",
        everything: str = "",
        without: Iterable[str] = (),
        separator: str = "/",
        prefix: str = "",
        introspection_url: str | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self._users = dict(users or {})
        self._special = {"Junk": junk, "Sent": sent, "Trash": trash, "Drafts": drafts}
        if everything:
            self._special["All"] = everything
        self._special_use = special_use
        self._without = frozenset(name.upper() for name in without)
        self._separator, self._prefix = separator, prefix
        self._introspection_url = introspection_url
        self._names = (*SERVER_NAMES, *names)
        self._process: subprocess.Popen[bytes] | None = None
        self._junk_conditions: list[str] = []
        self.imaps_port, self.imap_port, self.lmtp_port = free_port(), free_port(), free_port()

    # -- life -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Writes the configuration, starts Dovecot and returns when it listens."""
        self.folder = Path(tempfile.mkdtemp(prefix="mh-dovecot-"))
        self.folder.chmod(0o755)
        self.authority = Authority()
        self.ca_pem = self.authority.pem
        self.ca_path = self.folder / "ca.pem"
        self.ca_path.write_text(self.ca_pem)
        self.certificate_path, self.key_path = self.authority.issue(self.folder, self._names)
        self.auth_socket = self.folder / "run" / "sasl"
        for name in ("run", "mail", "sieve", "state", "users"):
            (self.folder / name).mkdir()
        if os.getuid() == 0:
            for name in ("mail", "sieve"):
                os.chown(self.folder / name, MAIL_UID, MAIL_UID)
        for address in self._users:
            self._write_user(address)
        self._write_sieve()
        if self._introspection_url is not None:
            (self.folder / "oauth2.conf").write_text(
                f"introspection_url = {self._introspection_url}\n"
                "introspection_mode = get\nusername_attribute = username\n"
                "active_attribute = active\nactive_value = true\n"
            )
        config = self.folder / "dovecot.conf"
        config.write_text(self._config())
        program = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program is not None, "call require_dovecot() first"
        with (self.folder / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [*_LOWER_FILE_LIMIT, program, "-F", "-c", str(config)],
                stdout=console,
                stderr=console,
            )
        try:
            for port in (self.imaps_port, self.imap_port, self.lmtp_port):
                wait_until_listening(port, self._process, "Dovecot")
        except RuntimeError as error:
            text = self.log_text()
            self.stop()
            raise RuntimeError(f"{error}; its log:\n{text}") from error

    def stop(self) -> None:
        """Ends the process tree and removes the folder; harmless when not running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what a test may change while it runs ------------------------------------------------

    def add_user(self, address: str, password: str) -> None:
        """Makes `address` a mailbox, or changes its password; in effect when this returns."""
        known = address in self._users
        self._users[address] = password
        if self._process is not None:
            self._write_user(address)
            if known:
                self._wait_for_login(address, password)

    def remove_user(self, address: str) -> None:
        """Takes the mailbox away (its mail stays on disk); in effect within two seconds."""
        del self._users[address]
        (self.folder / "users" / address).unlink()

    def _wait_for_login(self, address: str, password: str) -> None:
        """Dovecot looks at a known user's file once a second."""
        deadline = time.monotonic() + START_DEADLINE_S
        command = ["doveadm", "-c", str(self.folder / "dovecot.conf"), "auth", "test"]
        while subprocess.run([*command, address, password], capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Dovecot never took the new password of {address}")
            time.sleep(0.05)

    @property
    def users(self) -> Mapping[str, str]:
        return dict(self._users)

    def junk_when(self, condition: str) -> None:
        """Files later arrivals into Junk when the Sieve test `condition` holds.

        For example `header :contains "subject" "casino"` or `address :is "from" "a@b.test"`.
        """
        self._junk_conditions.append(condition)
        self._write_sieve()

    def junk_nothing(self) -> None:
        """Forgets every `junk_when` rule."""
        self._junk_conditions.clear()
        self._write_sieve()

    def log_text(self) -> str:
        """All that Dovecot has logged, for failure messages."""
        paths = [self.folder / "console.log", self.folder / "dovecot.log"]
        return "\n".join(p.read_text(errors="replace") for p in paths if p.exists())

    # -- configuration ----------------------------------------------------------------------

    def _write_user(self, address: str) -> None:
        """One passwd file per user, so that a new one is seen at once."""
        ids = f"{MAIL_UID}:{MAIL_UID}" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
        home = self.folder / "mail" / address
        line = f"{address}:{{PLAIN}}{self._users[address]}:{ids}::{home}\n"
        self._replace(self.folder / "users" / address, line)

    def _write_sieve(self) -> None:
        folder = self._prefix + self._special["Junk"]
        rules = [f'if {c} {{ fileinto "{folder}"; stop; }}\n' for c in self._junk_conditions]
        script = self.folder / "sieve" / "before.sieve"
        self._replace(script, 'require ["fileinto"];\n' + "".join(rules))
        script.with_suffix(".svbin").unlink(missing_ok=True)

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        fresh = path.with_name("new-" + path.name)
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)

    def _config(self) -> str:
        root = os.getuid() == 0
        me = "" if root else _current_user()
        mechanisms = "plain login" + (" xoauth2 oauthbearer" if self._introspection_url else "")
        mailboxes = "".join(
            f"  mailbox {_quoted(name)} {{\n    auto = subscribe\n"
            + (f"    special_use = \\{use}\n" if self._special_use else "")
            + "  }\n"
            for use, name in self._special.items()
        )
        capability = ""
        if self._without:
            capability = "imap_capability = " + " ".join(
                name for name in _CAPABILITIES if name not in self._without
            )
        oauth = ""
        if self._introspection_url is not None:
            oauth = (
                "passdb {\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n"
                f"  args = {self.folder}/oauth2.conf\n}}\n"
            )
        unprivileged = (
            ""
            if root
            else f"default_internal_user = {me}\ndefault_login_user = {me}\n"
            f"default_internal_group = {_current_group()}\n"
        )
        chroots = (
            ""
            if root
            else "".join(
                f"service {name} {{\n  chroot =\n}}\n"
                for name in ("anvil", "imap-login", "stats", "submission-login")
            )
        )
        return f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/dovecot.log
instance_name = mailhearth-{self.imaps_port}
protocols = imap lmtp
listen = 127.0.0.1
{unprivileged}
default_process_limit = 100
default_client_limit = 1000
mail_max_userip_connections = 200
first_valid_uid = 1
ssl = yes
ssl_cert = <{self.certificate_path}
ssl_key = <{self.key_path}
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
auth_username_format = %Lu
mail_location = maildir:{self.folder}/mail/%Lu/Maildir
mailbox_list_index = no
protocol imap {{
  {capability}
}}
protocol lmtp {{
  mail_plugins = sieve
  postmaster_address = postmaster@localhost
}}
plugin {{
  sieve = file:{self.folder}/sieve/%u;active={self.folder}/sieve/%u.sieve
  sieve_before = {self.folder}/sieve/before.sieve
}}
namespace inbox {{
  inbox = yes
  separator = {self._separator}
  prefix = {self._prefix}
{mailboxes}}}
{oauth}passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = scheme=PLAIN username_format=%Lu {self.folder}/users/%Lu
}}
userdb {{
  driver = passwd-file
  args = username_format=%Lu {self.folder}/users/%Lu
}}
{chroots}service imap-login {{
  service_count = 0
  process_limit = 20
  process_min_avail = 1
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = {self.imaps_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 400
}}
service lmtp {{
  process_limit = 20
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp_port}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 3000
  unix_listener sasl {{
    mode = 0666
  }}
}}
"""


_CAPABILITIES = (
    "IMAP4rev1", "SASL-IR", "LOGIN-REFERRALS", "ID", "ENABLE", "IDLE", "SORT", "THREAD=REFERENCES",
    "UNSELECT", "CHILDREN", "NAMESPACE", "UIDPLUS", "LIST-EXTENDED", "CONDSTORE", "QRESYNC",
    "ESEARCH", "MOVE", "LITERAL+", "SPECIAL-USE",
)  # fmt: skip


_LOWER_FILE_LIMIT = ("/bin/sh", "-c", 'ulimit -n 4096 || :; exec "$@"', "sh")
"""Dovecot allocates by the file limit: a container's million costs minutes and memory."""


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _current_user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _current_group() -> str:
    import grp

    return grp.getgrgid(os.getgid()).gr_name
