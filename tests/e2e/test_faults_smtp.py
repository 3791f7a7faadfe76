"""Three hundred messages through submission servers that refuse, greylist, hang up and hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign import Campaign, hurry
from database import TestInstallation
from misbehaving_smtp import FAULTS, MisbehavingSmtp

LATE = 10
"""So many may have been refused for so long that they are too late."""


def test_a_submission_server_that_fails_doubles_and_loses_nothing(
    installation: TestInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    campaign = Campaign(installation, tmp_path)
    proxy = MisbehavingSmtp(campaign.engine.post, campaign.engine.info.smtps_port, seed=7)
    try:
        campaign.connect(smtp=proxy.port)
        campaign.plan()
        campaign.run_to(20)
        campaign.run_out()
        injected = proxy.injected
        ended = injected["5xx"] + injected["lose_after_dot"] + injected["drop_before_dot"]
        found = campaign.check(failed=ended + LATE)
        assert {fault for fault in FAULTS if injected[fault] >= 3} == set(FAULTS), injected
        assert proxy.accepted == campaign.engine.arrivals()
        # A refusal for good ends the message; what was swallowed whole is never confirmed. Nor is
        # what was cut off so late that the client had sent the dot before it saw.
        assert found.states["failed"] == injected["5xx"]
        swallowed = injected["lose_after_dot"], injected["drop_before_dot"]
        assert swallowed[0] <= found.states["unconfirmed"] <= sum(swallowed)
        # What had left when the line went dead is known from the recipient's mailbox.
        proved = campaign.engine.rows("SELECT 1 FROM outbound WHERE evidence = 'recipient'")
        assert len(proved) == injected["drop_after_dot"] + injected["hang_after_dot"]
        assert proxy.broken == []
    finally:
        campaign.close()
        proxy.close()
