"""The end of a workspace's mail: out of its mailboxes while they can be reached, nobody else's."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from database import ACTOR
from engine import MONDAY, Engine
from mailhearth_core.verbs import workspaces
from mailhearth_worker import purge
from tenancy import tenant_tables

OWN = (
    b"From: Vera Sund <vera.sund@elsewhere.example>\r\nSubject: Keep this\r\n"
    b"Message-ID: <own@elsewhere.example>\r\nDate: Mon, 02 Mar 2026 07:00:00 +0000\r\n\r\nHi.\r\n"
)


class Hasty:
    """A clock on which each look at a mailbox takes four seconds."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        self.at += 4
        return self.at


def test_a_deleted_workspace_takes_its_mail_out_of_its_mailboxes(
    engine: Engine, team: tuple[UUID, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    north, mailboxes = team
    south = engine.installation.workspace("south")
    pool = engine.installation.pool(south, pair_gap_hours=24, retention_hours=48)
    others = [engine.connect(south, pool, user) for user in engine.users[9:12]]
    assert len(others) == 3
    engine.run_until(MONDAY + timedelta(days=1, hours=13))
    addresses = {
        row["id"]: row["address"] for row in engine.rows("SELECT id, address FROM mailboxes")
    }
    ours = {
        row["message_id"]: row["workspace_id"]
        for row in engine.rows("SELECT message_id, workspace_id FROM inbound")
    }

    def left(mailbox_id: UUID) -> list[str]:
        """Warmup mail in a mailbox, by folder."""
        found = engine.mail(addresses[mailbox_id])
        return sorted(mail.folder for mail in found if mail.message_id in ours)

    broken, *reached = mailboxes
    for mailbox_id in reached[
        :2
    ]:  # a copy in Sent, as some providers keep one; a mail of the user's
        (sent,) = engine.rows(
            "SELECT message_id FROM outbound WHERE mailbox_id = %s AND state = 'sent' "
            "ORDER BY sent_at LIMIT 1",
            mailbox_id,
        )
        raw = b"Message-ID: " + sent["message_id"].encode() + b"\r\nSubject: x\r\n\r\nx\r\n"
        engine.append(addresses[mailbox_id], "Sent", raw)
        engine.append(addresses[mailbox_id], "Mailhearth", OWN)
    assert all("Mailhearth" in left(mailbox_id) for mailbox_id in mailboxes)
    before = {mailbox_id: left(mailbox_id) for mailbox_id in (broken, *others)}

    # A credential is bound to its server: one that is another now can be given to nobody.
    engine.rows("UPDATE mailboxes SET imap_port = imap_port + 1 WHERE id = %s", broken)
    engine.runtime.sessions.forget(broken)
    monkeypatch.setattr(purge, "time", Hasty())
    monkeypatch.setattr(purge, "HEADERS", 3)
    workspaces.begin_deletion(engine.installation.database("cli"), north, ACTOR)
    assert engine.installation.provisioner.reconcile() == 0, "the mail goes first"
    engine.settle_down()
    for mailbox_id in reached:
        assert left(mailbox_id) == [], addresses[mailbox_id]
    assert [m.folder for m in engine.mail(addresses[reached[0]]) if m.raw == OWN] == ["Mailhearth"]
    tries = engine.rows(
        "SELECT mailbox_id, state, attempt FROM action WHERE kind = 'purge' AND workspace_id = %s",
        north,
    )
    assert {row["mailbox_id"] for row in tries if row["state"] == "done"} == set(reached)
    assert max(row["attempt"] for row in tries) > 1, "it took several slices"
    assert (
        engine.rows(
            "SELECT 1 FROM action WHERE kind <> 'purge' AND workspace_id = %s "
            "AND state IN ('waiting', 'pending', 'leased', 'sending')",
            north,
        )
        == []
    )

    assert engine.installation.provisioner.reconcile() == 1, "the last is not tried again in time"
    for table in tenant_tables(engine.installation):
        assert engine.rows(f"SELECT 1 FROM {table} WHERE workspace_id = %s", north) == [], table
    assert {mailbox_id: left(mailbox_id) for mailbox_id in before} == before
    engine.run_until(MONDAY + timedelta(days=1, hours=15))
    assert engine.rows("SELECT 1 FROM outbound WHERE workspace_id = %s", south), "the others go on"


def test_only_the_purge_is_claimed_in_a_workspace_that_ends(
    engine: Engine, team: tuple[UUID, list[UUID]]
) -> None:
    north, mailboxes = team
    engine.run_until(MONDAY + timedelta(hours=13))
    workspaces.begin_deletion(engine.installation.database("cli"), north, ACTOR)
    due = {
        row["mailbox_id"]
        for row in engine.rows("SELECT mailbox_id FROM action WHERE kind = 'purge'")
    }
    engine.ask_poll(north, mailboxes[0], engine.now)
    for mailbox_id in mailboxes:
        engine.drain(north, mailbox_id)
    states = {
        (row["kind"], row["state"])
        for row in engine.rows(
            "SELECT DISTINCT kind, state FROM action WHERE mailbox_id = ANY (%s)", list(due)
        )
    }
    assert ("purge", "done") in states
    assert ("purge", "pending") not in states
    assert ("poll", "pending") in states
    assert engine.installation.provisioner.reconcile() == 1
    assert engine.rows("SELECT 1 FROM workspaces WHERE workspace_id = %s", north) == []
