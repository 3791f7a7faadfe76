"""Mail sessions over a socket pair whose other end has said everything beforehand.

No port and no waiting: thousands of answers in seconds. `TAG1 `, `TAG2 ` ... stand for the tags of
the IMAP commands that are sent.
"""

from __future__ import annotations

import imaplib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from unittest.mock import patch

from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.imap_client import WireClient
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.mail.wire import Wire
from mailhearth_core.net import Deadline, Dialed, Dialer

SECONDS = 5.0
ABLE = (b"IMAP4REV1", b"SPECIAL-USE", b"NAMESPACE", b"MOVE", b"UIDPLUS", b"CONDSTORE")
GREETING = b"* OK hello\r\n* CAPABILITY IMAP4rev1\r\nTAG0 OK done\r\n"


@contextmanager
def _wire(said: bytes) -> Iterator[Wire]:
    ours, theirs = socket.socketpair()
    speaker = threading.Thread(target=_speak, args=(theirs, said))
    speaker.start()
    wire = Wire(Dialer(ZoneResolver({})), Dialed(ours, "x.test", ip_address("127.0.0.1")), None)
    try:
        yield wire
    finally:
        ours.close()
        speaker.join(SECONDS)
        theirs.close()


def _speak(sock: socket.socket, said: bytes) -> None:
    """Says it all, then nothing more, and hears whatever comes."""
    try:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    except OSError:
        pass  # the client has had enough


@contextmanager
def imap_hearing(said: bytes) -> Iterator[ImapSession]:
    """A session that has read a greeting; what it is told next is `said`."""
    whole = re.sub(rb"TAG(\d{1,3}) ", rb"T\1 ", GREETING + said)
    with patch.object(imaplib, "Int2AP", lambda number: b"T"), _wire(whole) as wire:
        session = ImapSession(wire, SECONDS, [])
        wire.step(Deadline(SECONDS), 65536)
        session._client = WireClient(wire)
        session._client._imap.state = "SELECTED"
        session._client._cached_capabilities = ABLE
        yield session


@contextmanager
def smtp_hearing(said: bytes) -> Iterator[SmtpSession]:
    """A session that has not read anything yet."""
    with _wire(said) as wire:
        yield SmtpSession(wire, SECONDS, [])
