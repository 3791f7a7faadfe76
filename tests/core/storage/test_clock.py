"""The business clock of a sandbox: moved by ticks alone, still when work is late, never back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from database import TestInstallation
from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError
from mailhearth_core.storage.clock import BusinessClock, business_now, to_business
from mailhearth_core.storage.installation import (
    enter_sandbox,
    is_loopback,
    monday_before,
    sandbox_start,
)
from mailhearth_core.storage.migrate import migrate
from mailhearth_core.storage.named import named

DAY = 86_400.0
RATE = 1440.0
"""Of a day that lasts a minute: business seconds for one machine second."""


def tick(installation: TestInstallation, max_step: float = 1.0) -> dict[str, Any]:
    with installation.database("scheduler").tx() as conn:
        row: dict[str, Any] = named("scheduler").tick(conn, max_step=max_step)
        return row


def last_tick(installation: TestInstallation, ago: timedelta) -> None:
    """Puts the last tick that long ago, in machine time."""
    installation.rows("UPDATE business_clock SET ticked_at = clock_timestamp() - %s", ago)


def test_a_real_installation_lives_in_machine_time(installation: TestInstallation) -> None:
    before = datetime.now(UTC)
    clock = BusinessClock(installation.database("web"))
    assert before <= clock.now() <= datetime.now(UTC)
    with installation.database("cli").tx() as conn:
        assert to_business(conn, before) == before
    row = tick(installation)
    assert before <= row["business_at"] <= datetime.now(UTC)
    assert (row["sending_ends"], row["stalled"]) == (None, False)


def test_it_moves_by_the_machine_and_by_one_step_at_most(installation: TestInstallation) -> None:
    installation.enter_sandbox(60)
    start = installation.one("SELECT business_at FROM business_clock")["business_at"]
    assert start == monday_before(datetime.now(UTC))
    last_tick(installation, timedelta(seconds=0.5))
    half = tick(installation)["business_at"] - start
    assert 0.5 * RATE <= half.total_seconds() < 0.9 * RATE
    # The product was down for an hour: it stood still but for one step.
    last_tick(installation, timedelta(hours=1))
    then = tick(installation)["business_at"]
    assert (then - start - half).total_seconds() == pytest.approx(RATE, abs=0.001)
    # The machine's clock was set back: it waits.
    last_tick(installation, -timedelta(hours=1))
    assert tick(installation)["business_at"] == then
    with installation.database("cli").tx() as conn:
        assert business_now(conn) == then


@pytest.mark.parametrize("state", ["pending", "leased", "sending"])
def test_it_stands_still_while_work_is_late(installation: TestInstallation, state: str) -> None:
    installation.enter_sandbox(60)
    workspace = installation.workspace()
    mailbox = installation.mailbox(workspace, installation.pool(workspace), "a@one.test")
    start = installation.one("SELECT business_at FROM business_clock")["business_at"]
    installation.rows(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at, state) "
        "VALUES (%s, %s, 'census', %s, %s)",
        workspace, mailbox, start - timedelta(seconds=RATE + 1), state,
    )  # fmt: skip
    last_tick(installation, timedelta(seconds=5))
    row = tick(installation)
    assert (row["business_at"], row["stalled"]) == (start, True)
    for still_moves in (
        "UPDATE action SET due_at = due_at + interval '10 minutes'",  # within a machine second
        "UPDATE action SET due_at = due_at - interval '1 day', state = 'waiting'",
        "UPDATE action SET state = 'done'",
    ):
        installation.rows(still_moves)
        before = installation.one("SELECT business_at FROM business_clock")["business_at"]
        if "10 minutes" in still_moves:
            last_tick(installation, timedelta(0))
            assert tick(installation)["stalled"] is False
            continue
        last_tick(installation, timedelta(seconds=5))
        row = tick(installation)
        assert row["stalled"] is False
        assert row["business_at"] > before


def test_what_was_put_off_is_waited_for_at_once(installation: TestInstallation) -> None:
    """Else each time it is put off would cost it another half hour of its two."""
    installation.enter_sandbox(60)
    workspace = installation.workspace()
    mailbox = installation.mailbox(workspace, installation.pool(workspace), "a@one.test")
    start = installation.one("SELECT business_at FROM business_clock")["business_at"]
    due = start + timedelta(minutes=1)
    installation.rows(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at, state, attempt) "
        "VALUES (%s, %s, 'census', %s, 'pending', 1)",
        workspace, mailbox, due,
    )  # fmt: skip
    last_tick(installation, timedelta(seconds=5))
    row = tick(installation)
    assert (row["business_at"], row["stalled"]) == (due, True)
    installation.rows("UPDATE action SET attempt = 0")
    last_tick(installation, timedelta(0))
    assert tick(installation)["stalled"] is False


def test_a_fast_clock_waits_for_what_is_due_however_slow_the_passes(
    installation: TestInstallation,
) -> None:
    """Twelve seconds a day: a message's two hours are one machine second."""
    installation.enter_sandbox(12)
    workspace = installation.workspace()
    mailbox = installation.mailbox(workspace, installation.pool(workspace), "a@one.test")
    start = installation.one("SELECT business_at FROM business_clock")["business_at"]
    due = start + timedelta(minutes=40)
    installation.rows(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at, state) "
        "VALUES (%s, %s, 'census', %s, 'pending')",
        workspace, mailbox, due,
    )  # fmt: skip
    for _ in range(5):
        last_tick(installation, timedelta(seconds=5))
        row = tick(installation)
    assert (row["business_at"], row["stalled"]) == (due + timedelta(minutes=30), True)
    installation.rows("UPDATE action SET state = 'done'")
    last_tick(installation, timedelta(seconds=5))
    moved = tick(installation)["business_at"] - row["business_at"]
    assert moved == timedelta(minutes=30)  # no step of a pass is jumped over


