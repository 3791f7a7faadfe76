"""A private Postfix on loopback for tests, delivering into a `DovecotServer` by LMTP.

It has its own configuration, queue and data folders and never touches the system's instance.
Postfix's master needs root; `require_postfix` skips elsewhere. Authentication and the recipient
list are Dovecot's; mail for unknown domains is refused, so nothing leaves the machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import pytest

from dovecot import DovecotServer, free_port, wait_until_listening

_PATH = os.environ.get("PATH", "") + ":/usr/sbin"


def require_postfix() -> None:
    """Skips the calling test where Postfix is missing or cannot be started."""
    if shutil.which("postfix", path=_PATH) is None:
        pytest.skip("Postfix is missing: apt-get install postfix (type: no configuration)")
    if os.getuid() != 0:
        pytest.skip("Postfix can only be started by root: run these tests as root (a container)")


class PostfixServer:
    """One Postfix process tree; a context manager, or `start()` and `stop()`.

    Args:
        dovecot: a started server; its users are the local recipients and may submit mail.
        domains: virtual domains beyond those of Dovecot's users.

    Ports: `submission_port` (STARTTLS, sign-in required), `submissions_port` (implicit TLS, sign-in
    required), `mx_port` (no sign-in; takes mail for the virtual domains only, as port 25 would).
    Certificates are Dovecot's; check them against `ca_pem`.
    """

    host = "127.0.0.1"

    def __init__(self, dovecot: DovecotServer, *, domains: Iterable[str] = ()) -> None:
        self._dovecot = dovecot
        self._domains = set(domains)
        self._answers: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.mx_port, self.submission_port = free_port(), free_port()
        self.submissions_port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Writes the configuration, starts Postfix and returns when it listens."""
        self.ca_pem, self.ca_path = self._dovecot.ca_pem, self._dovecot.ca_path
        self.folder = Path(tempfile.mkdtemp(prefix="mh-postfix-"))
        self.folder.chmod(0o755)
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir(mode=0o755)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        (self.folder / "etc" / "main.cf").write_text(self._main())
        (self.folder / "etc" / "master.cf").write_text(self._master())
        self._write_maps()
        with (self.folder / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [self._program("postfix"), "-c", str(self.folder / "etc"), "start-fg"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            for port in (self.mx_port, self.submission_port, self.submissions_port):
                wait_until_listening(port, self._process, "Postfix")
        except RuntimeError as error:
            text = self.log_text()
            self.stop()
            raise RuntimeError(f"{error}; its log:\n{text}") from error

    def stop(self) -> None:
        """Ends the process tree and removes the folder; harmless when not running."""
        if self._process is not None:
            # The process started is only the parent; the master takes its children with it.
            pid_file = self.folder / "queue" / "pid" / "master.pid"
            if self._process.poll() is None and pid_file.exists():
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
            else:
                self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_user(self, address: str, password: str) -> None:
        """Makes `address` a mailbox that may send and receive; in effect when this returns."""
        self._dovecot.add_user(address, password)
        self._write_maps()

    def answer(self, recipient: str, reply: str) -> None:
        """From now on RCPT for `recipient` gets `reply`, such as `450 4.2.0 Greylisted`."""
        self._answers[recipient] = reply
        self._write_maps()

    def queue_is_empty(self) -> bool:
        """True when nothing waits for delivery."""
        queues = ("maildrop", "incoming", "active", "deferred")
        return not any(p.is_file() for q in queues for p in (self.folder / "queue" / q).rglob("*"))

    def wait_until_delivered(self, deadline_s: float = 15.0) -> None:
        """Returns when the queue has run empty; fails with the log when it does not in time."""
        end = time.monotonic() + deadline_s
        while not self.queue_is_empty():
            if time.monotonic() > end:
                raise RuntimeError(f"mail still queued; Postfix's log:\n{self.log_text()}")
            time.sleep(0.02)

    def log_text(self) -> str:
        """All that Postfix has logged, for failure messages."""
        paths = [self.folder / "console.log", self.folder / "postfix.log"]
        return "\n".join(p.read_text(errors="replace") for p in paths if p.exists())

    # -- configuration ----------------------------------------------------------------------

    @staticmethod
    def _program(name: str) -> str:
        path = shutil.which(name, path=_PATH)
        assert path is not None, "call require_postfix() first"
        return path

    def _write_maps(self) -> None:
        users = list(self._dovecot.users)
        domains = sorted(self._domains | {user.rpartition("@")[2] for user in users})
        self._write_map("domains", dict.fromkeys(domains, "ok"))
        self._write_map("recipients", dict.fromkeys(users, "ok"))
        self._write_map("answers", self._answers)

    def _write_map(self, name: str, entries: dict[str, str]) -> None:
        """Builds the table aside and renames it: Postfix sees a replaced file at once, but a
        rewritten one only when its whole second of change differs."""
        fresh = self.folder / "etc" / f"new-{name}"
        fresh.write_text("".join(f"{key} {value}\n" for key, value in entries.items()))
        subprocess.run(
            [self._program("postmap"), "-c", str(self.folder / "etc"), f"hash:{fresh}"], check=True
        )
        for suffix in ("", ".db"):
            Path(f"{fresh}{suffix}").replace(self.folder / "etc" / f"{name}{suffix}")

    def _main(self) -> str:
        etc = self.folder / "etc"
        return f"""\
compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
maillog_file = {self.folder}/postfix.log
maillog_file_prefixes = {self.folder}
myhostname = mail.test
mydomain = test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
biff = no
append_dot_mydomain = no
default_database_type = hash
default_transport = error:this test server sends nothing outside
relay_transport = error:this test server sends nothing outside
virtual_mailbox_domains = hash:{etc}/domains
virtual_mailbox_maps = hash:{etc}/recipients
virtual_transport = lmtp:inet:127.0.0.1:{self._dovecot.lmtp_port}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {self._dovecot.certificate_path}
smtpd_tls_key_file = {self._dovecot.key_path}
smtpd_tls_session_cache_database =
smtpd_sasl_type = dovecot
smtpd_sasl_path = {self._dovecot.auth_socket}
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access hash:{etc}/answers
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_junk_command_limit = 1000
smtpd_forbid_bare_newline = yes
message_size_limit = 2000000
minimal_backoff_time = 1s
maximal_backoff_time = 5s
queue_run_delay = 2s
in_flow_delay = 0
"""

    def _master(self) -> str:
        private = [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "proxywrite unix - - n - 1 proxymap",
            "smtp unix - - n - - smtp",
            "relay unix - - n - - smtp",
            "showq unix n - n - - showq",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            "lmtp unix - - n - - lmtp",
            "anvil unix - - n - 1 anvil",
            "scache unix - - n - 1 scache",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        signed_in = (
            "  -o smtpd_sasl_auth_enable=yes\n"
            "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n"
        )
        return (
            f"127.0.0.1:{self.mx_port} inet n - n - - smtpd\n"
            f"127.0.0.1:{self.submission_port} inet n - n - - smtpd\n"
            f"  -o smtpd_tls_security_level=may\n{signed_in}"
            f"127.0.0.1:{self.submissions_port} inet n - n - - smtpd\n"
            f"  -o smtpd_tls_wrappermode=yes\n{signed_in}" + "\n".join(private) + "\n"
        )
