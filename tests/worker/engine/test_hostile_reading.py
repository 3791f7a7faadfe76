"""One mailbox on a reading server that is slow, endless or very full: what that costs, and whom."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from database import PASSWORD
from engine import MONDAY, Engine
from mailhearth_core.secrets import Secret
from mailhearth_local.sandbox.accounts import DemoUser, write_users
from mailhearth_worker import observe, work
from misbehaving_imap import HostileImap

ADDRESS = "strange@summit.test"
OPENED = b"* %d EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT %d] x\r\n"
HUGE = 50 * 1024 * 1024
DATED = b'INTERNALDATE "02-Mar-2026 09:00:00 +0000" FLAGS () RFC822.SIZE 52428800'


class Server:
    """A server with messages 1 to `count`, all of others but the one numbered `ours`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ours: tuple[int, bytes] | None = None
        self.commands: list[bytes] = []
        self.fetched: set[int] = set()
        self.section: Callable[[int], bytes] = self.honest
        self.literal = True
        self.late: Callable[[], None] = lambda: None

    def honest(self, uid: int) -> bytes:
        if self.ours is not None and self.ours[0] == uid:
            return self.ours[1]
        return b"Message-ID: <%d@others.test>\r\nFrom: a@others.test\r\n\r\n" % uid

    def answer(self, command: bytes) -> bytes:
        self.commands.append(command)
        self.late()
        if command.startswith((b"EXAMINE", b"SELECT")):
            junk = b"JUNK" in command
            return OPENED % ((0, 1) if junk else (self.count, self.count + 1))
        if command.startswith(b"UID SEARCH"):
            return b"* SEARCH" + b"".join(b" %d" % uid for uid in self._found(command)) + b"\r\n"
        if command.startswith(b"UID FETCH"):
            return b"".join(self._fetch(uid) for uid in _numbers(command))
        return b""

    def _found(self, command: bytes) -> Iterator[int]:
        if b"MESSAGE-ID" in command:
            return iter(() if self.ours is None else (self.ours[0],))
        first = re.search(rb"UID (\d+):\*", command)
        start = int(first[1]) if first else 1
        return iter(range(min(start, self.count), self.count + 1))

    def _fetch(self, uid: int) -> bytes:
        self.fetched.add(uid)
        text = self.section(uid)
        if not self.literal:
            return b"* %d FETCH (%s" % (uid, text)
        section = b"BODY[HEADER.FIELDS (FROM)]<0> {%d}\r\n%s" % (len(text), text)
        return b"* %d FETCH (UID %d %s %s)\r\n" % (uid, uid, DATED, section)


def _numbers(command: bytes) -> Iterator[int]:
    for first, last in re.findall(rb"(\d+)(?::(\d+))?", command.split(b" ")[2]):
        yield from range(int(first), int(last or first) + 1)


@dataclass
class Pair:
    """A mailbox on the server, and a good one that has sent it a message, not looked for yet."""

    workspace: UUID
    strange: UUID
    good: UUID
    sent: dict[str, Any]

    def header(self, uid: int) -> tuple[int, bytes]:
        """The message as it would arrive."""
        lines = f"Message-ID: {self.sent['message_id']}\r\nFrom: {self.sent['sender_address']}\r\n"
        return uid, f"{lines}\r\n".encode()


@contextmanager
def _served(engine: Engine, server: Server) -> Iterator[Pair]:
    serving = HostileImap(server.answer)
    try:
        installation = engine.installation
        workspace = installation.workspace("north")
        pool = installation.pool(workspace, pair_gap_hours=24, retention_hours=336)
        good = engine.connect(workspace, pool, engine.users[0])
        write_users(
            engine.post, [engine.users[0], DemoUser(ADDRESS, Secret(PASSWORD), "Strange", "Post")]
        )
        strange = installation.mailbox(
            workspace,
            pool,
            ADDRESS,
            tls="",
            imap=f"127.0.0.1:{serving.port}",
            imap_tls="none",
            smtp=f"127.0.0.1:{engine.info.smtps_port}",
            smtp_tls="implicit",
            ca=engine.info.ca_file,
        )
        for folder in ("INBOX", "Junk"):  # looked into once, when nothing was there
            engine.rows(
                "INSERT INTO folder_states (workspace_id, mailbox_id, folder, uidvalidity, "
                "uidnext, scanned_at) VALUES (%s, %s, %s, 1, 1, %s)",
                *(workspace, strange, folder, MONDAY),
            )
        for minutes in range(540, 1020, 5):
            engine.run_until(MONDAY + timedelta(minutes=minutes))
            found = engine.rows(
                "SELECT * FROM inbound WHERE state = 'in_flight' AND mailbox_id = %s", strange
            )
            if found:
                break
        yield Pair(workspace, strange, good, dict(found[0]))
    finally:
        engine.runtime.sessions.close()
        serving.close()