def test_internaldate_converts_right_within_a_second_and_never_back(
    installation: TestInstallation,
) -> None:
    installation.enter_sandbox(60)
    truth: list[tuple[datetime, datetime]] = []
    # Two minutes of ticks of 0.4 s, a stall of 10 s, a stop of an hour, made up as the epoch.
    machine = datetime.now(UTC) - timedelta(hours=1, minutes=3)
    business = monday_before(datetime.now(UTC))
    last_epoch = machine - timedelta(seconds=2)
    installation.rows("DELETE FROM clock_epochs")
    for step in range(300):
        machine += timedelta(seconds=0.4) if step != 250 else timedelta(hours=1)
        if not 100 <= step < 125:
            business += timedelta(seconds=0.4 * RATE)
        truth.append((machine, business))
        if machine - last_epoch > timedelta(seconds=1):
            installation.rows("INSERT INTO clock_epochs VALUES (%s, %s)", machine, business)
            last_epoch = machine
    installation.rows(
        "UPDATE business_clock SET business_at = %s, ticked_at = %s", business, machine
    )
    with installation.database("cli").tx() as conn:
        found = [to_business(conn, at) for at, _ in truth]
        between = [to_business(conn, at + timedelta(seconds=0.2)) for at, _ in truth]
        ahead = to_business(conn, machine + timedelta(minutes=5))
        during_the_stop = to_business(conn, truth[249][0] + timedelta(minutes=30))
    for (_, right), value in zip(truth, found, strict=True):
        assert abs((value - right).total_seconds()) <= 1.4 * RATE
    exact = [v for (_, right), v in zip(truth, found, strict=True) if abs(v - right).seconds == 0]
    assert len(exact) > 250, "off only around the stall and the stop"
    woven = [value for pair in zip(found, between, strict=True) for value in pair]
    assert woven == sorted(woven)
    assert ahead == business
    assert abs((during_the_stop - truth[249][1]).total_seconds()) <= 1.4 * RATE


def test_ticks_write_the_epoch_once_a_second(installation: TestInstallation) -> None:
    installation.enter_sandbox(60)
    installation.rows(
        "INSERT INTO clock_epochs VALUES (clock_timestamp() - interval '8 days', 'epoch')"
    )
    end = time.monotonic() + 1.2
    ticks = 0
    while time.monotonic() < end:
        ticks += 1
        tick(installation)
    rows = installation.rows("SELECT machine_at, business_at FROM clock_epochs ORDER BY machine_at")
    assert 2 <= len(rows) <= 3 < ticks
    assert rows[0]["business_at"] == monday_before(datetime.now(UTC)), "the old one is forgotten"


def test_a_sandbox_begins_on_a_monday_that_nothing_written_lies_ahead_of() -> None:
    wednesday = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
    assert sandbox_start(wednesday, has_mailboxes=False) == datetime(2026, 3, 2, tzinfo=UTC)
    assert sandbox_start(wednesday, has_mailboxes=True) == datetime(2026, 3, 9, tzinfo=UTC)


def test_a_mailbox_beyond_this_machine_keeps_the_sandbox_out_and_the_other_way_round(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    mailbox = installation.mailbox(
        workspace, pool, "a@one.test", imap="imap.one.test:993", tls="implicit"
    )
    with pytest.raises(Conflict, match=r"mailboxes on imap\.one\.test") as caught:
        enter_sandbox(installation.owner_url, 60)
    assert caught.value.code == "sandbox_refused"
    assert installation.rows("SELECT 1 FROM business_clock") == []
    installation.rows("UPDATE mailboxes SET state = 'removed' WHERE id = %s", mailbox)
    installation.mailbox(workspace, pool, "b@one.test")
    installation.enter_sandbox(60)
    assert installation.one("SELECT sandbox FROM installation") == {"sandbox": True}
    due = installation.rows(
        "SELECT 1 FROM business_clock c JOIN action a ON a.due_at > c.business_at"
    )
    assert due == [], "what was due before is due still"
    with pytest.raises(Conflict, match="no server of this sandbox"):
        installation.mailbox(
            workspace, pool, "c@one.test", smtp="smtp.one.test:587", tls="starttls"
        )
    with pytest.raises(MailhearthError, match="for good"):
        migrate(installation.owner_url, installation.roles, environment="production")


def test_entering_again_changes_the_length_of_a_day_and_goes_on(
    installation: TestInstallation,
) -> None:
    installation.enter_sandbox(60)
    last_tick(installation, timedelta(seconds=3))
    reached = tick(installation)["business_at"]
    installation.enter_sandbox(30)
    row = installation.one("SELECT * FROM business_clock")
    assert (row["rate"], row["business_at"]) == (2880.0, reached)


@pytest.mark.parametrize("day_seconds", [0, -1, 86_401])
def test_a_day_has_bounds(installation: TestInstallation, day_seconds: float) -> None:
    with pytest.raises(InvalidValue, match="day seconds"):
        enter_sandbox(installation.owner_url, day_seconds)
    assert installation.one("SELECT sandbox FROM installation") == {"sandbox": False}


def test_production_is_never_a_sandbox(installation: TestInstallation) -> None:
    migrate(installation.owner_url, installation.roles, environment="production")
    with pytest.raises(Conflict, match="production"):
        enter_sandbox(installation.owner_url, 60)
    assert installation.one("SELECT sandbox FROM installation") == {"sandbox": False}


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.evil.test", False),
        ("127.0.0.1.evil.test", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_the_literal_name(host: str, here: bool) -> None:
    assert is_loopback(host) is here
