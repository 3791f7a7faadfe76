"""Three virtual days between twenty mailboxes on Dovecot and Postfix, started as a user would.

Two workspaces peer with each other over three domains. Part of the mail is filed into Junk by a
Sieve rule that the test can work out itself. The mailboxes are watched on disk while it runs, since
warmup mail is gone once its retention is over.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient

from cli import CommandLine
from dovecot import DovecotServer, require_dovecot
from mailhearth_local.services.attach import attach
from postfix import PostfixServer, require_postfix
from waiting import wait_for

DOMAINS = ("alder.test", "birch.test", "cedar.test")
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC", "Pacific/Auckland")
PEOPLE = (
    "Ada Quist", "Ben Orlov", "Cleo Marsh", "Dag Hansen", "Eva Lindt", "Fay Tanaka", "Gil Prado",
    "Hal Brink", "Ivy Coste", "Jon Vega", "Kim Storm", "Lou Adler", "Max Ferrer", "Nia Okoro",
    "Ole Bakke", "Pia Weiss", "Quin Rao", "Rae Doyle", "Sol Nunez", "Tia Varga",
)  # fmt: skip
COLUMNS = (
    *("address", "imap", "smtp", "tls", "ca", "username", "password"),
    *("name", "timezone", "consent"),
)
JUNK_RULE = ("6", "9")
"""A message whose Message-ID begins with one of these (after the bracket) goes to Junk."""


@dataclass(frozen=True)
class Person:
    """One mailbox."""

    name: str
    address: str
    password: str
    zone: str
    workspace: str


PERSONS = [
    Person(
        name,
        f"{name.split()[0].lower()}@{DOMAINS[number % 3]}",
        f"pass-{number}-word",
        ZONES[number % 5],
        "north" if number < 10 else "south",
    )
    for number, name in enumerate(PEOPLE)
]


@dataclass
class Watcher:
    """Keeps every message that was ever in a mailbox's maildir, and the folders it was seen in."""

    root: Path
    raw: dict[tuple[str, str], bytes] = field(default_factory=dict)
    folders: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    copies: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _known: dict[Path, tuple[str, str] | None] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.look()

    def look(self) -> set[tuple[str, str]]:
        """Reads what is new; returns (address, Message-ID) of all that is there now."""
        present: set[tuple[str, str]] = set()
        for path in self.root.glob("*/Maildir/**/*"):
            if path.parent.name not in ("new", "cur"):
                continue
            unique = path.with_name(path.name.partition(":")[0])  # flags change the name
            if unique not in self._known:
                try:
                    content = path.read_bytes()
                except OSError:
                    continue  # moved while we looked: seen again at its new place
                address = path.relative_to(self.root).parts[0]
                message_id = message_from_bytes(content)["Message-ID"]
                self._known[unique] = (address, message_id) if message_id else None
                if message_id:
                    folder = path.parent.parent.name
                    self.raw[(address, message_id)] = content
                    self.folders.setdefault((address, message_id), set()).add(folder)
            found = self._known[unique]
            if found is not None:
                present.add(found)
        return present


@pytest.fixture(scope="module")
def post() -> Iterator[tuple[DovecotServer, PostfixServer]]:
    require_dovecot()
    require_postfix()
    dovecot = DovecotServer({person.address: person.password for person in PERSONS})
    with dovecot, PostfixServer(dovecot, domains=DOMAINS) as postfix:
        for digit in JUNK_RULE:
            dovecot.junk_when(f'header :matches "message-id" "<{digit}*"')
        yield dovecot, postfix


def write_zone(folder: Path, mx_port: int) -> Path:
    """The test domains' DNS."""
    zone = {
        name: {"a": ["127.0.0.1"], "mx": [{"host": f"mx.{name}", "port": mx_port}]}
        for name in DOMAINS
    } | {f"mx.{name}": {"a": ["127.0.0.1"]} for name in DOMAINS}
    path = folder / "zone.json"
    path.write_text(json.dumps(zone))
    return path


def set_up(line: CommandLine, dovecot: DovecotServer, postfix: PostfixServer) -> None:
    """A sandbox installation with two workspaces, a pool in each, and ten mailboxes in each."""
    up = line.start("up", "--day-seconds", "30")
    wait_for(lambda: (line.data / "run.json").exists() or up.poll() is not None, 60)
    try:
        for workspace in ("north", "south"):
            line.run("workspace", "create", workspace)
            line.run(
                *("pool", "create", "main", "--workspace", workspace),
                *("mode=custom", "start_volume=5", "step=1", "cap=20"),
                *("peering_scope=network", "pair_gap_hours=24", "retention_hours=12"),
                *("reply_delay_min_minutes=45", "reply_delay_max_minutes=660"),
            )
    finally:
        up.send_signal(signal.SIGINT)
    assert up.wait(60) == 0
    for workspace in ("north", "south"):
        table = line.data.parent / f"{workspace}.csv"
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for person in PERSONS:
                if person.workspace == workspace:
                    writer.writerow(
                        [
                            *(person.address, f"127.0.0.1:{dovecot.imaps_port}"),
                            *(f"127.0.0.1:{postfix.submissions_port}", "implicit"),
                            *(str(dovecot.ca_path), person.address, person.password),
                            *(person.name, person.zone, "network"),
                        ]
                    )
        line.run("mailbox", "import", str(table), "--workspace", workspace, "--pool", "main")


