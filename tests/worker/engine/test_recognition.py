"""Which mail is ours: by identifiers that cannot be forged by others, else by a unique likeness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.rows import DictRow

from engine import MONDAY, Engine
from mailhearth_core.mail.headers import HeaderRecord, header_record
from mailhearth_worker.observe import recognise

Team = tuple[UUID, list[UUID]]
DUE = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ME = "owen@harbour.test"
ROW: dict[str, Any] = {
    "message_id": "<one@meadow.test>",
    "sender_address": "jun@meadow.test",
    "subject": "The plan for May",
    "due_at": DUE,
}


def header(**fields: str) -> HeaderRecord:
    known = {
        "From": "Jun <jun@meadow.test>",
        "To": f"Owen <{ME}>",
        "Subject": "The plan for May",
        "Date": "Mon, 02 Mar 2026 09:31:00 +0000",
    }
    values = known | {name.replace("_", "-"): text for name, text in fields.items()}
    raw = "".join(f"{name}: {text}\r\n" for name, text in values.items())
    return header_record(raw.encode(), uid=1, internaldate=DUE, flags=frozenset(), size=len(raw))


def ours(found: HeaderRecord, *rows: dict[str, Any]) -> dict[str, Any] | None:
    return recognise(found, {row["message_id"]: row for row in rows or (ROW,)}, ME)


@pytest.mark.parametrize(
    "fields",
    [
        {"Message_ID": "<one@meadow.test>", "Subject": "[EXT] The plan", "To": "list@x.test"},
        {"Message_ID": "<new@mx.test>", "X_Google_Original_Message_ID": "<one@meadow.test>"},
        {
            "Message_ID": "<new@x.prod.outlook.com>",
            "X_Microsoft_Original_Message_ID": "<one@meadow.test>",
        },
        {"Message_ID": "<0102-3@eu-west-1.amazonses.com>"},
        {},
    ],
)
def test_these_are_ours(fields: dict[str, str]) -> None:
    assert ours(header(**fields)) is ROW


@pytest.mark.parametrize(
    "fields",
    [
        {"Message_ID": "<other@meadow.test>"},
        {"Message_ID": "<one@meadow.test>", "From": "mallory@evil.test"},
        {
            "Message_ID": "<a@b>",
            "X_Google_Original_Message_ID": "<one@meadow.test>",
            "From": "m@evil.test",
        },
        {"Message_ID": "<0102-3@amazonses.com>"},
        {"Message_ID": "<r@eu.amazonses.com>", "From": "mallory@evil.test"},
        {"Message_ID": "<r@eu.amazonses.com>", "To": "somebody@else.test"},
        {"Message_ID": "<r@eu.amazonses.com>", "Subject": "The plan for June"},
        {"Message_ID": "<r@eu.amazonses.com>", "Date": "Thu, 26 Feb 2026 09:31:00 +0000"},
    ],
)
def test_these_are_not(fields: dict[str, str]) -> None:
    assert ours(header(**fields)) is None


def test_two_alike_are_nobodys() -> None:
    twin = {**ROW, "message_id": "<two@meadow.test>", "due_at": DUE + timedelta(hours=3)}
    assert ours(header(Message_ID="<r@eu.amazonses.com>"), ROW, twin) is None
    assert ours(header(Message_ID="<two@meadow.test>"), ROW, twin) is twin


def _sent(engine: Engine) -> DictRow:
    """A message that lies in its recipient's mailbox, not looked for yet."""
    for minutes in range(540, 1020, 5):
        engine.run_until(MONDAY + timedelta(minutes=minutes))
        found = engine.rows(
            "SELECT o.*, i.mailbox_id AS target FROM outbound o JOIN inbound i USING (pair_id) "
            "WHERE i.state = 'in_flight'"
        )
        if found:
            return found[0]
    raise AssertionError("nothing was on its way")


def _take(engine: Engine, row: DictRow) -> tuple[str, bytes]:
    """Takes the message out of its mailbox: its folder and its text."""
    (mail,) = [m for m in engine.mail(row["peer_address"]) if m.message_id == row["message_id"]]
    with engine.imap(row["peer_address"]) as client:
        client.select_folder(mail.folder)
        client.delete_messages(client.search(["HEADER", "Message-ID", row["message_id"]]))
        client.expunge()
    return mail.folder, mail.raw


