"""A recipient that junks whoever is clean elsewhere is no sensor; a strict provider is."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.warmup.sensors import EVERYONE_ELSE, SensorCounts, excluded_sensors

SENDERS = [UUID(int=1000 + n) for n in range(8)]
RECIPIENTS = [UUID(int=2000 + n) for n in range(12)]
HAPPY, OTHER = RECIPIENTS[:2]


def _seen(
    junk: Callable[[UUID, UUID], int], *, placed: int = 2, senders: int = 8
) -> list[SensorCounts]:
    """Everybody writes to everybody."""
    return [
        SensorCounts(recipient, sender, placed, junk(recipient, sender))
        for recipient in RECIPIENTS
        for sender in SENDERS[:senders]
    ]


def test_where_all_is_clean_all_are_sensors() -> None:
    assert excluded_sensors(_seen(lambda *_: 0)) == frozenset()
    assert excluded_sensors([]) == frozenset()


@pytest.mark.parametrize("happy", [{HAPPY}, {HAPPY, OTHER}])
def test_a_recipient_that_junks_clean_senders_is_none(happy: set[UUID]) -> None:
    """Two of them make each other's senders look bad, 2 of 22 or more, and are found all the
    same."""
    assert excluded_sensors(_seen(lambda r, _: 2 * (r in happy))) == happy


def test_it_may_junk_only_half() -> None:
    assert excluded_sensors(_seen(lambda r, _: r == HAPPY)) == {HAPPY}


def test_a_sender_that_is_bad_everywhere_excludes_nobody() -> None:
    assert excluded_sensors(_seen(lambda _, s: 2 * (s in SENDERS[:3]))) == frozenset()


def test_a_strict_provider_excludes_nobody() -> None:
    """A third of all recipients junk everything: that is what their provider thinks of it."""
    assert excluded_sensors(_seen(lambda r, _: 2 * (r in RECIPIENTS[:4]))) == frozenset()


def test_two_senders_prove_nothing() -> None:
    assert excluded_sensors(_seen(lambda r, _: 2 * (r == HAPPY), senders=2)) == frozenset()
    assert excluded_sensors(_seen(lambda r, _: 2 * (r == HAPPY), senders=3)) == {HAPPY}


def test_a_sender_that_nobody_else_knows_proves_nothing() -> None:
    only = [SensorCounts(HAPPY, sender, 4, 4) for sender in SENDERS]
    assert excluded_sensors(only) == frozenset()
    elsewhere = [SensorCounts(EVERYONE_ELSE, sender, 4, 0) for sender in SENDERS]
    assert excluded_sensors(only + elsewhere) == frozenset(), "four placements are too few"
    elsewhere = [SensorCounts(EVERYONE_ELSE, sender, 5, 0) for sender in SENDERS]
    assert excluded_sensors(only + elsewhere) == {HAPPY}


def test_the_rest_together_are_never_excluded() -> None:
    seen = [SensorCounts(EVERYONE_ELSE, sender, 9, 9) for sender in SENDERS]
    seen += [SensorCounts(HAPPY, sender, 9, 0) for sender in SENDERS]
    assert excluded_sensors(seen) == frozenset()


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=96, max_size=96), st.integers())
def test_order_and_splitting_do_not_matter(junk: list[int], seed: int) -> None:
    seen = [
        SensorCounts(recipient, sender, 4, junk[8 * r + s])
        for r, recipient in enumerate(RECIPIENTS)
        for s, sender in enumerate(SENDERS)
    ]
    expected = excluded_sensors(seen)
    halves = [
        SensorCounts(c.recipient, c.sender, placed, part)
        for c in seen
        for placed, part in ((2, min(2, c.junk)), (2, max(0, c.junk - 2)))
    ]
    random.Random(seed).shuffle(halves)
    assert excluded_sensors(halves) == expected
    assert expected <= set(RECIPIENTS)