def personal_mail(dovecot: DovecotServer) -> dict[str, list[tuple[str, bytes, tuple[str, ...]]]]:
    """Plants mail of others in every mailbox; returns what must still be there at the end."""
    planted: dict[str, list[tuple[str, bytes, tuple[str, ...]]]] = {}
    for number, person in enumerate(PERSONS):
        planted[person.address] = [
            ("INBOX", letter(person, "Dentist on Friday", number), ()),
            ("INBOX", letter(person, "Invoice 2231", number + 100), ("\\Seen", "\\Flagged")),
            ("Junk", letter(person, "You have won", number + 200), ()),
            ("Family", letter(person, "Photos", number + 300), ("\\Seen", "Holiday")),
        ]
        with sign_in(dovecot, person) as client:
            client.create_folder("Family")
            for folder, raw, flags in planted[person.address]:
                client.append(folder, raw, flags)
    return planted


def letter(person: Person, subject: str, number: int) -> bytes:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "Somebody Else <somebody@elsewhere.test>"
    message["To"] = person.address
    message["Subject"] = subject
    message["Message-ID"] = f"<private-{number}@elsewhere.test>"
    message.set_content("This is nobody's business but mine.\n")
    return message.as_bytes()


def sign_in(dovecot: DovecotServer, person: Person) -> IMAPClient:
    client = IMAPClient("127.0.0.1", dovecot.imap_port, ssl=False)
    client.login(person.address, person.password)
    return client


def messages_of(line: CommandLine) -> list[dict[str, Any]]:
    """Every message as the product recorded it. Starts the database alone: nothing moves on."""
    with attach(line.data, os.environ) as here, here.cli.tx() as conn:
        return conn.execute(
            "SELECT m.*, b.address AS sender, r.address AS recipient FROM admin.messages m "
            "JOIN admin.mailboxes b ON b.mailbox_id = m.mailbox_id "
            "LEFT JOIN admin.mailboxes r ON r.mailbox_id = m.recipient_id "
            "WHERE m.state <> 'cancelled'"
        ).fetchall()


def test_three_days_on_real_servers(
    post: tuple[DovecotServer, PostfixServer], tmp_path: Path
) -> None:
    dovecot, postfix = post
    zone = write_zone(tmp_path, postfix.mx_port)
    line = CommandLine(tmp_path / "data", {"MAILHEARTH_ZONE_FILE": str(zone)})
    set_up(line, dovecot, postfix)
    planted = personal_mail(dovecot)
    report_file = tmp_path / "report.json"
    with Watcher(dovecot.folder / "mail") as watcher:
        line.run(
            *("up", "--days", "3", "--day-seconds", "30", "--report", str(report_file)),
            seconds=540,
        )
    left = watcher.look()
    report = json.loads(report_file.read_text())
    messages = messages_of(line)

    # Every planned message was sent once and found, and nothing was skipped.
    assert report["planned"] == report["sent"] == report["delivered"] == len(messages), report
    assert report["planned"] > 200
    for name in ("skipped", "duplicates", "lost", "missing", "unobservable", "uncertain", "other"):
        assert report[name] == 0, (name, report)
    assert {message["state"] for message in messages} == {"sent"}
    arrived = {key for key in watcher.raw if not key[1].startswith("<private-")}
    assert arrived == {(m["recipient"], m["message_id"]) for m in messages}

    # Its placement was recorded right, and junk was rescued.
    for message in messages:
        junk = message["message_id"][1] in JUNK_RULE
        assert message["first_placement"] == ("junk" if junk else "inbox"), message
        assert (message["rescued_at"] is not None) == junk, message
    assert report["junk"] == report["rescued"] > 0
    assert report["inbox"] + report["junk"] == report["sent"]

    # Replies are threaded on what arrived in the answering mailbox.
    replies = [message for message in messages if message["kind"] == "reply"]
    assert len(replies) == report["replied"] > 20
    for reply in replies:
        parsed = message_from_bytes(
            watcher.raw[(reply["recipient"], reply["message_id"])], policy=policy.default
        )
        answered = parsed["In-Reply-To"].strip()
        assert (reply["sender"], answered) in arrived, reply
        assert parsed["References"].split()[-1] == answered
        assert parsed["Subject"].lower().startswith("re: ")
        original = message_from_bytes(
            watcher.raw[(reply["sender"], answered)], policy=policy.default
        )
        assert original["From"].addresses[0].addr_spec == reply["recipient"]
        apart = parsedate_to_datetime(parsed["Date"]) - parsedate_to_datetime(original["Date"])
        assert apart > timedelta(minutes=45), apart
    cross = [m for m in messages if workspace_of(m["sender"]) != workspace_of(m["recipient"])]
    assert len(cross) > 50

    # Mail was filed, and gone once its retention was over.
    filed = [m for m in messages if m["filed_at"] is not None]
    assert len(filed) > len(messages) / 2
    for message in filed:
        assert ".Mailhearth" in watcher.folders[(message["recipient"], message["message_id"])]
    expunged = [m for m in messages if m["expunged_at"] is not None]
    assert len(expunged) > len(messages) / 3
    still = left & {(m["recipient"], m["message_id"]) for m in expunged}
    assert not still
    end = max(m["observed_at"] for m in messages)
    overdue = [
        m
        for m in messages
        if m["expunged_at"] is None and m["observed_at"] < end - timedelta(hours=14)
    ]
    assert overdue == []

    # Personal mail is where it was, byte for byte, flags included.
    for person in PERSONS:
        with sign_in(dovecot, person) as client:
            for folder, raw, flags in planted[person.address]:
                client.select_folder(folder, readonly=True)
                own = message_from_bytes(raw)["Message-ID"]
                (uid,) = client.search(["HEADER", "Message-ID", own])
                found = client.fetch([uid], ["BODY.PEEK[]", "FLAGS"])[uid]
                assert found[b"BODY[]"] == raw
                kept = {flag.decode() for flag in found[b"FLAGS"]} - {"\\Recent"}
                assert kept == set(flags)


def workspace_of(address: str) -> str:
    return next(person.workspace for person in PERSONS if person.address == address)
