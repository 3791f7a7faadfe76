"""A run: reproducible, bound by consent, moved by faults, made of the product's own parts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from functools import cache

import pytest

from mailhearth_core.errors import InvalidValue
from mailhearth_core.simulator import mail as mail_module
from mailhearth_core.simulator import run as run_module
from mailhearth_core.simulator.faults import plan_faults
from mailhearth_core.simulator.mail import Letter, Mail
from mailhearth_core.simulator.result import Result, days_to_full
from mailhearth_core.simulator.run import Simulation, run
from mailhearth_core.simulator.scenario import FAULTS, Scenario, population
from mailhearth_core.warmup.matching import Binding, Snapshot, match
from mailhearth_core.warmup.sizing import SizedDay, SizeInputs, size_day

SMALL = Scenario(mailboxes=18, days=12, seed=7)
ALL = frozenset(FAULTS)


@cache
def ran(*faults: str, seed: int = 7, rule: str = "plus-one", without_consent: int = 0) -> Result:
    return run(
        replace(
            SMALL,
            faults=frozenset(faults),
            seed=seed,
            rule=rule,
            without_consent=without_consent,
        )
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    scenario = replace(SMALL, faults=ALL)
    first, again = (json.dumps(run(scenario).to_json()) for _ in range(2))
    assert first == again
    other = run(replace(scenario, seed=8)).to_json()
    assert other["days"] != json.loads(first)["days"]


def test_every_message_is_accounted_for() -> None:
    result = ran(*FAULTS)
    for day in result.days:
        assert day.sent == day.inbox + day.junk + day.missing + day.bounced
        assert day.planned == day.sent + day.skipped
        assert day.sending + day.resting + day.blocked == SMALL.mailboxes
        assert (day.planned > 0) == (day.weekday not in ("Sat", "Sun"))
    assert result.total("replies") > 0
    for name in ("sent", "inbox", "junk", "missing", "bounced"):
        assert result.total(name) == sum(getattr(fate, name) for fate in result.mailboxes)


def test_nobody_without_consent_is_written_to_or_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Letter] = []
    send = Mail.send

    def watched(self: Mail, at: datetime, letter: Letter) -> None:
        seen.append(letter)
        send(self, at, letter)

    monkeypatch.setattr(mail_module.Mail, "send", watched)
    scenario = replace(SMALL, faults=ALL, without_consent=5)
    result = run(scenario)
    refusing = {box.index for box in population(scenario) if not box.consent}
    assert len(refusing) == 5
    assert len(seen) == result.total("sent") > 200
    assert not refusing & {index for one in seen for index in (one.sender, one.recipient)}


def test_it_runs_the_products_own_sizing_and_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    sized = match_calls = 0

    def sizing(inputs: SizeInputs) -> SizedDay:
        nonlocal sized
        sized += 1
        assert SizeInputs.from_json(inputs.to_json()) == inputs
        return size_day(inputs)

    def matching(snapshot: Snapshot) -> list[Binding]:
        nonlocal match_calls
        match_calls += 1
        first = min(slot.due_at for slot in snapshot.slots)
        assert max(slot.due_at for slot in snapshot.slots) - first < run_module.HORIZON
        return match(snapshot)

    monkeypatch.setattr(run_module, "size_day", sizing)
    monkeypatch.setattr(run_module, "match", matching)
    Simulation(replace(SMALL, days=3)).run()
    assert sized == 3 * SMALL.mailboxes
    assert match_calls > 3 * 8


# -- faults ---------------------------------------------------------------------------------------


def test_bounces_come_only_with_their_fault_and_block_the_dead() -> None:
    assert ran().total("bounced") == 0
    assert ran("bounce").total("bounced") > 0
    # Three bounces block a domain: with six domains, no more than a few get through.
    assert ran("bounce").total("bounced") < 20


def test_the_junk_fault_puts_more_into_junk() -> None:
    assert ran("junk").totals()["inbox_rate"] < ran().totals()["inbox_rate"] - 0.02


def test_a_locked_mailbox_sends_nothing_until_it_is_connected_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[tuple[datetime, int]] = []
    send = Mail.send

    def watched(self: Mail, at: datetime, letter: Letter) -> None:
        left.append((at, letter.sender))
        send(self, at, letter)

    monkeypatch.setattr(mail_module.Mail, "send", watched)
    scenario = replace(SMALL, faults=frozenset({"auth"}))
    simulation = Simulation(scenario)
    locked = plan_faults(scenario, population(scenario), simulation._start).locked
    result = simulation.run()
    assert 0 < len(locked.of) < SMALL.mailboxes
    assert [index for at, index in left if locked.until(index, at)] == []
    assert set(locked.of) <= {index for _, index in left}
    assert all(box.auth_failures == 0 for box in simulation.boxes)
    assert result.total("skipped") > ran().total("skipped")
    assert result.total("blocked") > 0


def test_an_outage_skips_what_is_late_and_is_followed_by_no_burst() -> None:
    calm, stormy = ran(), ran("outage")
    assert stormy.total("skipped") > 0
    for quiet, day in zip(calm.days, stormy.days, strict=True):
        assert day.planned <= quiet.planned + SMALL.mailboxes
        assert day.sent <= day.planned


def test_faults_are_the_same_whatever_the_rule() -> None:
    assert ran(*FAULTS).total("sent") != ran(*FAULTS, rule="aggressive").total("sent")
    mailboxes = population(SMALL)
    start = Simulation(SMALL)._start
    scenario = replace(SMALL, faults=ALL)
    one = plan_faults(scenario, mailboxes, start)
    alone = plan_faults(replace(scenario, faults=frozenset({"auth"})), mailboxes, start)
    assert plan_faults(replace(scenario, rule="aggressive"), mailboxes, start) == one
    assert alone.locked == one.locked


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"mailboxes": 1}, "mailboxes"),
        ({"days": 0}, "days"),
        ({"faults": frozenset({"fire"})}, "faults"),
        ({"without_consent": 19, "mailboxes": 18}, "without_consent"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Scenario(**values)  # type: ignore[arg-type]
    assert refused.value.field == field
    with pytest.raises(InvalidValue):
        run(replace(SMALL, rule="none"))


def test_days_to_full_is_a_median_that_those_who_never_get_there_count_in() -> None:
    assert days_to_full([3, 5, 9]) == 5
    assert days_to_full([3, None, 9]) == 9
    assert days_to_full([3, None, None]) is None
    assert days_to_full([]) is None
