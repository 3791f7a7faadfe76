"""A policy: each field in its bounds, refused whole otherwise, and changed only by a new one."""

from __future__ import annotations

import json
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from annotated_types import Ge, Le
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.bounds import WALL, WEEKDAYS
from mailhearth_core.warmup.policy import (
    PRESETS,
    InvalidPolicy,
    Policy,
    apply,
)

BOUNDS: dict[str, tuple[Any, Any]] = {
    name: (
        next(item.ge for item in info.metadata if isinstance(item, Ge)),
        next(item.le for item in info.metadata if isinstance(item, Le)),
    )
    for name, info in Policy.model_fields.items()
    if any(isinstance(item, Ge) for item in info.metadata)
}
LIMITS = [
    (name, bound, side)
    for name, pair in BOUNDS.items()
    for bound, side in zip(pair, (-1, 1), strict=True)
]
CHAINS = (
    ("reply_delay_min_minutes", "reply_delay_max_minutes"),
    ("read_dwell_min_minutes", "read_dwell_max_minutes"),
    ("watch_junk_percent", "quarantine_junk_percent", "block_junk_percent"),
    ("quarantine_bounce_percent", "block_bounce_percent"),
    ("reauth_after_failures", "exclude_after_failures"),
)
"""Each less than the next."""


def _refused(values: dict[Any, Any], sandbox: bool = True) -> InvalidPolicy:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.parse(values, sandbox)
    return caught.value


def _fields(values: dict[Any, Any], sandbox: bool = True) -> list[str]:
    return [mistake.field for mistake in _refused(values, sandbox).mistakes]


def _with_room(name: str, value: float) -> dict[str, Any]:
    """The value, and beside it what the fields it is compared with need to agree."""
    values: dict[str, Any] = {name: value}
    for chain in CHAINS:
        if name in chain:
            at = chain.index(name)
            for other in reversed(chain[:at]):
                values[other] = min(Policy.model_fields[other].default, values[chain[at]] - 1)
                at -= 1
            at = chain.index(name)
            for other in chain[at + 1 :]:
                values[other] = max(Policy.model_fields[other].default, values[chain[at]] + 1)
                at += 1
    if name == "retention_hours":
        values["reply_delay_min_minutes"] = 5
    return values


def test_every_number_has_bounds_of_which_its_default_is_one() -> None:
    numbers = {n for n, info in Policy.model_fields.items() if type(info.default) in (int, float)}
    assert set(BOUNDS) == numbers
    assert all(low <= Policy.model_fields[n].default <= high for n, (low, high) in BOUNDS.items())
    assert BOUNDS["cap"] == (1, 50)
    assert BOUNDS["reply_rate_percent"] == (0, 50)


@pytest.mark.parametrize(("name", "bound", "side"), LIMITS)
def test_a_number_is_taken_up_to_its_bound_and_refused_beyond(
    name: str, bound: float, side: int
) -> None:
    assert getattr(Policy.parse(_with_room(name, bound), sandbox=True), name) == bound
    beyond = bound + side * (0.001 if isinstance(Policy.model_fields[name].default, float) else 1)
    (mistake,) = _refused({name: beyond}).mistakes
    low, high = BOUNDS[name]
    unit = next(row.unit for row in Policy.describe() if row.name == name)
    assert (mistake.field, mistake.value) == (name, beyond)
    assert mistake.allowed.endswith(f"number from {low} to {high} ({unit})")
    assert mistake.message.startswith(f"{name}: {beyond} is not allowed; allowed: a ")


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [None, "7", True, float("nan"), float("inf"), [5], {}])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    assert _fields({name: value}) == [name]


def test_whole_numbers_are_whole_and_ratios_may_be() -> None:
    assert Policy.parse({"recipient_ratio": 2}).recipient_ratio == 2.0
    assert sorted(_fields({"cap": 20.0, "step": 1.5})) == ["cap", "step"]


