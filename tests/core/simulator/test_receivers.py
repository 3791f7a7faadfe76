"""The receivers' model answers to what it is told, in the direction that its parameters say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mailhearth_core.errors import InvalidValue
from mailhearth_core.simulator.receivers import MODELS, Receivers, Reputation, from_values

SENDER = (0, "a.example", "gmail")


def trust(reputation: Reputation, day: float) -> float:
    return reputation.trust(*SENDER, day)


def after(receivers: Receivers, deed: str, times: int) -> float:
    """Trust after so many deeds, compared with none."""
    reputation = Reputation(receivers, {})
    before = trust(reputation, 1.0)
    for _ in range(times):
        reputation.note(*SENDER, 1.0, deed)
    return trust(reputation, 1.0) - before


@pytest.mark.parametrize("name", MODELS)
def test_good_deeds_earn_trust_and_bad_ones_cost_it(name: str) -> None:
    receivers = MODELS[name]
    for deed in ("rescue", "reply", "read"):
        assert after(receivers, deed, 5) > 0, deed
    for deed in ("junked", "complaint", "bounce"):
        assert after(receivers, deed, 5) < 0, deed
    assert after(receivers, "rescue", 10_000) <= receivers.trust_gain + 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_a_surge_costs_trust_until_it_has_become_usual(name: str) -> None:
    def surge(day: int) -> float:
        """What forty messages on that day cost, after as many on each day before."""
        reputation = Reputation(MODELS[name], {})
        for past in range(day):
            for _ in range(40):
                reputation.count(0, "gmail", past)
        calm = trust(reputation, day)
        for _ in range(40):
            reputation.count(0, "gmail", day)
        return calm - trust(reputation, day)

    assert surge(0) > surge(10) > 0 or surge(10) == 0 < surge(0)
    assert surge(60) == 0


def test_evidence_fades_and_is_shared_within_the_domain() -> None:
    receivers = replace(MODELS["engagement"], domain_share=0.5, age_trust=0.0)
    reputation = Reputation(receivers, {})
    fresh = trust(reputation, 0)
    reputation.note(*SENDER, 0, "complaint")
    at_once, later = trust(reputation, 0), trust(reputation, receivers.half_life_days)
    assert fresh - later == pytest.approx((fresh - at_once) / 2)
    sibling = reputation.trust(1, "a.example", "gmail", 0.0)
    stranger = reputation.trust(1, "b.example", "gmail", 0.0)
    assert at_once < sibling < stranger == fresh
    assert reputation.trust(0, "a.example", "microsoft", 0.0) == fresh


def test_the_models_differ_in_what_decides() -> None:
    strongest = {
        name: max(("trust_gain", "surge", "age_trust"), key=lambda field: getattr(model, field))
        for name, model in MODELS.items()
    }
    assert strongest == {"engagement": "trust_gain", "volume": "surge", "complaint": "age_trust"}


def test_a_file_changes_what_it_names_and_nothing_else() -> None:
    made = from_values({"base": "volume", "name": "mine", "prior": 1, "surge": 0.5})
    assert made == replace(MODELS["volume"], name="mine", prior=1.0, surge=0.5)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"piror": 1.0}, "piror"),
        ({"prior": "high"}, "prior"),
        ({"prior": True}, "prior"),
        ({"half_life_days": 0}, "half_life_days"),
        ({"lost_rate": 1.5}, "lost_rate"),
        ({"surge": float("nan")}, "surge"),
        ({"base": "strict"}, "model"),
    ],
)
def test_a_mistake_in_a_file_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        from_values(values)
    assert refused.value.field == named
