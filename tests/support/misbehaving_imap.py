"""An IMAP server that fails at chosen commands, in front of the sandbox's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from man_in_the_middle import ManInTheMiddle, Side

FAULTS: Mapping[str, float] = {
    "drop_mid_fetch": 0.08,
    "refuse_login": 0.15,
    "quota": 0.40,
}
"""Share of the commands concerned (FETCH, signing in, MOVE and COPY) that meet each fault."""


class MisbehavingImap(ManInTheMiddle):
    """Draws a fault for each command that it concerns, from a seed; `injected` counts them."""

    def __init__(
        self, post: Path, upstream: int, seed: int, faults: Mapping[str, float] = FAULTS
    ) -> None:
        self._chance = Random(seed)
        self.faults = faults
        self.injected: Counter[str] = Counter()
        super().__init__(post, upstream)

    def _meets(self, fault: str) -> bool:
        if self._chance.random() >= self.faults.get(fault, 0.0):
            return False
        self.injected[fault] += 1
        return True

    def serve(self, client: Side, server: Side) -> None:
        cut = threading.Event()
        back = threading.Thread(target=_answers, args=(client, server, cut), daemon=True)
        back.start()
        try:
            while line := client.line():
                tag, _, rest = line.partition(b" ")
                command = rest.upper()
                if command.startswith((b"LOGIN", b"AUTHENTICATE")) and self._meets("refuse_login"):
                    client.send(tag + b" NO [AUTHENTICATIONFAILED] Not today\r\n")
                    continue
                if command.startswith((b"UID MOVE", b"UID COPY")) and self._meets("quota"):
                    client.send(tag + b" NO [OVERQUOTA] The mailbox is full\r\n")
                    continue
                if command.startswith(b"UID FETCH") and self._meets("drop_mid_fetch"):
                    cut.set()
                server.send(line)
        finally:
            server.close()
            back.join(5)


def _answers(client: Side, server: Side, cut: threading.Event) -> None:
    """Hands on what the server says; half of the next piece, then nothing, once `cut` is set."""
    try:
        while chunk := server.chunk():
            if cut.is_set():
                client.send(chunk[: len(chunk) // 2])
                break
            client.send(chunk)
    except OSError:
        pass  # either end hung up
    finally:
        client.close()


def change_uidvalidity(client: Any, folder: str) -> tuple[int, int]:
    """Gives a folder another UIDVALIDITY and its messages other UIDs, as a restored server would.

    Args:
        client: an `IMAPClient` that is signed in to the sandbox itself.
    Returns:
        the values before and after.
    """
    before = client.folder_status(folder, ["UIDVALIDITY"])[b"UIDVALIDITY"]
    client.rename_folder(folder, "Aside")
    if not client.folder_exists(folder):
        client.create_folder(folder)
    client.append(folder, b"Subject: moved\r\n\r\nThis server was moved.\r\n")
    count = client.select_folder("Aside")[b"EXISTS"]
    if count:
        client.copy("1:*", folder)
    client.close_folder()
    client.delete_folder("Aside")
    after = client.folder_status(folder, ["UIDVALIDITY"])[b"UIDVALIDITY"]
    return before, after


class HostileImap:
    """A server of its own (plain, on loopback) that signs anybody in, and then does its worst.

    Args:
        answer: what it says to a command (in capitals, without its tag) before `OK`; None lets it
            say a byte every tenth of a second, for ever.
    """

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self.asked: Counter[bytes] = Counter()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # its thread may have closed it
                connection.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepting, *self._threads):
            thread.join(20)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            self._connections.append(connection)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(15)
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(b"* OK [CAPABILITY IMAP4rev1] hello\r\n")
            for line in lines:
                tag, _, rest = line.strip().partition(b" ")
                command = rest.upper()
                self.asked[command.partition(b" ")[0]] += 1
                if command == b"CAPABILITY":
                    connection.sendall(b"* CAPABILITY IMAP4rev1\r\n")
                elif command.startswith(b"LIST"):
                    connection.sendall(b'* LIST () "/" INBOX\r\n* LIST (\\Junk) "/" Junk\r\n')
                elif not command.startswith((b"LOGIN", b"LOGOUT")):
                    said = self._answer(command)
                    while said is None and not self._closing.wait(0.1):
                        connection.sendall(b"*")
                    connection.sendall(said or b"")
                connection.sendall(tag + b" OK done\r\n")