@pytest.mark.parametrize("lower_and_higher", [p for c in CHAINS for p in pairwise(c)])
def test_a_lower_threshold_is_less_than_the_higher(lower_and_higher: tuple[str, str]) -> None:
    lower, higher = lower_and_higher
    at = int(max(BOUNDS[lower][0], BOUNDS[higher][0]))
    mistakes = {m.field: m for m in _refused({lower: at, higher: at}).mistakes}
    assert (mistakes[lower].value, mistakes[lower].allowed) == (at, f"less than {higher} ({at})")


@pytest.mark.parametrize(
    ("start", "end"), [("09:00", "09:00"), ("24:00", "24:00"), ("10:00", "9:59")]
)
def test_a_window_opens_before_it_closes(start: str, end: str) -> None:
    assert _fields({"window_start": start, "window_end": end}) == ["window_start"]


def test_times_of_day_are_read_as_written_and_kept_in_one_form() -> None:
    policy = Policy.parse({"window_start": "7:05", "window_end": "24:00"})
    assert (policy.window_start, policy.window_end) == ("07:05", "24:00")
    for wrong in ("24:01", "9", "09:60", "09:00:00", "-1:00", "009:00", "09:00\n", 540, None):
        (mistake,) = _refused({"window_start": wrong}).mistakes
        assert (mistake.field, mistake.value, mistake.allowed) == ("window_start", wrong, WALL)


@pytest.mark.parametrize("retention", [2, 3, 12, 24])
def test_a_reply_has_an_hour_before_the_mail_is_expunged(retention: int) -> None:
    most = 60 * retention - 60
    values = {"retention_hours": retention, "reply_delay_min_minutes": most}
    assert Policy.parse(values, sandbox=True).reply_delay_min_minutes == most
    (mistake,) = _refused(values | {"reply_delay_min_minutes": most + 1}).mistakes
    assert (mistake.field, mistake.value) == ("reply_delay_min_minutes", most + 1)
    assert mistake.allowed.startswith(f"{most} or less with retention_hours {retention} ")
    assert "60 minutes before the mail is expunged" in mistake.allowed


@pytest.mark.parametrize("retention", [2, 119])
def test_only_a_sandbox_keeps_mail_less_than_five_days(retention: int) -> None:
    (mistake,) = _refused({"retention_hours": retention}, sandbox=False).mistakes
    assert (mistake.field, mistake.value) == ("retention_hours", retention)
    assert mistake.allowed == "120 hours or more outside a sandbox"
    assert Policy.parse({"retention_hours": 120}).retention_hours == 120
    with pytest.raises(InvalidPolicy):
        apply(Policy(), {"retention_hours": str(retention)})


def test_a_policy_is_refused_whole_with_every_mistake() -> None:
    error = _refused(
        {
            "cap": 99,
            "weekdays": [],
            "window_start": "18:00",  # a contradiction with the default end, found all the same
            "watch_junk_percent": 0,  # not measured against the next one, being wrong itself
            "quarantine_junk_percent": 50,
            "block_junk_percent": 50,
            "start_volum": 3,
            "retention_hours": 24,
            "reply_delay_min_minutes": 1440,
        },
        sandbox=False,
    )
    assert sorted(mistake.field for mistake in error.mistakes) == [
        "cap",
        "quarantine_junk_percent",
        "retention_hours",
        "start_volum",
        "watch_junk_percent",
        "weekdays",
        "window_start",
    ]
    for mistake in error.mistakes:
        assert mistake.message in str(error)
    assert str(error).endswith("Nothing was changed.")
    assert (error.code, error.permanent) == ("invalid_value", True)
    assert (error.field, error.value) == (error.mistakes[0].field, error.mistakes[0].value)


def test_an_unknown_field_is_refused_with_the_one_that_was_meant() -> None:
    (mistake,) = _refused({"reply_rate": 10}).mistakes
    assert (mistake.field, mistake.value) == ("reply_rate", 10)
    assert mistake.allowed.startswith("did you mean reply_rate_percent? known fields: mode, ")
    (mistake,) = _refused({"zzzz": 1}).mistakes
    assert mistake.allowed.startswith("known fields: mode, start_volume, ")
    assert _fields({1: 2, None: 3}) == ["1", "None"]  # YAML has keys that are no text


