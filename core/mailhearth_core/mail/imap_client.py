"""imapclient over our own wire, so that deadlines, budgets and the dialer hold for IMAP too."""

from __future__ import annotations

import base64
import imaplib
from typing import Any

from imapclient import IMAPClient

from mailhearth_core.mail.wire import Wire
from mailhearth_core.net import Deadline

MAX_LINE = 8 * 1024 * 1024


class _Protocol(imaplib.IMAP4):
    """imaplib whose bytes come from a `Wire`; the wire's errors pass through untouched."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        self.host, self.port, self.sock = host, port, self.wire.sock

    def read(self, size: int) -> bytes:
        return self.wire.read_exact(size)

    def readline(self) -> bytes:
        return self.wire.read_line(MAX_LINE)

    def send(self, data: Any) -> None:
        self.wire.send(bytes(data))

    def shutdown(self) -> None:
        self.wire.close()

    def _get_capabilities(self) -> None:
        """Asks only where the greeting did not tell them (RFC 3501 section 7.1)."""
        told = self.untagged_responses.pop("CAPABILITY", None)
        if told and isinstance(told[-1], bytes):
            self.capabilities = tuple(told[-1].decode("ascii", "replace").upper().split())
        else:
            getattr(super(), "_get_capabilities")()  # noqa: B009 - imaplib has no types for it


class WireClient(IMAPClient):
    """An IMAPClient on a wire that is already open; reads the greeting when made.

    Dates come back aware. The library's own logging, which would show what is sent, is off.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(host="", port=0, ssl=False)
        self._imap.debug = 0
        self.normalise_times = False

    def _create_IMAP4(self) -> imaplib.IMAP4:
        return _Protocol(self._wire)

    @property
    def _untyped(self) -> Any:
        """Itself, for the library's inner methods, which carry no types."""
        return self

    @property
    def before_login(self) -> frozenset[str]:
        """Capabilities offered before signing in, in capitals."""
        return frozenset(name.upper() for name in self._imap.capabilities)

    @property
    def preauthenticated(self) -> bool:
        return bool(self._imap.state != "NONAUTH")

    def secure(self, deadline: Deadline) -> None:
        """STARTTLS, then the capabilities anew (RFC 3501 section 6.2.1)."""
        self._untyped._checkok("starttls", *self._imap._simple_command("STARTTLS"))
        self._wire.start_tls(deadline)
        self._imap.sock = self._wire.sock
        self._starttls_done = True
        self._imap.untagged_responses.pop("CAPABILITY", None)
        self._imap._get_capabilities()

    def login_plainly(self, username: str, password: str) -> None:
        """The LOGIN command; imaplib quotes only the password itself."""
        quoted = '"' + username.replace("\\", "\\\\").replace('"', '\\"') + '"'
        self._command_and_check("login", quoted, password)

    def sasl_at_once(self, name: str, first: bytes) -> None:
        """AUTHENTICATE with the initial response in the command: SASL-IR, RFC 4959."""
        said = base64.b64encode(first).decode() or "="
        self._untyped._checkok("login", *self._imap._simple_command("AUTHENTICATE", name, said))
        self._imap.state = "AUTH"

    def forget_capabilities(self) -> None:
        """They change by signing in."""
        self._cached_capabilities = None

    def list_special(self) -> list[tuple[tuple[bytes, ...], bytes, str]]:
        """LIST of the folders with a special use only (RFC 6154 section 2)."""
        typ, data = self._imap._simple_command("LIST", "(SPECIAL-USE)", '""', '"*"')
        self._untyped._checkok("list", typ, data)
        typ, data = self._imap._untagged_response(typ, data, "LIST")
        listed: list[tuple[tuple[bytes, ...], bytes, str]] = self._untyped._proc_folder_list(data)
        return listed

    def take_copy_uids(self) -> bytes | None:
        """The data of the last COPYUID response code (RFC 4315), once."""
        found = self._imap.untagged_responses.pop("COPYUID", None)
        return found[-1] if found else None
