"""A message whose fate is unknown is never sent again; evidence tells what became of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from engine import MONDAY, Engine
from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.mail.model import OutcomeUnknown
from mailhearth_core.mail.smtp import SmtpReply, SmtpSession
from mailhearth_worker import drain as drains
from mailhearth_worker.work import Work

Team = tuple[UUID, list[UUID]]


class Killed(BaseException):
    """The process is gone in this moment."""


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[SmtpSession], None]]:
    """What happens to the next message, by step: `begin`, `transmit`, `dot` and `after`."""
    fate: dict[str, Callable[[SmtpSession], None]] = {}
    begin, transmit, finish = SmtpSession.begin, SmtpSession.transmit, SmtpSession.finish

    def meet(step: str, session: SmtpSession) -> None:
        if step in fate:
            fate.pop(step)(session)

    def doomed_begin(self: SmtpSession, sender: str, recipient: str, size: int) -> None:
        meet("begin", self)
        begin(self, sender, recipient, size)

    def doomed_transmit(self: SmtpSession, message: bytes) -> None:
        meet("transmit", self)
        transmit(self, message)

    def doomed_finish(self: SmtpSession, *, deadline_s: float = 60) -> SmtpReply:
        meet("dot", self)
        reply = finish(self, deadline_s=deadline_s)
        meet("after", self)
        return reply

    monkeypatch.setattr(SmtpSession, "begin", doomed_begin)
    monkeypatch.setattr(SmtpSession, "transmit", doomed_transmit)
    monkeypatch.setattr(SmtpSession, "finish", doomed_finish)
    return fate


def no_reply(session: SmtpSession) -> None:
    raise OutcomeUnknown("no reply came")


def die(session: SmtpSession) -> None:
    raise Killed


def _state(engine: Engine, outbound: UUID) -> tuple[str, str, str | None]:
    row = engine.one("SELECT state, evidence, placement FROM outbound WHERE id = %s", outbound)
    return row["state"], row["evidence"], row["placement"]


def _kill(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on until the worker dies: its lease stays behind and runs out later."""
    with monkeypatch.context() as patched:
        release = drains._release

        def unless_killed(work: Work, *, tries_s: float) -> None:
            if sys.exc_info()[0] is not Killed:
                release(work, tries_s=tries_s)

        patched.setattr(drains, "_release", unless_killed)
        with pytest.raises(Killed):
            engine.run_until(engine.now + timedelta(hours=3))
    engine.runtime.sessions.close()
    # Nobody can take the mailbox before the lease has run out.
    held = engine.rows("SELECT token, expires_at FROM mailbox_leases WHERE owner IS NOT NULL")
    assert len(held) == 1
    engine.passes.run()
    assert engine.rows("SELECT 1 FROM mailbox_leases WHERE owner IS NOT NULL")
    engine.rows(
        "UPDATE mailbox_leases SET expires_at = clock_timestamp() - interval '1 second' "
        "WHERE owner IS NOT NULL"
    )


def _in_doubt(engine: Engine) -> UUID:
    found: UUID = engine.one("SELECT id FROM outbound WHERE state = 'uncertain'")["id"]
    return found


def test_the_recipient_proves_what_no_reply_told(
    engine: Engine, team: Team, sending: dict[str, Callable[[SmtpSession], None]]
) -> None:
    sending["after"] = no_reply
    lost = _run_to_doubt(engine)
    assert _state(engine, lost) == ("uncertain", "", None)
    engine.run_until(engine.now + timedelta(hours=5))
    state, evidence, placement = _state(engine, lost)
    assert (state, evidence) == ("sent", "recipient")
    assert placement in ("inbox", "junk")
    assert set(engine.arrivals().values()) == {1}


def _run_to_doubt(engine: Engine) -> UUID:
    for minutes in range(540, 1020, 5):  # closer together than the first look for evidence
        engine.run_until(MONDAY + timedelta(minutes=minutes))
        if engine.rows("SELECT 1 FROM outbound WHERE state = 'uncertain'"):
            return _in_doubt(engine)
    raise AssertionError("nothing came into doubt")


def test_a_copy_in_sent_proves_it_too_and_a_lost_message_is_called_missing(
    engine: Engine, team: Team, sending: dict[str, Callable[[SmtpSession], None]]
) -> None:
    sending["dot"] = no_reply
    lost = _run_to_doubt(engine)
    row = engine.one("SELECT * FROM outbound WHERE id = %s", lost)
    sender = engine.one("SELECT address FROM mailboxes WHERE id = %s", row["mailbox_id"])["address"]
    engine.append(sender, "Sent", f"Message-ID: {row['message_id']}\r\n\r\nhello\r\n".encode())
    engine.run_until(engine.now + timedelta(minutes=30))
    assert _state(engine, lost) == ("sent", "sent_folder", None)
    engine.run_until(engine.now + timedelta(hours=26))
    assert _state(engine, lost) == ("sent", "sent_folder", "missing")
    assert row["message_id"] not in engine.arrivals()
    engine.run_until(engine.now + timedelta(hours=24))
    assert not [mail for mail in engine.mail(sender) if mail.message_id == row["message_id"]]