@pytest.mark.parametrize("mode", PRESETS)
def test_a_preset_sets_the_ramp_and_other_numbers_make_it_custom(mode: str) -> None:
    policy = Policy.parse({"mode": mode})
    assert (policy.start_volume, policy.step, policy.cap) == PRESETS[mode]
    assert policy.mode == mode
    assert Policy.parse(dict(policy)) == policy
    changed = Policy.parse({"mode": mode, "cap": 11})
    assert (changed.mode, changed.cap) == ("custom", 11)
    assert (changed.start_volume, changed.step) == PRESETS[mode][:2]
    assert Policy.parse({"mode": mode, "weekdays": ["sat"]}).mode == mode


def test_the_presets_are_the_designs() -> None:
    assert Policy.parse({}) == Policy() == Policy.parse({"mode": "standard"})
    assert PRESETS == {
        "standard": (10, 3, 40),
        "aggressive": (10, 5, 50),
        "conservative": (3, 1, 15),
    }


def test_a_mode_that_is_typed_replaces_the_ramp_but_not_what_is_typed_beside_it() -> None:
    own = apply(Policy(), {"cap": "30", "flag_percent": "1"})
    assert (own.mode, own.start_volume, own.step, own.cap) == ("custom", 10, 3, 30)
    again = apply(own, {"mode": " aggressive "})
    assert (again.mode, again.start_volume, again.step, again.cap) == ("aggressive", 10, 5, 50)
    assert again.flag_percent == 1
    partly = apply(own, {"mode": "aggressive", "step": "1"})
    assert (partly.mode, partly.start_volume, partly.step, partly.cap) == ("custom", 10, 1, 50)
    assert apply(again, {"mode": "custom"}).cap == 50
    assert apply(own, {"cap": "20"}).mode == "custom", "what was made custom stays so"


@pytest.mark.parametrize(
    ("typed", "days"),
    [
        ("mon-fri", "mon tue wed thu fri"),
        ("sun", "sun"),
        ("Wed, mon", "mon wed"),
        ("fri-sun,mon - tue", "mon tue fri sat sun"),
        ("mon-wed,tue-thu,mon", "mon tue wed thu"),
        ("mon-mon", "mon"),
    ],
)
def test_weekdays_are_typed_as_names_and_ranges(typed: str, days: str) -> None:
    assert apply(Policy(), {"weekdays": typed}).weekdays == tuple(days.split())


@pytest.mark.parametrize("typed", ["", ",", "-", "mon-", "-fri", "sat-mon", "mon-tue-wed", "1-5"])
def test_weekdays_that_cannot_be_read_are_refused(typed: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        apply(Policy(), {"weekdays": typed})
    (mistake,) = caught.value.mistakes
    assert mistake.field == "weekdays"
    assert mistake.allowed == f"one or more of {', '.join(WEEKDAYS)}"


def test_it_sends_on_its_weekdays_only() -> None:
    monday = date(2026, 3, 2)
    policy = Policy.parse({"weekdays": ["sun", "tue"]})
    week = [policy.sends_on(monday + timedelta(days=day)) for day in range(7)]
    assert week == [False, True, False, False, False, False, True]


@st.composite
def _policies(draw: st.DrawFn) -> Policy:
    """Any policy that a sandbox takes."""
    values: dict[str, Any] = {}
    for name, (low, high) in BOUNDS.items():
        if isinstance(Policy.model_fields[name].default, float):
            values[name] = draw(st.floats(low, high))
        else:
            values[name] = draw(st.integers(int(low), int(high)))
    values["retention_hours"] = draw(st.integers(2, 2160))
    most = 60 * values["retention_hours"] - 60
    values["reply_delay_min_minutes"] = draw(st.integers(5, min(1440, most)))
    for chain in CHAINS:
        for lower, higher in pairwise(chain):
            values[lower] = min(values[lower], int(BOUNDS[higher][1]) - 1)
            first = max(int(BOUNDS[higher][0]), values[lower] + 1)
            values[higher] = draw(st.integers(first, int(BOUNDS[higher][1])))
    values["weekdays"] = draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1))
    minutes = sorted(draw(st.sets(st.integers(0, 1440), min_size=2, max_size=2)))
    for name, at in zip(("window_start", "window_end"), minutes, strict=True):
        values[name] = f"{at // 60}:{at % 60:02}"
    values["mode"] = draw(st.sampled_from(["custom", *PRESETS]))
    return Policy.parse(values, sandbox=True)


