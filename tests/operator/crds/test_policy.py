"""The policy of a MailboxPool is core's Policy: the same fields, bounds, defaults and rules."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from apiserver import Json
from custom_resources import Resources, schema_of
from mailhearth_core.warmup.bounds import WEEKDAYS
from mailhearth_core.warmup.policy import _BELOW, PRESETS, RAMP, Mode, Policy
from mailhearth_operator.resources.spec import camel

REF = {"workspaceRef": {"name": "acme"}}
FIELDS = Policy.model_fields
NUMBERS = [name for name, info in FIELDS.items() if info.metadata]


def bounds(info: FieldInfo) -> tuple[float, float]:
    low = next(item.ge for item in info.metadata if isinstance(item, Ge))
    high = next(item.le for item in info.metadata if isinstance(item, Le))
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    return low, high


def with_policy(**values: object) -> dict[str, Any]:
    return REF | {"policy": {camel(name): value for name, value in values.items()}}


@pytest.fixture
def policy_schema(definitions: dict[str, Json]) -> dict[str, Json]:
    spec = schema_of(definitions["MailboxPool"])["properties"]["spec"]["properties"]
    properties: dict[str, Json] = spec["policy"]["properties"]
    return properties


def test_the_fields_are_the_same(
    definitions: dict[str, Json], policy_schema: dict[str, Json]
) -> None:
    assert set(policy_schema) == {camel(name) for name in FIELDS}
    status = schema_of(definitions["MailboxPool"])["properties"]["status"]["properties"]
    effective = status["effectivePolicy"]["properties"]
    assert {name: field["type"] for name, field in effective.items()} == {
        name: field["type"] for name, field in policy_schema.items()
    }


def test_bounds_and_defaults_are_the_same(policy_schema: dict[str, Json]) -> None:
    for name in NUMBERS:
        field, info = policy_schema[camel(name)], FIELDS[name]
        assert (field["minimum"], field["maximum"]) == bounds(info), name
        assert field["type"] == ("number" if isinstance(info.default, float) else "integer"), name
        # The ramp is the preset's: a default beside it would be one with a preset's other numbers.
        assert field.get("default") == (None if name in RAMP else info.default), name
    assert tuple(policy_schema["mode"]["enum"]) == get_args(Mode)
    assert tuple(policy_schema["weekdays"]["items"]["enum"]) == WEEKDAYS
    for name in ("mode", "weekdays", "window_start", "window_end"):
        default = policy_schema[camel(name)]["default"]
        assert (tuple(default) if isinstance(default, list) else default) == FIELDS[name].default


def test_the_descriptions_tell_bounds_defaults_and_units(policy_schema: dict[str, Json]) -> None:
    for name in NUMBERS:
        text, (low, high) = policy_schema[camel(name)]["description"], bounds(FIELDS[name])
        extra = FIELDS[name].json_schema_extra
        assert isinstance(extra, dict)
        assert f"{low:g} to {high:g}" in text, name
        assert str(extra["unit"]).lower() in text.lower(), name
        default = f"{FIELDS[name].default:g}"
        told = f"where it is {default} unless" if name in RAMP else f"Default: {default}."
        assert told in text, name
    for preset, numbers in PRESETS.items():
        told = f"{preset} ({', '.join(map(str, numbers))})"
        assert told in policy_schema["mode"]["description"]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_refused_one_beyond_each_bound(resources: Resources, name: str) -> None:
    for beyond, says in zip(bounds(FIELDS[name]), ("greater than", "less than"), strict=True):
        value = beyond + (1 if says == "less than" else -1)
        spec = with_policy(mode="custom", **{name: value})
        answer = resources.create("MailboxPool", "north", spec, dry_run=True)
        assert answer.code == 422, f"{name} {value} was taken"
        causes = answer.body["details"]["causes"]
        said = [c["message"] for c in causes if c["field"] == f"spec.policy.{camel(name)}"]
        assert any(f"{says} or equal to {beyond:g}" in message for message in said), said


@pytest.mark.parametrize(("low", "high"), _BELOW)
def test_what_must_be_less_is_refused_when_equal(resources: Resources, low: str, high: str) -> None:
    # A value within the bounds of both, so that only their order is wrong.
    equal: object = "12:00"
    if low in NUMBERS:
        equal = int(max(bounds(FIELDS[low])[0], bounds(FIELDS[high])[0]))
    answer = resources.create("MailboxPool", "n", with_policy(**{low: equal, high: equal}))
    assert answer.code == 422
    causes = {c["field"]: c["message"] for c in answer.body["details"]["causes"]}
    assert camel(high) in causes[f"spec.policy.{camel(low)}"]


def test_what_the_api_server_fills_in_is_a_policy_of_core(resources: Resources) -> None:
    for number, preset in enumerate(PRESETS):
        made = resources.created("MailboxPool", f"p{number}", with_policy(mode=preset))
        filled = made["spec"]["policy"]
        names = {camel(name): name for name in FIELDS}
        policy = Policy.parse({names[key]: value for key, value in filled.items()})
        assert policy == Policy.parse({"mode": preset})
        effective = {camel(name): value for name, value in policy.to_json().items()}
        status = {"status": {"effectivePolicy": effective}}
        written = resources.patch("MailboxPool", f"p{number}", status, "status")
        assert written.body["status"]["effectivePolicy"] == effective
