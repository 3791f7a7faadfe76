"""Three hundred messages, read from servers that hang up, refuse, are full, or were moved."""

from __future__ import annotations

from pathlib import Path

from campaign import MESSAGES, Campaign
from database import TestInstallation
from misbehaving_imap import FAULTS, MisbehavingImap, change_uidvalidity


def test_a_reading_server_that_fails_hides_and_doubles_nothing(
    installation: TestInstallation, tmp_path: Path
) -> None:
    campaign = Campaign(installation, tmp_path, rescue=True)
    engine = campaign.engine
    proxy = MisbehavingImap(engine.post, engine.info.imap_port, seed=11, faults={})
    try:
        campaign.connect(imap=proxy.port)
        campaign.plan()
        proxy.faults = FAULTS
        moved = 0
        for hour in range(10, 21):
            campaign.run_to(hour)
            engine.runtime.sessions.close()  # so that it signs in anew, and may be refused
            for user in engine.users[hour % 4 :: 4] if hour in (11, 13, 15) else ():
                with engine.imap(user.address) as client:
                    for folder in ("INBOX", "Junk"):
                        before, after = change_uidvalidity(client, folder)
                        moved += before != after
        proxy.faults = {**FAULTS, "refuse_login": 0.0}
        campaign.run_out()

        injected = proxy.injected
        assert {fault for fault in FAULTS if injected[fault] >= 5} == set(FAULTS), injected
        assert moved >= 30
        # Refused sign-ins cost a mailbox the sends that it had no part in, and nobody else's.
        struck = engine.rows("SELECT 1 FROM outbound WHERE state IN ('skipped', 'cancelled')")
        found = campaign.check(failed=len(struck))
        assert found.states.keys() <= {"sent", "skipped", "cancelled"}
        assert found.delivered >= MESSAGES * 3 // 4
        # Each message was found where it had been put, in spite of all, and once.
        placed = engine.rows(
            "SELECT placement, count(*) AS n FROM outbound WHERE state = 'sent' GROUP BY 1"
        )
        assert {row["placement"] for row in placed} <= {"inbox", "junk"}, placed
        full = engine.rows("SELECT 1 FROM action WHERE state = 'failed' AND reason ~ 'full'")
        assert len(full) == injected["quota"]
        assert engine.rows("SELECT 1 FROM mailboxes WHERE state = 'removed'") == []
        assert proxy.broken == []
    finally:
        campaign.close()
        proxy.close()
