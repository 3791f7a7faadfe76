"""Three hundred messages through servers that fail, and the count of what arrived.

The truth is the sandbox's own record of every delivery ever, by Message-ID; the database says what
the product believes. `Campaign.check` compares the two for each single message.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from database import TestInstallation
from engine import MONDAY, Engine
from mailhearth_core.mail import imap_link, smtp
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.providers.imap_smtp.provider import ImapSmtpProvider
from mailhearth_core.secrets import Secret
from mailhearth_local.sandbox.accounts import DemoUser, write_users
from mailhearth_local.sandbox.domains import DOMAINS

MESSAGES = 300
EACH = 10
"""Messages that one mailbox sends on its one day."""
OPEN = ("planned", "bound", "sending", "uncertain")
TERMINAL = ("sent", "bounced", "failed", "skipped", "cancelled", "unconfirmed")
EVIDENCE = ("smtp", "recipient", "sent_folder", "dsn")
HELD = (
    "SELECT kind, state, reason FROM action WHERE state IN ('leased', 'sending') "
    "OR (kind = 'send' AND state IN ('waiting', 'pending'))"
)
AWAITED = "SELECT message_id FROM inbound WHERE state IN ('expected', 'in_flight')"
NO_DEEDS = """
CREATE FUNCTION no_deeds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.kind IN (KINDS) THEN
    NEW.state := 'cancelled';
    NEW.reason := 'not in this campaign';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER no_deeds BEFORE INSERT ON action FOR EACH ROW EXECUTE FUNCTION no_deeds();
"""
SHORT_S = 0.4
"""How long a campaign's clients wait for a server that hangs."""


@dataclass(frozen=True)
class Outcome:
    """What became of a campaign's messages."""

    states: Counter[str]
    sent: int
    delivered: int
    doubled: list[str]
    lost: list[str]
    unknown: list[str]
    open: list[str]


class Campaign:
    """An engine with so many mailboxes that they send `messages` in one day.

    Args:
        rescue: also move mail out of junk. What else a reader does with it is left out: a campaign
            looks at the way of the mail.
    """

    def __init__(
        self,
        installation: TestInstallation,
        folder: Path,
        *,
        messages: int = MESSAGES,
        rescue: bool = False,
    ) -> None:
        people = max(messages // EACH, 4) + 1
        write_users(folder / "sandbox", [_person(number) for number in range(people)])
        self.engine = Engine(installation, folder)
        self.workspace: UUID = installation.workspace("north")
        self.pool: UUID = installation.pool(
            self.workspace,
            mode="custom",
            start_volume=EACH,
            step=0,
            cap=EACH,
            pair_gap_hours=24,
            recipient_floor=2 * EACH,
            min_gap_seconds=60,
            weekdays="mon,tue,wed,thu,fri,sat,sun",
            reply_delay_min_minutes=30,
            reply_delay_max_minutes=240,
            retention_hours=336,
        )
        self.mailboxes: dict[str, UUID] = {}
        kinds = "'read', 'flag', 'file', 'expunge', 'expunge_sent'"
        self.engine.rows(NO_DEEDS.replace("KINDS", kinds if rescue else f"{kinds}, 'rescue'"))

    def connect(self, *, imap: int = 0, smtp: int = 0) -> None:
        """Connects everybody, through a proxy's port where one is given."""
        servers = {
            name: f"127.0.0.1:{port}" for name, port in (("imap", imap), ("smtp", smtp)) if port
        }
        for user in self.engine.users:
            self.mailboxes[user.address] = self.engine.connect(
                self.workspace, self.pool, user, **servers
            )

    def plan(self) -> None:
        """Signs in to all mailboxes and sizes their one day.

        A first sign-in that fails (the sandbox may cut one off under load) is tried again.
        """
        for _ in range(10):
            self.engine.settle_down()
            if self.engine.one("SELECT count(*) AS n FROM day_sizes")["n"] >= len(self.mailboxes):
                break
            self.engine.set_clock(self.engine.now + timedelta(minutes=1))
        self.engine.rows("UPDATE mailboxes SET next_size_at = '2027-01-01'")

    def run_to(self, hours: float, *, step: float = 20) -> None:
        self.engine.run_until(MONDAY + timedelta(hours=hours), step=timedelta(minutes=step))

    def run_out(self) -> None:
        """Lets everything come to its end: the last scans, and the end of every doubt."""
        self.run_to(44, step=60)
        for day in range(3, 8):
            self.engine.set_clock(MONDAY + timedelta(days=day))
            self.engine.settle_down()

    def outcome(self) -> Outcome:
        rows = self.engine.rows("SELECT message_id, state, evidence FROM outbound")
        arrived = self.engine.arrivals()
        ours = {row["message_id"] for row in rows if row["message_id"]}
        sent = {row["message_id"] for row in rows if row["state"] == "sent"}
        return Outcome(
            states=Counter(row["state"] for row in rows),
            sent=len(sent),
            delivered=len(arrived),
            doubled=[message_id for message_id, times in arrived.items() if times > 1],
            lost=sorted(sent - arrived.keys()),
            unknown=sorted(arrived.keys() - ours),
            open=[str(row) for row in rows if row["state"] in OPEN],
        )

    def check(self, *, messages: int = MESSAGES, failed: int = 0) -> Outcome:
        """Asserts that nothing was doubled or lost, and that no message is left in the open.

        Args:
            messages: so many were to be sent, at least.
            failed: so many of them may have come to nothing.
        """
        found = self.outcome()
        assert (found.doubled, found.lost, found.unknown, found.open) == ([], [], [], []), found
        assert found.sent == found.delivered, found
        assert found.states.total() >= messages, found
        assert found.delivered >= messages - failed, found
        for row in self.engine.rows("SELECT * FROM outbound"):
            _explained(row)
        assert self.engine.rows(HELD) == []
        assert self.engine.rows(AWAITED) == []
        return found

    def close(self) -> None:
        self.engine.close()


def _explained(row: dict[str, Any]) -> None:
    """Each end has its evidence or its reason."""
    assert row["state"] in TERMINAL, row
    if row["state"] in ("sent", "bounced"):
        assert row["evidence"] in EVIDENCE, row
        assert row["sent_at"] is not None, row
        assert row["placement"] is not None, row
    else:
        assert row["reason"], row


def _person(number: int) -> DemoUser:
    domain = sorted(DOMAINS)[number % len(DOMAINS)]
    return DemoUser(
        f"person{number}@{domain}", Secret(f"word-{number}-word"), f"Person{number}", "Smith"
    )


def hurry(monkeypatch: pytest.MonkeyPatch, seconds: float = SHORT_S) -> None:
    """Clients give a server that hangs up after `seconds`, not after half a minute or more."""
    for module in (imap_link, smtp):
        monkeypatch.setattr(module, "_GOODBYE_S", seconds / 4)
    for function in (
        ImapSmtpProvider.open_reader,
        ImapSmtpProvider.open_sender,
        SmtpSession.finish,
    ):
        assert function.__kwdefaults__ is not None
        monkeypatch.setitem(function.__kwdefaults__, "deadline_s", seconds)
