"""The daily look at a domain's DNS, by the worker, in the sandbox's own zone."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from engine import Engine
from mailhearth_core.verbs import dns
from mailhearth_core.verbs.wishes import Actor


def test_a_domain_is_looked_at_each_day_and_when_asked(
    engine: Engine, team: tuple[UUID, list[UUID]]
) -> None:
    workspace, boxes = team
    engine.rows("UPDATE action SET state = 'done', finished_at = due_at WHERE state = 'pending'")
    looked = "SELECT count(*) AS n FROM action WHERE kind = 'check_dns'"

    def plan() -> int:
        engine.rows("SELECT sched.plan_dns_checks(%s, %s)", engine.now, engine.now)
        return int(engine.one(looked)["n"])

    assert plan() == 3, "one for each domain"
    assert plan() == 3
    for box in boxes:
        engine.drain(workspace, box)
    reports = dns.listing(engine.installation.web_door, workspace)
    assert sorted(report.mailboxes for report in reports) == [1, 1, 2]
    for report in reports:
        verdicts = {part.code: part.verdict.value for part in report.parts}
        assert verdicts["mx"] == "good", "the sandbox's zone has it"
        assert verdicts["spf"] == verdicts["dmarc"] == "good"
        assert verdicts["dkim"] != "good", "the sandbox signs nothing"
        assert (report.asked, report.checked_at is not None) == (False, True)

    dns.ask(engine.installation.web_door, workspace, reports[0].domain, Actor("ann", "web"))
    assert dns.find(engine.installation.web_door, workspace, reports[0].domain).asked
    engine.set_clock(engine.now + timedelta(hours=23))
    assert plan() == 4, "only the one asked for"
    engine.set_clock(engine.now + timedelta(hours=2))
    assert plan() == 6, "the one asked for has been planned already"
