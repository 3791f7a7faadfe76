"""The live view says what each mailbox waits for, and fits a terminal of 120 columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mailhearth_local.run.live import Picture, draw, why_not_sending

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "address": "ann@harbour.test",
        "state": "active",
        "state_reason": "",
        "consent": "workspace",
        "last_error": "",
        "connected_at": NOW,
        "volume": 5,
        "reasons": [],
        "sent_today": 1,
        "inbox": 3,
        "seen": 4,
        "rescued": 1,
        "replied": 2,
        "skipped_today": 0,
        "skip_reason": "",
        "next_send_at": None,
    }
    return values | changes


@pytest.mark.parametrize(
    ("mailbox", "told"),
    [
        (row(consent="none"), "no consent"),
        (row(state="paused", state_reason="paused by ann"), "paused: paused by ann"),
        (row(state="needs_reauth", last_error="password refused"), "password refused"),
        (row(connected_at=None, last_error="no route"), "no route"),
        (row(connected_at=None), "signs in"),
        (row(volume=None), "sized"),
        (row(next_send_at=NOW + timedelta(hours=1)), "next mail Mon 10:00"),
        (row(next_send_at=NOW), "sending"),
        (row(volume=0, reasons=[{"text": "not a sending weekday"}]), "not a sending weekday"),
        (row(skipped_today=2, skip_reason="no_peer"), "2 skipped: no_peer"),
        (row(sent_today=5), "done for today"),
        (row(skip_reason="the run ended"), "the run ended"),
    ],
)
def test_each_mailbox_says_what_it_waits_for(mailbox: dict[str, Any], told: str) -> None:
    assert told in why_not_sending(mailbox, NOW)


def test_the_picture_shows_rates_with_their_sample_and_fits() -> None:
    page = StringIO()
    event = {"at": NOW, "what": "was rescued from junk by", "sender": "ann@harbour.test"}
    picture = Picture(
        NOW,
        [row(), row(address="bo[bold]@meadow.test", inbox=0, seen=0)],
        [event | {"recipient": "bo@meadow.test"}],
    )
    Console(file=page, width=120, height=40).print(draw(picture))
    lines = page.getvalue().splitlines()
    assert all(len(line) <= 120 for line in lines)
    (ann,) = (line for line in lines if line.startswith("ann@"))
    assert "1/5" in ann
    assert "75 % of 4" in ann
    assert "30-95" in ann, "the Wilson bounds"
    assert any("bo[bold]@meadow.test" in line and "- of 0" in line for line in lines)
    assert any("mail from ann@harbour.test was rescued from junk by bo@" in line for line in lines)
