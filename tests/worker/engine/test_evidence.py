"""In which order, and when, proof is looked for of a message whose final reply never came."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from engine import MONDAY, Engine
from mailhearth_core.mail.model import OutcomeUnknown
from mailhearth_core.mail.smtp import SmtpReply, SmtpSession

Team = tuple[UUID, list[UUID]]


def _doubtful(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, arrives: bool) -> dict[str, Any]:
    """The day's first message, whose server hangs up at the final dot, or after it took it."""
    real = SmtpSession.finish
    with monkeypatch.context() as patched:

        def finish(self: SmtpSession, *, deadline_s: float = 60) -> SmtpReply:
            patched.undo()
            if arrives:
                real(self, deadline_s=deadline_s)
            raise OutcomeUnknown("no reply came")

        patched.setattr(SmtpSession, "finish", finish)
        for minutes in range(540, 1020, 5):  # closer together than the first look
            engine.run_until(MONDAY + timedelta(minutes=minutes))
            found = engine.rows("SELECT * FROM outbound WHERE state = 'uncertain'")
            if found:
                row: dict[str, Any] = found[0]
                return row
    raise AssertionError("nothing came into doubt")


def _looks(engine: Engine, row: dict[str, Any]) -> list[tuple[timedelta, str]]:
    """The looks into Sent so far: how long after the send each was due, and what it came to."""
    rows = engine.rows(
        "SELECT due_at, reason FROM action WHERE outbound_id = %s AND kind = 'evidence' "
        "AND state = 'done' ORDER BY due_at",
        row["id"],
    )
    return [(found["due_at"] - row["sending_at"], found["reason"]) for found in rows]


def _copy_in_sent(engine: Engine, row: dict[str, Any], at: datetime) -> None:
    engine.run_until(at)
    sender = engine.one("SELECT address FROM mailboxes WHERE id = %s", row["mailbox_id"])
    raw = f"Message-ID: {row['message_id']}\r\n\r\nhello\r\n"
    engine.append(sender["address"], "Sent", raw.encode())


def _state(engine: Engine, row: dict[str, Any]) -> tuple[str, str]:
    found = engine.one("SELECT state, evidence FROM outbound WHERE id = %s", row["id"])
    return found["state"], found["evidence"]


@pytest.mark.parametrize(
    ("appears", "proved"),
    [
        (timedelta(minutes=30), timedelta(hours=1)),
        (timedelta(hours=2), timedelta(hours=24)),
    ],
)
def test_sent_is_looked_into_again_after_an_hour_and_after_a_day(
    engine: Engine,
    team: Team,
    monkeypatch: pytest.MonkeyPatch,
    appears: timedelta,
    proved: timedelta,
) -> None:
    row = _doubtful(engine, monkeypatch, arrives=False)
    left = row["sending_at"]
    _copy_in_sent(engine, row, left + appears)
    engine.run_until(left + proved - timedelta(minutes=1))
    assert _state(engine, row) == ("uncertain", "")
    engine.run_until(left + proved + timedelta(minutes=10))
    assert _state(engine, row) == ("sent", "sent_folder")
    *vain, (at, came_to) = _looks(engine, row)
    assert came_to == "found in Sent"
    assert abs(at - proved) < timedelta(seconds=1)
    assert {reason for _, reason in vain} == {"not in Sent"}
    assert len(vain) == (1 if proved < timedelta(hours=2) else 2)


def test_there_is_no_look_after_the_third(
    engine: Engine, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = _doubtful(engine, monkeypatch, arrives=False)
    left = row["sending_at"]
    _copy_in_sent(engine, row, left + timedelta(hours=25))
    engine.run_until(left + timedelta(hours=49), step=timedelta(hours=1))
    first, *later = (round(at / timedelta(minutes=1)) for at, _ in _looks(engine, row))
    assert later == [60, 1440]
    assert 10 <= first <= 15
    assert _state(engine, row) == ("uncertain", "")
    engine.set_clock(left + timedelta(days=5, minutes=1))
    engine.settle_down()
    assert _state(engine, row) == ("unconfirmed", "")


def test_what_the_recipient_has_is_proof_enough(
    engine: Engine, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = team
    row = _doubtful(engine, monkeypatch, arrives=True)
    left = row["sending_at"]
    engine.ask_poll(workspace, UUID(row["peer_ref"]), left + timedelta(minutes=5))
    _copy_in_sent(engine, row, left + timedelta(minutes=1))
    engine.run_until(left + timedelta(hours=1))
    assert _state(engine, row) == ("sent", "recipient")
    engine.run_until(left + timedelta(hours=25), step=timedelta(hours=1))
    assert _state(engine, row) == ("sent", "recipient")
    assert [reason for _, reason in _looks(engine, row)] == ["not in Sent"]  # needed no more
    assert engine.arrivals()[row["message_id"]] == 1
