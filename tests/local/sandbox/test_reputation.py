"""The rule by which a domain trusts: counts in, a probability out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_local.sandbox.domains import PROFILES, Strictness
from mailhearth_local.sandbox.reputation import (
    Evidence,
    draw,
    goes_to_junk,
    junk_probability,
)

counts = st.integers(0, 200)
evidences = st.builds(Evidence, counts, counts, counts, counts, counts, st.integers(0, 60))
domains = st.sampled_from(list(PROFILES.values()))


@settings(deadline=None, derandomize=True, database=None)
@given(evidences, domains)
def test_it_is_a_probability_and_good_deeds_never_harm(
    evidence: Evidence, domain: Strictness
) -> None:
    now = junk_probability(evidence, domain)
    assert 0 <= now <= 1
    for deed in ("rescued", "replied", "read", "kept"):
        better = replace(evidence, **{deed: getattr(evidence, deed) + 1})
        assert junk_probability(better, domain) <= now
    for harm in ("complained", "unopened"):
        worse = replace(evidence, **{harm: getattr(evidence, harm) + 1})
        assert junk_probability(worse, domain) >= now


def test_an_unknown_sender_fares_by_the_domain() -> None:
    shares = [
        1 - junk_probability(Evidence(), PROFILES[n]) for n in ("strict", "average", "lenient")
    ]
    assert shares == sorted(shares)
    assert 0.55 <= shares[0] < shares[2] <= 0.85 + 1e-9


def test_a_burst_that_nobody_opens_costs_a_good_name() -> None:
    for domain in PROFILES.values():
        good = Evidence(read=30, replied=10)
        assert junk_probability(good, domain) < 0.05
        assert junk_probability(replace(good, unopened=10), domain) < 0.05
        assert junk_probability(replace(good, unopened=60), domain) > 0.5


def test_the_draw_repeats_with_its_seed_and_is_even() -> None:
    numbers = [draw(7, f"<{n}@a.test>", "b@c.test") for n in range(4000)]
    assert numbers == [draw(7, f"<{n}@a.test>", "b@c.test") for n in range(4000)]
    assert numbers[:50] != [draw(8, f"<{n}@a.test>", "b@c.test") for n in range(50)]
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.02)
    assert sum(n < 0.1 for n in numbers) / len(numbers) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_the_inbox_rate_climbs_over_the_days_of_a_warmup(profile: str) -> None:
    """40 senders, two messages to the domain on day one and one more each second day."""
    domain = PROFILES[profile]
    rates: list[float] = []
    evidence = [Evidence() for _ in range(40)]
    for day in range(8):
        sent = junked = 0
        for sender in range(40):
            arrived: list[bool] = []
            for number in range(2 + day // 2):
                arrived.append(
                    goes_to_junk(
                        replace(evidence[sender], unopened=number),
                        domain,
                        seed=1,
                        message_id=f"<{day}.{number}.{sender}@a.test>",
                        recipient="b@c.test",
                    )
                )
            replies = sum(draw(2, f"{day}.{n}.{sender}", "") < 0.3 for n in range(len(arrived)))
            evidence[sender] = replace(
                evidence[sender],
                rescued=evidence[sender].rescued + sum(arrived),
                read=evidence[sender].read + len(arrived),
                replied=evidence[sender].replied + replies,
            )
            sent += len(arrived)
            junked += sum(arrived)
        rates.append(1 - junked / sent)
    assert rates[0] == pytest.approx(1 - domain.unknown_junk, abs=0.12)
    assert rates[-1] > 0.92
    assert rates[-1] > rates[0]
