"""How a policy field states its bounds, unit and reason, and how they are told to a person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import Field
from pydantic.fields import FieldInfo

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
WALL = 'a time of day such as "09:00", in quotes'


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """One field as help shows it; `default` is written as it would be typed."""

    name: str
    unit: str
    default: str
    allowed: str
    reason: str


def bounded(default: float, low: float, high: float, unit: str, reason: str) -> Any:
    """A number in low..high."""
    return Field(
        default, ge=low, le=high, description=f"{reason} ({unit})",
        json_schema_extra={"unit": unit, "reason": reason},
    )  # fmt: skip


def chosen(default: object, reason: str) -> Any:
    """A value that its type or a validator of the model bounds."""
    return Field(default, description=reason, json_schema_extra={"unit": "", "reason": reason})


def allowed(field: FieldInfo) -> str:
    """What a field takes, for people."""
    low = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    if low is not None and high is not None:
        kind = "a number" if isinstance(field.default, float) else "a whole number"
        return f"{kind} from {low} to {high} ({_extra(field)['unit']})"
    annotation: Any = field.annotation
    if get_origin(annotation) is tuple:
        return f"one or more of {', '.join(get_args(get_args(annotation)[0]))}"
    return ", ".join(get_args(annotation)) if get_origin(annotation) is Literal else WALL


def row(name: str, field: FieldInfo) -> FieldHelp:
    """The help for a field."""
    extra = _extra(field)
    default = field.default
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    return FieldHelp(name, extra["unit"], shown, allowed(field), extra["reason"])


def _extra(field: FieldInfo) -> dict[str, str]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return {key: str(value) for key, value in extra.items()}


def from_text(text: str, default: object) -> object:
    """What was typed, as the type of the field's default.

    Text that cannot be of that type stays text, for the field itself to refuse. Weekdays are a list
    of names and ranges: `mon,wed`, `mon-fri`.
    """
    text = text.strip()
    if isinstance(default, tuple):
        return [day for part in text.lower().split(",") for day in _days(part.strip())]
    if isinstance(default, float) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return float(text)
    if isinstance(default, int) and re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    return text


def _days(part: str) -> list[str]:
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    names: list[str] = list(WEEKDAYS)
    if dash and first in names and last in names[names.index(first) :]:
        return names[names.index(first) : names.index(last) + 1]
    return [part] if part else []