def _seen(engine: Engine, row: DictRow, hours: float) -> DictRow:
    engine.run_until(engine.now + timedelta(hours=hours))
    return engine.one("SELECT * FROM inbound WHERE pair_id = %s", row["pair_id"])


def test_a_new_uidvalidity_does_not_hide_a_message(engine: Engine, team: Team) -> None:
    row = _sent(engine)
    before = _junk_uidvalidity(engine, row)
    _, raw = _take(engine, row)
    engine.runtime.sessions.close()
    with engine.imap(row["peer_address"]) as client:
        client.delete_folder("Junk")
        client.create_folder("Junk")
        client.append("Junk", raw)
    found = _seen(engine, row, 2)
    assert (found["state"], found["placement"]) == ("observed", "junk")
    assert _junk_uidvalidity(engine, row) != before
    assert found["rescued_at"] is not None


def _junk_uidvalidity(engine: Engine, row: DictRow) -> int:
    found: int = engine.one(
        "SELECT uidvalidity FROM folder_states WHERE mailbox_id = %s AND folder = 'Junk'",
        row["target"],
    )["uidvalidity"]
    return found


def test_junk_that_came_to_be_after_the_baseline_is_read(engine: Engine, team: Team) -> None:
    row = _sent(engine)
    _, raw = _take(engine, row)
    engine.append(row["peer_address"], "Junk", raw)
    engine.rows(
        "DELETE FROM folder_states WHERE mailbox_id = %s AND folder = 'Junk'", row["target"]
    )
    assert _seen(engine, row, 2)["placement"] == "junk"


def test_a_filter_of_the_owner_is_respected(engine: Engine, team: Team) -> None:
    row = _sent(engine)
    _, raw = _take(engine, row)
    forged = raw.replace(b"\r\nFrom: ", b"\r\nFrom: mallory@evil.test\r\nX-From: ", 1)
    with engine.imap(row["peer_address"]) as client:
        client.create_folder("Newsletters")
        client.append("Newsletters", forged)  # somebody else's mail under our identifier
        client.append("Newsletters", raw)
    assert _seen(engine, row, 6)["placement"] == "other"
    # It is taken care of where it is, and the forged one never is.
    found = _seen(engine, row, 60)
    assert found["expunged_at"] is not None
    left = [m for m in engine.mail(row["peer_address"]) if m.message_id == row["message_id"]]
    assert [(m.folder, m.flags, b"mallory" in m.raw) for m in left] == [("Newsletters", "", True)]


def test_missing_is_said_only_after_a_day_and_a_real_look(engine: Engine, team: Team) -> None:
    row = _sent(engine)
    _take(engine, row)
    found = _seen(engine, row, 22)
    assert (found["state"], found["placement"]) == ("in_flight", None)
    assert found["inbox_scanned_at"] == found["junk_scanned_at"]
    found = _seen(engine, row, 3)
    assert (found["state"], found["placement"]) == ("missing", "missing")
    assert found["inbox_scanned_at"] - found["sent_at"] >= timedelta(hours=24)
    carried = engine.one("SELECT state, placement FROM outbound WHERE id = %s", row["id"])
    assert (carried["state"], carried["placement"]) == ("sent", "missing")


def test_what_nobody_could_look_for_is_unobservable(engine: Engine, team: Team) -> None:
    row = _sent(engine)
    engine.rows("UPDATE mailboxes SET imap_host = 'localhost' WHERE id = %s", row["target"])
    engine.runtime.sessions.close()
    found = _seen(engine, row, 47)
    assert (found["state"], found["inbox_scanned_at"]) == ("in_flight", None)
    found = _seen(engine, row, 2)
    assert (found["state"], found["placement"]) == ("unobservable", "unobservable")
    carried = engine.one("SELECT placement FROM outbound WHERE id = %s", row["id"])
    assert carried["placement"] == "unobservable"
