"""What a provider lets a mailbox send: kept below when a day is planned and while it is sent."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from database import TestInstallation
from engine import MONDAY, Engine
from mailhearth_core.mail.classify import smtp_error
from mailhearth_core.mail.model import Stage
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.providers.limits import CAUTIOUS, LIMITS, within_limits
from mailhearth_core.warmup.policy import Policy
from mailhearth_worker import work
from mailhearth_worker.scheduler import size

Team = tuple[UUID, list[UUID]]


@pytest.mark.parametrize("provider", ["gmail", "outlook", "other"])
def test_a_gap_that_the_provider_bears(provider: str) -> None:
    limits = LIMITS.get(provider, CAUTIOUS)
    hasty = Policy(mode="custom", min_gap_seconds=60)
    kept = within_limits(hasty, provider)
    assert kept.min_gap_seconds * limits.messages_per_hour >= 3600
    assert kept.min_gap_seconds * limits.messages_per_minute >= 60
    assert kept.model_copy(update={"min_gap_seconds": 60}) == hasty
    assert within_limits(Policy(), provider) == Policy()


def test_a_day_is_planned_below_it_but_in_a_sandbox(installation: TestInstallation) -> None:
    """A window of ten minutes, in which ten would fit a minute apart."""
    workspace = installation.workspace()
    pool = installation.pool(
        *(workspace, "main"),
        mode="custom",
        start_volume=10,
        step=0,
        cap=10,
        min_gap_seconds=60,
        window_start="09:01",
        window_end="09:14",
        pair_gap_hours=24,
    )
    for number in range(12):
        installation.mailbox(workspace, pool, f"m{number}@x.test")
    installation.rows("UPDATE mailboxes SET peer_provider = 'gmail', next_size_at = %s", MONDAY)

    def gaps(day: int) -> set[bool]:
        with installation.database("scheduler").tx() as conn:
            assert size.size(conn, MONDAY + timedelta(days=day)) == 12
        rows = installation.rows(
            "SELECT due_at - lag(due_at) OVER (PARTITION BY mailbox_id ORDER BY due_at) AS gap "
            "FROM outbound WHERE day = %s",
            (MONDAY + timedelta(days=day)).date(),
        )
        found = [row["gap"] for row in rows if row["gap"] is not None]
        assert len(found) >= 12
        return {gap >= timedelta(seconds=90) for gap in found}

    assert gaps(0) == {True}
    installation.enter_sandbox()
    assert False in gaps(1)


def _crowd(engine: Engine, first: timedelta, apart: timedelta) -> UUID:
    """Lets the mailbox that sends most today send all of it from `first` on; which one it is."""
    engine.settle_down()
    engine.rows("UPDATE pools SET policy = policy || '{\"min_gap_seconds\": 60}'")
    busy = engine.rows(
        "SELECT mailbox_id, count(*) AS n FROM outbound GROUP BY 1 ORDER BY n DESC, 1 LIMIT 1"
    )[0]
    assert busy["n"] >= 3
    engine.rows(
        "UPDATE action a SET due_at = %s + n.place * %s, not_after = %s "
        "FROM (SELECT id, row_number() OVER (ORDER BY due_at) - 1 AS place FROM outbound "
        "WHERE mailbox_id = %s) n WHERE a.outbound_id = n.id AND a.kind = 'send'",
        *(MONDAY + first, apart, MONDAY + first + timedelta(hours=5), busy["mailbox_id"]),
    )
    engine.rows(
        "UPDATE outbound o SET due_at = a.due_at FROM action a "
        "WHERE a.outbound_id = o.id AND a.kind = 'send'"
    )
    found: UUID = busy["mailbox_id"]
    return found


def _sent_at(engine: Engine, mailbox: UUID) -> list[timedelta]:
    rows = engine.rows(
        "SELECT sent_at FROM outbound WHERE mailbox_id = %s AND state = 'sent' ORDER BY sent_at",
        mailbox,
    )
    return [row["sent_at"] - MONDAY for row in rows]


@pytest.mark.parametrize("here", [True, False])
def test_a_mailbox_sends_no_faster_than_its_provider_bears(
    engine: Engine, team: Team, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    monkeypatch.setattr(work, "is_loopback", lambda host: here)
    work._policy.cache_clear()
    mailbox = _crowd(engine, timedelta(hours=10), timedelta(seconds=61))
    engine.run_until(MONDAY + timedelta(hours=9, minutes=59))
    engine.run_until(MONDAY + timedelta(hours=10, minutes=20), step=timedelta(seconds=1))
    work._policy.cache_clear()
    at = _sent_at(engine, mailbox)
    assert len(at) >= 3
    least = min(later - sooner for sooner, later in pairwise(at))
    bears = timedelta(seconds=CAUTIOUS.gap_seconds)
    assert (least >= bears) != here, at


def test_a_mailbox_whose_provider_wants_no_more_waits_with_all_it_has(
    engine: Engine, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """550 5.4.5 is Gmail's word for a day's limit: not a bounce, and to be met once an hour."""
    real = SmtpSession.finish
    mailbox = _crowd(engine, timedelta(hours=10), timedelta(minutes=10))
    address = engine.one("SELECT address FROM mailboxes WHERE id = %s", mailbox)["address"]
    met: Counter[timedelta] = Counter()
    begun: list[str] = []
    begin = SmtpSession.begin

    def noted(self: SmtpSession, sender: str, *rest: object, **more: object) -> object:
        begun.append(sender)
        return begin(self, sender, *rest, **more)  # type: ignore[arg-type]

    def finish(self: SmtpSession, **more: float) -> object:
        if begun[-1] == address and engine.now < MONDAY + timedelta(hours=11, minutes=30):
            met[engine.now - MONDAY] += 1
            raise smtp_error(550, "5.4.5 Daily user sending limit exceeded.", Stage.DOT)
        return real(self, **more)

    monkeypatch.setattr(SmtpSession, "begin", noted)
    monkeypatch.setattr(SmtpSession, "finish", finish)
    engine.run_until(MONDAY + timedelta(hours=20))
    first, second = sorted(met)
    assert timedelta(hours=10) <= first < timedelta(hours=10, minutes=10)
    assert second - first >= timedelta(hours=1)
    assert set(met.values()) == {1}
    states = engine.rows("SELECT state FROM outbound WHERE mailbox_id = %s", mailbox)
    assert {row["state"] for row in states} == {"sent"}
    at = _sent_at(engine, mailbox)
    assert at[0] >= second + timedelta(hours=1)
    assert engine.rows("SELECT 1 FROM domain_bounces") == []
    others = engine.rows(
        "SELECT 1 FROM outbound WHERE mailbox_id <> %s AND state = 'sent'", mailbox
    )
    assert others
    told = engine.one("SELECT state, last_error FROM mailboxes WHERE id = %s", mailbox)
    assert told["state"] == "active"
