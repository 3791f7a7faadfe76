"""Where a doubt is looked into again: the sender's inbox for reports, and keys that never open."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from database import TestInstallation
from mailhearth_worker.scheduler import ring
from messages import NOW, Messages


def test_a_sender_whose_mail_nobody_found_is_looked_into_for_a_report(
    installation: TestInstallation,
) -> None:
    messages = Messages(installation)
    messages.bound(messages.alice, messages.bob)
    sent = messages.sent(messages.alice)
    looks = (
        "SELECT due_at FROM action WHERE mailbox_id = %s AND kind = 'poll' AND state = 'pending'"
    )

    def plan(hours: float) -> int:
        at = NOW + timedelta(hours=hours)
        return int(messages.scheduler("plan_report_looks", now=at, slot=at))

    assert plan(5.9) == 0
    assert plan(6) == 1
    assert plan(6.5) == 0  # one look is planned already
    (look,) = installation.rows(looks, messages.alice)
    assert look["due_at"] == NOW + timedelta(hours=6)
    installation.rows("DELETE FROM action WHERE kind = 'poll'")
    installation.rows(
        "UPDATE mailbox_leases SET last_poll_at = %s WHERE mailbox_id = %s",
        *(NOW + timedelta(hours=7), messages.alice),
    )
    assert plan(8) == 0
    assert plan(26) == 1
    installation.rows("DELETE FROM action WHERE kind = 'poll'")
    installation.rows("UPDATE outbound SET placement = 'inbox' WHERE id = %s", sent)
    assert plan(27) == 0


def test_a_seal_that_never_opens_rings_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    left, workspace = {"n": 3}, uuid4()

    def to_reseal(conn: object) -> list[dict[str, object]]:
        return [{"worker_group": "local", "workspace_id": workspace, "sealed": left["n"]}]

    monkeypatch.setattr(ring.SQL, "to_reseal", to_reseal)
    reseals = ring.Reseals()

    def rings(first: int, last: int) -> list[int]:
        return [at for at in range(first, last) if reseals.collect(None, at)]  # type: ignore[arg-type]

    assert rings(0, 3_000) == [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022, 1622, 2222, 2822]
    left["n"] = 2  # one was resealed: the others may follow at once
    assert rings(3_000, 3_010) == [3000, 3002, 3006]