def test_without_evidence_it_ends_unconfirmed_and_outside_statistics(
    engine: Engine, team: Team, sending: dict[str, Callable[[SmtpSession], None]]
) -> None:
    sending["dot"] = no_reply
    lost = _run_to_doubt(engine)
    engine.run_until(engine.now + timedelta(hours=26))
    assert _state(engine, lost) == ("uncertain", "", "missing")
    engine.set_clock(engine.now + timedelta(days=4))
    engine.settle_down()
    assert _state(engine, lost) == ("unconfirmed", "", "missing")
    with engine.installation.superuser() as conn:
        conn.execute("SELECT sched.recompute_rollups((SELECT business_at FROM business_clock))")
    assert engine.one("SELECT sum(missing) AS n FROM rollups")["n"] == 0
    assert set(engine.arrivals().values()) == {1}


@pytest.mark.parametrize("step", ["after", "transmit"])
def test_a_worker_that_dies_while_sending_leaves_a_doubt_not_a_second_copy(
    engine: Engine,
    team: Team,
    sending: dict[str, Callable[[SmtpSession], None]],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    engine.run_until_bound(MONDAY + timedelta(hours=9))
    sending[step] = die
    _kill(engine, monkeypatch)
    engine.settle_down()
    lost = _in_doubt(engine)
    row = engine.one(
        "SELECT o.message_id, o.sending_at, l.last_sent_at FROM outbound o "
        "JOIN mailbox_leases l USING (workspace_id, mailbox_id) WHERE o.id = %s",
        lost,
    )
    assert row["last_sent_at"] >= row["sending_at"]
    assert engine.registry.get_sample_value("mailhearth_sent_total", {"provider": "other"}) == (
        engine.one("SELECT count(*)::float AS n FROM outbound WHERE state = 'sent'")["n"] or None
    )
    engine.run_until(MONDAY + timedelta(hours=49))
    if step == "after":
        assert _state(engine, lost)[:2] == ("sent", "recipient")
        assert engine.arrivals()[row["message_id"]] == 1
    else:
        assert _state(engine, lost) == ("uncertain", "", "missing")
        assert row["message_id"] not in engine.arrivals()
    assert set(engine.arrivals().values()) == {1}


def test_a_worker_that_dies_before_sending_costs_nothing(
    engine: Engine,
    team: Team,
    sending: dict[str, Callable[[SmtpSession], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine.run_until_bound(MONDAY + timedelta(hours=9))
    sending["begin"] = die
    _kill(engine, monkeypatch)
    (held,) = engine.rows("SELECT outbound_id FROM action WHERE state = 'leased'")
    engine.run_until(MONDAY + timedelta(hours=18))
    assert _state(engine, held["outbound_id"])[:2] == ("sent", "smtp")
    sent = engine.rows("SELECT message_id FROM outbound WHERE state = 'sent'")
    assert engine.arrivals() == {row["message_id"]: 1 for row in sent}


def test_a_database_that_is_away_when_the_reply_comes(
    engine: Engine,
    team: Team,
    sending: dict[str, Callable[[SmtpSession], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a moment: settled when it is back. For long: a doubt, and evidence."""
    away = {"times": 0}

    def unless_away(real: Any) -> Any:
        def asked(*rest: Any, **more: Any) -> Any:
            if away["times"] > 0:
                away["times"] -= 1
                raise ServiceUnavailable("the database is away")
            return real(*rest, **more)

        return asked

    for name in ("tx", "once"):
        monkeypatch.setattr(Work, name, unless_away(getattr(Work, name)))
    engine.run_until_bound(MONDAY + timedelta(hours=9))
    sending["after"] = lambda session: away.update(times=2)
    count = engine.arrivals().total()
    engine.run_until(engine.now + timedelta(hours=2))
    assert "after" not in sending
    assert away["times"] == 0
    assert engine.arrivals().total() > count
    assert engine.rows("SELECT 1 FROM outbound WHERE state IN ('sending', 'uncertain')") == []

    leaping = SimpleNamespace(monotonic=_leaping(), sleep=None)
    monkeypatch.setattr("mailhearth_worker.send.time", leaping)
    engine.run_until_bound(engine.now)
    sending["after"] = lambda session: away.update(times=1)
    with pytest.raises(ServiceUnavailable):
        engine.run_until(engine.now + timedelta(hours=3))
    engine.settle_down()
    lost = _in_doubt(engine)
    engine.run_until(MONDAY + timedelta(hours=24))
    assert _state(engine, lost)[:2] == ("sent", "recipient")
    assert set(engine.arrivals().values()) == {1}


def _leaping() -> Callable[[], float]:
    """A clock on which an hour passes between two looks."""
    at = iter(range(0, 10**9, 3600))
    return lambda: float(next(at))


def test_a_lease_lost_in_the_middle_records_nothing(
    engine: Engine,
    team: Team,
    sending: dict[str, Callable[[SmtpSession], None]],
) -> None:
    """Another worker took the mailbox just before the message was to leave: it does not leave."""
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))

    def steal(session: SmtpSession) -> None:
        engine.rows(
            "UPDATE mailbox_leases SET token = token + 1, owner = 'another', "
            "expires_at = clock_timestamp() + interval '1 minute' WHERE owner IS NOT NULL"
        )

    before = engine.arrivals().total()
    sending["begin"] = steal
    engine.set_clock(bound["due_at"] + timedelta(seconds=1))
    engine.drain(bound["workspace_id"], bound["mailbox_id"])
    assert "begin" not in sending
    assert engine.arrivals().total() == before
    assert _state(engine, bound["id"])[0] == "bound"
    engine.rows("UPDATE mailbox_leases SET owner = NULL, expires_at = NULL WHERE owner = 'another'")
    engine.run_until(MONDAY + timedelta(hours=18))
    assert _state(engine, bound["id"])[:2] == ("sent", "smtp")
    assert set(engine.arrivals().values()) == {1}