def _look(engine: Engine, pair: Pair) -> dict[str, Any]:
    """One look into the strange mailbox now; its row afterwards."""
    engine.ask_poll(pair.workspace, pair.strange, engine.now)
    engine.drain(pair.workspace, pair.strange)
    row = engine.one("SELECT * FROM mailboxes WHERE id = %s", pair.strange)
    assert row["state"] == "active"
    assert "Something unexpected" not in row["last_error"]
    return row


def _inbound(engine: Engine, pair: Pair) -> tuple[str, str | None]:
    row = engine.one("SELECT state, placement FROM inbound WHERE id = %s", pair.sent["id"])
    return row["state"], row["placement"]


def _waits(engine: Engine, pair: Pair) -> list[timedelta]:
    """How long each look that is planned has to wait, of those that failed."""
    rows = engine.rows(
        "SELECT due_at FROM action WHERE mailbox_id = %s AND kind = 'poll' "
        "AND state = 'pending' AND reason <> ''",
        pair.strange,
    )
    return [row["due_at"] - engine.now for row in rows]


def test_200_000_messages_are_read_bit_by_bit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(200_000)
    monkeypatch.setattr(observe, "MOST", 1_000)
    with _served(engine, server) as pair:
        server.ours = pair.header(1_700)
        for looks, last in ((1, 1_000), (2, 2_000)):
            assert _look(engine, pair)["last_error"] == ""
            assert server.fetched == set(range(1, last + 1))
            state = engine.one(
                "SELECT uidnext FROM folder_states WHERE mailbox_id = %s AND folder = 'INBOX'",
                pair.strange,
            )
            assert state["uidnext"] == last + 1, looks
        assert _inbound(engine, pair) == ("observed", "inbox")


def test_a_folder_made_anew_with_200_000_messages_is_looked_at_from_its_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(200_000)
    monkeypatch.setattr(observe, "MOST", 1_000)
    with _served(engine, server) as pair:
        engine.rows("UPDATE folder_states SET uidvalidity = 7 WHERE mailbox_id = %s", pair.strange)
        server.ours = pair.header(199_500)
        assert _look(engine, pair)["last_error"] == ""
        assert min(server.fetched) == 199_001
        assert _inbound(engine, pair) == ("observed", "inbox")


def test_of_a_message_of_50_megabytes_only_headers_are_read(engine: Engine) -> None:
    server = Server(3)
    with _served(engine, server) as pair:
        server.ours = pair.header(3)
        assert _look(engine, pair)["last_error"] == ""
        assert _inbound(engine, pair) == ("observed", "inbox")
    fetches = [command for command in server.commands if b"FETCH" in command]
    assert fetches
    assert all(b"BODY.PEEK[HEADER.FIELDS" in command for command in fetches)
    assert all(re.search(rb"<0\.\d{1,5}>", command) for command in fetches)


@pytest.mark.parametrize("literal", [True, False])
def test_50_megabytes_that_nobody_asked_for_are_not_taken(engine: Engine, literal: bool) -> None:
    server = Server(3)
    with _served(engine, server) as pair:
        server.ours = pair.header(3)
        server.section = lambda uid: b"x" * HUGE
        server.literal = literal
        row = _look(engine, pair)
        assert row["last_error"].startswith("The server"), row["last_error"]
        assert _waits(engine, pair) == [timedelta(minutes=1)]
        server.section, server.literal = server.honest, True  # and it is well again
        engine.set_clock(engine.now + timedelta(minutes=1))
        assert _look(engine, pair)["last_error"] == ""
        assert _inbound(engine, pair) == ("observed", "inbox")
        good = engine.one("SELECT last_error FROM mailboxes WHERE id = %s", pair.good)
        assert good["last_error"] == ""


class Clock:
    """The worker's own clock, which goes on only when a server takes its time."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        return self.at


@pytest.mark.parametrize("takes", [25.0, 5.0])
def test_a_server_that_answers_each_step_late_holds_no_worker(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, log_lines: io.StringIO, takes: float
) -> None:
    """Each answer comes within its deadline; together they outlive a lease many times."""
    server, clock = Server(700), Clock()
    renewed: list[float] = []
    renew = work.SQL.renew_lease

    def noted(*args: Any, **more: Any) -> Any:
        renewed.append(clock.at)
        return renew(*args, **more)

    with _served(engine, server) as pair:
        server.ours = pair.header(3)
        engine.runtime.sessions.close()
        monkeypatch.setattr(work, "time", clock)
        monkeypatch.setattr(work.SQL, "renew_lease", noted)
        began = clock.at
        server.late = lambda: setattr(clock, "at", clock.at + takes)
        row = _look(engine, pair)
        lease = engine.runtime.settings.lease_seconds
        moments = [began, *renewed, clock.at]
        assert len(renewed) >= 2
        assert max(b - a for a, b in pairwise(moments)) < lease
        if takes > 20:
            assert row["last_error"].startswith("The server takes too long")
            assert _waits(engine, pair) == [timedelta(minutes=1)]
            assert clock.at - began < work.LONGEST_S + 2 * takes
        else:
            assert row["last_error"] == ""
            assert _inbound(engine, pair) == ("observed", "inbox")
        assert "lease_lost" not in log_lines.getvalue()
