"""A pool's policy: every number that warmup follows, with its bounds and the reason for it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.bounds import (
    WALL,
    WEEKDAYS,
    FieldHelp,
    Weekday,
    allowed,
    bounded,
    chosen,
    from_text,
    row,
)

Mode = Literal["standard", "aggressive", "conservative", "custom"]

RAMP = ("start_volume", "step", "cap")
PRESETS: Mapping[str, tuple[int, int, int]] = {
    "standard": (10, 3, 40),
    "aggressive": (10, 5, 50),
    "conservative": (3, 1, 15),
}
"""start_volume, step and cap of each mode but `custom`."""
MIN_RETENTION_HOURS = 120
"""Outside a sandbox: placements are judged for days, so warmup mail must still be there."""
REPLY_BEFORE_END_MINUTES = 60
"""A reply is sent this long or more before the message that it answers is expunged."""

_BELOW = (
    ("window_start", "window_end"),
    ("reply_delay_min_minutes", "reply_delay_max_minutes"),
    ("read_dwell_min_minutes", "read_dwell_max_minutes"),
    ("watch_junk_percent", "quarantine_junk_percent"),
    ("quarantine_junk_percent", "block_junk_percent"),
    ("quarantine_bounce_percent", "block_bounce_percent"),
    ("reauth_after_failures", "exclude_after_failures"),
)
"""Fields of which the first is less than the second."""

Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict()]


class InvalidPolicy(InvalidValue):
    """A policy was refused whole.

    Attributes:
        mistakes: all that is wrong, each naming a field, its value and what is allowed. The
            attributes inherited from `InvalidValue` are those of the first.
    """

    def __init__(self, mistakes: list[InvalidValue]) -> None:
        first = mistakes[0]
        super().__init__(first.field, first.value, first.allowed)
        self.mistakes = mistakes
        self.message = " ".join(mistake.message for mistake in mistakes)
        self.hint = "Nothing was changed."


class Policy(BaseModel):
    """What a pool's mailboxes follow. Unless `mode` is custom, the ramp is that of its preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = chosen("standard", "a preset of start_volume, step and cap; custom: other values")
    start_volume: Whole = bounded(
        10, 1, 10, "mails a day", "first sending day; a sudden start looks bought"
    )
    step: Whole = bounded(
        3,
        0,
        5,
        "mails a day",
        "added on each sending day unless placements surely speak against it; up to twice that "
        "(and a fifth of the volume) on proven ones",
    )
    cap: Whole = bounded(
        40, 1, 50, "mails a day", "where the ramp ends; 50 is as much as a person writes"
    )
    unproven_cap: Whole = bounded(
        20, 1, 50, "mails a day", "where a young mailbox stops while it has few placements"
    )
    campaign_cap: Whole = bounded(5, 0, 50, "mails a day", "warmup beside a running campaign")
    reply_rate_percent: Whole = bounded(
        30, 0, 50, "percent", "share of received mail that is answered"
    )
    weekdays: tuple[Weekday, ...] = chosen(
        ("mon", "tue", "wed", "thu", "fri"), "the mailbox's local days on which it sends"
    )
    window_start: str = chosen("09:00", "local time of day at which sending begins")
    window_end: str = chosen(
        "17:00", "local time of day before which sending ends; 24:00 is midnight"
    )
    min_gap_seconds: Whole = bounded(
        600, 60, 14400, "seconds", "between two sends of a mailbox; no bursts"
    )
    pair_gap_hours: Whole = bounded(
        72, 24, 720, "hours", "before a mailbox starts another thread with the same peer"
    )
    recipient_ratio: Real = bounded(
        1.5, 1.0, 5.0, "times its own volume", "what a mailbox takes in a day at most"
    )
    recipient_floor: Whole = bounded(
        5, 1, 50, "mails a day", "what a mailbox always takes, however little it sends"
    )
    reply_delay_min_minutes: Whole = bounded(
        45, 5, 1440, "minutes", "nobody answers everything at once"
    )
    reply_delay_max_minutes: Whole = bounded(
        10080, 10, 20160, "minutes", "after a week an answer looks odd"
    )
    read_dwell_min_minutes: Whole = bounded(
        3, 0, 719, "minutes", "shortest time before a message is read"
    )
    read_dwell_max_minutes: Whole = bounded(
        90, 1, 720, "minutes", "longest time before a message is read"
    )
    flag_percent: Whole = bounded(15, 0, 50, "percent", "share of read mail that is flagged")
    retention_hours: Whole = bounded(
        336,
        2,
        2160,
        "hours",
        f"until warmup mail is expunged; below {MIN_RETENTION_HOURS} only in a sandbox",
    )
    signal_floor: Whole = bounded(
        20,
        10,
        200,
        "placements in 7 days",
        "with fewer, no rate is judged; from then on its interval",
    )
    watch_junk_percent: Whole = bounded(
        10, 1, 50, "percent", "junk rate that surely is too high to send more"
    )
    lower_junk_percent: Whole = bounded(
        20,
        1,
        80,
        "percent",
        "junk rate that surely is too high to send as much; watch_junk_percent, "
        "where that is higher",
    )
    watch_factor_percent: Whole = bounded(
        70, 10, 95, "percent", "of the volume, kept when it is lowered"
    )
    quarantine_junk_percent: Whole = bounded(
        40, 2, 80, "percent", "junk rate that surely is so high that sending rests"
    )
    quarantine_bounce_percent: Whole = bounded(
        5, 1, 50, "percent", "bounce rate that surely is so high that sending rests"
    )
    quarantine_days: Whole = bounded(7, 1, 60, "days", "how long sending rests in quarantine")
    block_junk_percent: Whole = bounded(
        60, 5, 100, "percent", "junk rate that surely is so high that a mailbox is blocked"
    )
    block_bounce_percent: Whole = bounded(
        10, 2, 100, "percent", "bounce rate that surely is so high that a mailbox is blocked"
    )
    block_days: Whole = bounded(30, 1, 365, "days", "how long a block lasts before a review")
    reauth_after_failures: Whole = bounded(
        3, 1, 10, "failures in a row", "to sign in; then it needs_reauth"
    )
    exclude_after_failures: Whole = bounded(
        10, 2, 50, "failures in a row", "to sign in; then nobody writes to it"
    )

    @field_validator("window_start", "window_end")
    @classmethod
    def _wall(cls, value: str) -> str:
        found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])|24:00", value)
        if found is None:
            raise ValueError(WALL)
        return value.rjust(5, "0")

    @field_validator("weekdays")
    @classmethod
    def _in_order(cls, value: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if not value:
            raise ValueError(f"one or more of {', '.join(WEEKDAYS)}")
        return tuple(day for day in WEEKDAYS if day in value)

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Policy:
        """The context holds the fields already found wrong: nothing is measured against them."""
        wrong: Collection[str] = info.context or ()
        mistakes = [
            InvalidValue(low, getattr(self, low), f"less than {high} ({getattr(self, high)})")
            for low, high in _BELOW
            if getattr(self, low) >= getattr(self, high) and low not in wrong and high not in wrong
        ]
        named = {*wrong, *(mistake.field for mistake in mistakes)}
        if not named & {"retention_hours", "reply_delay_min_minutes"}:
            mistakes += self._no_time_to_reply()
        if mistakes:
            raise InvalidPolicy(mistakes)
        return self

    def _no_time_to_reply(self) -> list[InvalidValue]:
        delay, kept = self.reply_delay_min_minutes, self.retention_hours
        most = 60 * kept - REPLY_BEFORE_END_MINUTES
        why = f"replies come {REPLY_BEFORE_END_MINUTES} minutes before the mail is expunged"
        if delay > most:
            limit = f"{most} or less with retention_hours {kept} ({why})"
            return [InvalidValue("reply_delay_min_minutes", delay, limit)]
        return []

    def sends_on(self, day: date) -> bool:
        """Whether the date is one of the sending weekdays."""
        return WEEKDAYS[day.weekday()] in self.weekdays

    @classmethod
    def parse(cls, values: Mapping[str, object], sandbox: bool = False) -> Policy:
        """A policy from values as YAML or JSON gives them; what is absent has its default.

        A preset named in `mode` sets start_volume, step and cap unless they are given; a mode whose
        numbers are not those of its preset becomes `custom`.

        Raises:
            InvalidPolicy: with every mistake found.
        """
        mistakes = [
            _unknown(str(key), value)
            for key, value in values.items()
            if key not in cls.model_fields
        ]
        known = {key: value for key, value in values.items() if key in cls.model_fields}
        preset = PRESETS.get(str(known.get("mode", "standard")))
        filled = dict(zip(RAMP, preset, strict=True)) | known if preset else known
        retention = known.get("retention_hours")
        if type(retention) is int and 2 <= retention < MIN_RETENTION_HOURS and not sandbox:
            limits = f"{MIN_RETENTION_HOURS} hours or more outside a sandbox"
            mistakes.append(InvalidValue("retention_hours", retention, limits))
        wrong = {mistake.field for mistake in mistakes}
        policy: Policy | None = None
        try:
            policy = cls.model_validate(filled, context=wrong)
        except ValidationError as error:
            mistakes += _mistakes(error)
            mistakes += cls._contradictions(filled, {mistake.field for mistake in mistakes})
        except InvalidPolicy as error:
            mistakes += error.mistakes
        if mistakes or policy is None:
            raise InvalidPolicy(mistakes) from None
        return policy._labelled()

    @classmethod
    def _contradictions(
        cls, values: Mapping[str, object], wrong: Collection[str]
    ) -> list[InvalidValue]:
        """What is wrong between the fields that are right by themselves."""
        try:
            cls.model_validate(
                {key: value for key, value in values.items() if key not in wrong}, context=wrong
            )
        except InvalidPolicy as error:
            return error.mistakes
        return []

    def _labelled(self) -> Policy:
        own = (self.start_volume, self.step, self.cap)
        if PRESETS.get(self.mode, own) == own:
            return self
        return self.model_copy(update={"mode": "custom"})

    def to_json(self) -> dict[str, Any]:
        """Every field, in a stable order, as JSON types."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Policy:
        """A stored policy. Fields this version does not know are left out: a newer one wrote them.

        Raises:
            InvalidPolicy: the stored values are out of bounds.
        """
        known = {key: value for key, value in data.items() if key in cls.model_fields}
        return cls.parse(known, sandbox=True)

    @classmethod
    def describe(cls) -> tuple[FieldHelp, ...]:
        """One row for each field, for `--help` and the documentation."""
        return tuple(row(name, info) for name, info in cls.model_fields.items())


def apply(policy: Policy, changes: Mapping[str, str], sandbox: bool = False) -> Policy:
    """The policy with `KEY=VALUE` changes, as typed at a prompt; refused whole on any mistake.

    Weekdays are written `mon,wed,fri` or `mon-fri`. A new preset replaces start_volume, step and
    cap unless they are changed too.

    Raises:
        InvalidPolicy: with every mistake found.
    """
    base = policy.to_json()
    typed = {
        key: from_text(text, Policy.model_fields[key].default)
        if key in Policy.model_fields
        else text
        for key, text in changes.items()
    }
    if typed.get("mode") in PRESETS:
        for name in RAMP:
            del base[name]
    return Policy.parse(base | typed, sandbox)


def _unknown(key: str, value: object) -> InvalidValue:
    names = list(Policy.model_fields)
    close = difflib.get_close_matches(key, names, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return InvalidValue(key, value, f"{meant}known fields: {', '.join(names)}")


def _mistakes(error: ValidationError) -> list[InvalidValue]:
    """One for each field; the first message where a list holds several wrong items."""
    found: dict[str, InvalidValue] = {}
    for item in error.errors(include_url=False):
        name = str(item["loc"][0])
        found.setdefault(
            name, InvalidValue(name, item["input"], allowed(Policy.model_fields[name]))
        )
    return list(found.values())
