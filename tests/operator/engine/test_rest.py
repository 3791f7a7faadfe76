"""When nothing changes, nothing is written."""

from __future__ import annotations

import time

import pytest

from operating import ANN, Operating
from waiting import wait_for

QUIET_S = 60.0
RESOURCES = {"requests": {"cpu": "1000m", "memory": "0.5Gi"}, "limits": {"memory": "1Gi"}}
"""Amounts that the API server writes in another way."""


@pytest.fixture
def settled(operating: Operating) -> Operating:
    operating.secret("ann", ANN)
    operating.settle(mailboxes=[{"secretName": "ann"}], resources=RESOURCES)
    operating.until("MailboxPool", "sales", "CredentialsSealed", "True", "Sealed")
    # The first sign-in of the mailbox is due; it is done, and no more is planned.
    operating.installation.rows("UPDATE action SET state = 'done', finished_at = due_at")
    operating.look()
    return operating


def test_nothing_is_written_at_rest_or_by_looking_again(settled: Operating) -> None:
    operator = settled.operator
    before, versions = settled.writes(), settled.versions()
    looks = 0
    first_read = operator.reconciler.demands.read_at
    end = time.monotonic() + QUIET_S
    while time.monotonic() < end:
        settled.look()
        operator.health.compare()
        looks += 1
        seen = operator.reconciler.demands.read_at
        wait_for(lambda seen=seen: operator.reconciler.demands.read_at != seen)  # type: ignore[misc]
    assert looks >= 5
    assert operator.reconciler.demands.read_at != first_read
    assert settled.writes() == before
    assert settled.versions() == versions
    assert operator.health.reasons() == []


def test_an_operator_that_starts_again_writes_nothing(settled: Operating) -> None:
    versions = settled.versions()
    settled.stop()
    settled.start()
    settled.look()
    assert settled.writes() == 0
    assert settled.versions() == versions
