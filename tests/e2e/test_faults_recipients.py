"""Recipients that are deleted, paused or lose their consent in the middle of a message to them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from campaign import MESSAGES, Campaign
from database import ACTOR, TestInstallation
from mailhearth_core.verbs import mailboxes
from misbehaving_smtp import MisbehavingSmtp

DELETED, OFF = 3, 5
"""Mailboxes that go for good, and times that one is switched off for a while, each way."""


class Leavers:
    """Takes recipients out while their mail is on its way, and brings some of them back."""

    def __init__(self, campaign: Campaign, seed: int) -> None:
        self._campaign = campaign
        self._chance = Random(seed)
        self._gone: dict[str, str] = {}
        self.left: Counter[tuple[str, str]] = Counter()

    def meet(self, sender: str, recipient: str, moment: str) -> None:
        """Called by the mail server, in the middle of a message."""
        if recipient in self._gone or self._chance.random() > 0.06:
            return
        ways = {"delete": DELETED, "pause": OFF, "withdraw": OFF}
        open_ways = [way for way, most in ways.items() if self._times(way) < most]
        if not open_ways:
            return
        way = min(open_ways, key=lambda name: (self.left[name, moment], name))
        self._leave(recipient, way)
        self._gone[recipient] = way
        self.left[way, moment] += 1

    def _times(self, way: str) -> int:
        return sum(times for (name, _), times in self.left.items() if name == way)

    def _leave(self, address: str, way: str) -> None:
        engine, workspace = self._campaign.engine, self._campaign.workspace
        row = engine.row(workspace, self._campaign.mailboxes[address])
        if way == "delete":
            mailboxes.remove(engine.installation.door, workspace, row, ACTOR)
        elif way == "pause":
            engine.pause(workspace, row["id"])
        else:
            engine.consent(workspace, row["id"], "none")

    def come_back(self) -> None:
        """Everybody that was not deleted takes part again."""
        engine, workspace = self._campaign.engine, self._campaign.workspace
        for address, way in list(self._gone.items()):
            if way == "delete":
                continue
            row = engine.row(workspace, self._campaign.mailboxes[address])
            if way == "pause":
                mailboxes.set_state(engine.installation.door, workspace, row, "active", ACTOR)
            else:
                engine.consent(workspace, row["id"], "workspace")
            del self._gone[address]


def test_recipients_that_leave_while_mail_is_on_its_way(
    installation: TestInstallation, tmp_path: Path
) -> None:
    campaign = Campaign(installation, tmp_path)
    engine = campaign.engine
    leavers = Leavers(campaign, seed=3)
    proxy = MisbehavingSmtp(
        engine.post, engine.info.smtps_port, seed=3, faults={}, moment=leavers.meet
    )
    try:
        campaign.connect(smtp=proxy.port)
        campaign.plan()
        for hour in range(10, 21):
            campaign.run_to(hour)
            leavers.come_back()
        campaign.run_out()

        moments = {moment for _, moment in leavers.left}
        assert moments == {"rcpt", "data", "dot"}, leavers.left
        assert {way for way, _ in leavers.left} == {"delete", "pause", "withdraw"}, leavers.left
        not_sent = engine.rows("SELECT 1 FROM outbound WHERE state <> 'sent'")
        found = campaign.check(failed=len(not_sent))
        assert found.states.keys() <= {"sent", "skipped", "cancelled"}, found
        assert found.delivered >= MESSAGES // 2
        # Before the text was handed over it could still be held back; afterwards it had left.
        assert proxy.accepted == engine.arrivals()
        held_back = sum(n for (_, moment), n in leavers.left.items() if moment != "dot")
        cut = engine.rows("SELECT 1 FROM outbound WHERE bind_reason ~ 'the peer bound before'")
        assert held_back >= 6
        assert cut or not_sent
        assert proxy.broken == []
    finally:
        campaign.close()
        proxy.close()
