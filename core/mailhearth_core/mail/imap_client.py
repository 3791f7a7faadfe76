"""imapclient over our own wire, so that deadlines, budgets and the dialer hold for IMAP too."""

from __future__ import annotations

import base64
import imaplib
from collections.abc import Sequence
from typing import Any

from imapclient import IMAPClient

from mailhearth_core.mail.wire import Wire
from mailhearth_core.net import Deadline

MAX_LINE = 8 * 1024 * 1024


class _Protocol(imaplib.IMAP4):
    """imaplib whose bytes come from a `Wire`; the wire's errors pass through untouched."""

    # imaplib draws another prefix for its tags on each connection and compiles a pattern for it,
    # which costs more than all else about a command. A tag must differ within a connection only.
    tagpre = property(lambda self: b"T", lambda self, drawn: None)

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.held: list[bytes] | None = None
        """What is to leave in one write with what follows it; None: all leaves at once."""
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        self.host, self.port, self.sock = host, port, self.wire.sock

    def read(self, size: int) -> bytes:
        return self.wire.read_exact(size)

    def readline(self) -> bytes:
        return self.wire.read_line(MAX_LINE)

    def send(self, data: Any) -> None:
        if self.held is None:
            self.wire.send(bytes(data))
        else:
            self.held.append(bytes(data))

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

    def ask_sign_in(self, name: str, first: bytes) -> bytes:
        """AUTHENTICATE with the initial response in the command: SASL-IR, RFC 4959.

        Returns the command's tag, for `signed_in`.
        """
        said = base64.b64encode(first).decode() or "="
        tag: bytes = self._imap._command("AUTHENTICATE", name, said)
        return tag

    def signed_in(self, tag: bytes) -> None:
        """The server's answer to `ask_sign_in`."""
        self._untyped._checkok("login", *self._imap._command_complete("AUTHENTICATE", tag))
        self._imap.state = "AUTH"

    def ask_logout(self) -> bytes:
        """LOGOUT; returns its tag, for `logged_out`."""
        self._imap.state = "LOGOUT"
        tag: bytes = self._imap._command("LOGOUT")
        return tag

    def logged_out(self, tag: bytes) -> None:
        """The server's goodbye."""
        self._imap._command_complete("LOGOUT", tag)

    def list_and_examine(
        self, names: Sequence[str]
    ) -> tuple[list[tuple[tuple[bytes, ...], bytes, str]], list[dict[bytes, Any] | None]]:
        """LIST of all folders and EXAMINE of these, in one write (RFC 3501 section 5.5).

        Two EXAMINE are ambiguous in the RFC's sense, so that the server does one after the other
        and the last stays open. A folder that it refuses to open has None.
        """
        imap = self._imap
        imap.untagged_responses, imap.is_readonly, imap.held = {}, True, []
        try:
            listing = imap._command("LIST", '""', '"*"')
            opening = [
                imap._command("EXAMINE", self._untyped._normalise_folder(name)) for name in names
            ]
            together = b"".join(imap.held)
        finally:
            imap.held = None
        imap.send(together)
        # Each answer is looked at by itself: nothing in one that is untagged tells whose it is.
        refusal: imaplib.IMAP4.error | None = None
        try:
            self._untyped._checkok("list", *imap._command_complete("LIST", listing))
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            refusal = error  # what was asked besides is answered all the same
        lines = imap.untagged_responses.pop("LIST", [])
        opened: list[dict[bytes, Any] | None] = []
        for tag in opening:
            imap.untagged_responses = {}
            typ, _ = imap._get_tagged_response(tag)
            imap._check_bye()
            lines += imap.untagged_responses.pop("LIST", [])
            imap.state = "SELECTED" if typ == "OK" else "AUTH"
            found = imap.untagged_responses if typ == "OK" else None
            opened.append(found and self._untyped._process_select_response(found))
        if refusal is not None:
            raise refusal
        return self._untyped._proc_folder_list(lines), opened

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