@given(policy=_policies())
@settings(deadline=None)
def test_it_is_the_same_after_json_and_after_being_typed(policy: Policy) -> None:
    stored = json.loads(json.dumps(policy.to_json()))
    assert list(stored) == list(Policy.model_fields)
    assert Policy.from_json(stored) == policy
    assert Policy.parse(stored, sandbox=True) == policy
    typed = {
        name: ",".join(value) if isinstance(value, list) else format(value, "")
        for name, value in stored.items()
        if not isinstance(value, float)
    }
    typed["recipient_ratio"] = f"{policy.recipient_ratio:.20f}"
    assert apply(Policy(), typed, sandbox=True) == policy


def test_what_is_stored_may_have_fields_of_a_newer_version_and_lack_some() -> None:
    policy = Policy.parse({"retention_hours": 24, "cap": 33}, sandbox=True)
    assert Policy.from_json(policy.to_json() | {"moon_phase": "full"}) == policy
    assert Policy.from_json({"mode": "custom", "cap": 33}).step == Policy().step
    with pytest.raises(InvalidPolicy):
        Policy.from_json({"cap": 51})


@given(
    policy=_policies(),
    changes=st.dictionaries(
        st.sampled_from([*Policy.model_fields, "moon_phase"]),
        st.integers(-5, 3000).map(str)
        | st.sampled_from(["", "custom", "aggressive", "mon-wed", "08:30", "1.25", "٣", "1e3"])
        | st.text(max_size=5),
        max_size=6,
    ),
    sandbox=st.booleans(),
)
@example(  # one field against two others
    Policy(),
    {"retention_hours": "2", "reply_delay_min_minutes": "200", "reply_delay_max_minutes": "10"},
    True,
)
@settings(max_examples=300, deadline=None)
def test_typed_changes_make_a_new_policy_or_none_and_never_touch_the_old(
    policy: Policy, changes: dict[str, str], sandbox: bool
) -> None:
    before = policy.to_json()
    mistakes: list[InvalidValue] = []
    made = policy
    try:
        made = apply(policy, changes, sandbox)
    except InvalidPolicy as error:
        mistakes = error.mistakes
    assert policy.to_json() == before
    fields = [mistake.field for mistake in mistakes]
    assert len(fields) == len(set(fields)), "one mistake for each field"
    if not mistakes:
        assert "moon_phase" not in changes
        assert Policy.from_json(made.to_json()) == made
        assert sandbox or made.retention_hours >= 120
        ramp = set() if "mode" not in changes else {"start_volume", "step", "cap"}
        for name in set(before) - set(changes) - ramp - {"mode"}:
            assert getattr(made, name) == getattr(policy, name)


def test_a_number_typed_wrong_is_shown_as_it_was_typed() -> None:
    for typed in ("1e1", "٣", "0x5", "1 0", "5.0", "", "9999999999"):
        with pytest.raises(InvalidPolicy) as caught:
            apply(Policy(), {"cap": typed})
        assert (caught.value.field, caught.value.value) == ("cap", typed)
    assert apply(Policy(), {"cap": " 7 ", "recipient_ratio": "2"}).recipient_ratio == 2.0


def test_help_shows_for_each_field_a_default_that_can_be_typed() -> None:
    rows = Policy.describe()
    assert [row.name for row in rows] == list(Policy.model_fields)
    assert all(row.reason and row.allowed for row in rows)
    assert all(row.unit for row in rows if row.name in BOUNDS)
    other = Policy.parse({"mode": "aggressive", "weekdays": ["sun"], "flag_percent": 3})
    assert apply(other, {row.name: row.default for row in rows}) == Policy()
