"""The form of a pool's policy: a field for each number, with its bounds and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, HiddenField, RadioField, SelectField, StringField

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.bounds import WEEKDAYS
from mailhearth_core.warmup.policy import PRESETS, RAMP, InvalidPolicy, Policy

SCOPE_LABELS = {
    "pool": "the mailboxes of this pool",
    "workspace": "all pools of the workspace that say so too",
    "network": "the whole network; each mailbox agrees to it apart",
}
DAY_LABELS = dict(zip(WEEKDAYS, ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), strict=True))


@dataclass(frozen=True)
class Group:
    """Fields that stand together; those beyond the first two groups are folded away."""

    title: str
    fields: tuple[str, ...]


GROUPS = (
    Group("Ramp", ("start_volume", "step", "cap", "unproven_cap", "campaign_cap")),
    Group("Days and hours", ("window_start", "window_end", "min_gap_seconds")),
    Group(
        "Who writes to whom", ("pair_gap_hours", "recipient_ratio", "recipient_floor")
    ),
    Group(
        "Reading and answering",
        (
            "reply_rate_percent", "reply_delay_min_minutes", "reply_delay_max_minutes",
            "read_dwell_min_minutes", "read_dwell_max_minutes", "flag_percent", "retention_hours",
        ),
    ),
    Group(
        "What lowers or stops sending",
        (
            "signal_floor", "watch_junk_percent", "lower_junk_percent", "watch_factor_percent",
            "quarantine_junk_percent", "quarantine_bounce_percent", "quarantine_days",
            "block_junk_percent", "block_bounce_percent", "block_days", "reauth_after_failures",
            "exclude_after_failures",
        ),
    ),
)  # fmt: skip
HELP = {row.name: row for row in Policy.describe()}
NUMBERS = tuple(name for group in GROUPS for name in group.fields)
LABELS = {
    "start_volume": "First day", "step": "Added each day", "cap": "At most",
    "unproven_cap": "At most without placements",
    "campaign_cap": "At most beside a campaign", "window_start": "From", "window_end": "Until",
    "min_gap_seconds": "Between two sends", "pair_gap_hours": "Before the same two write anew",
    "recipient_ratio": "A mailbox takes at most", "recipient_floor": "A mailbox always takes",
    "reply_rate_percent": "Answered", "reply_delay_min_minutes": "Answered after, at least",
    "reply_delay_max_minutes": "Answered after, at most",
    "read_dwell_min_minutes": "Read after, at least",
    "read_dwell_max_minutes": "Read after, at most", "flag_percent": "Flagged",
    "retention_hours": "Kept for", "signal_floor": "Judged from",
    "watch_junk_percent": "Held from, in junk", "lower_junk_percent": "Lowered from, in junk",
    "watch_factor_percent": "Lowered to",
    "quarantine_junk_percent": "Rests from, in junk",
    "quarantine_bounce_percent": "Rests from, bounced", "quarantine_days": "Rests for",
    "block_junk_percent": "Blocked from, in junk", "block_bounce_percent": "Blocked from, bounced",
    "block_days": "Blocked for", "reauth_after_failures": "Must sign in again after",
    "exclude_after_failures": "Left out after",
}  # fmt: skip


def _hint(name: str) -> str:
    """The reason for a field, and what it takes."""
    row = HELP[name]
    allowed = "such as 09:00" if name.startswith("window_") else row.allowed
    return ". ".join(text[:1].upper() + text[1:] for text in (row.reason, allowed)) + "."


class PolicyForm(FlaskForm):  # type: ignore[misc]
    """Every field of a policy as it would be typed; `Policy` itself judges them."""

    generation = HiddenField()
    mode = RadioField(
        "Preset",
        choices={
            **{
                name: f"{name.capitalize()}: {s} a day, +{p}, up to {c}"
                for name, (s, p, c) in PRESETS.items()
            },
            "custom": "Custom: the numbers below",
        },
    )  # fmt: skip
    peering_scope = SelectField("Its mailboxes write to", choices=SCOPE_LABELS)

    def day_fields(self) -> list[Field]:
        return [self[f"day_{day}"] for day in WEEKDAYS]

    def fill(self, policy: Policy, scope: str, generation: int) -> None:
        """Shows a stored policy."""
        values = policy.to_json()
        for name in (*NUMBERS, "mode"):
            self[name].data = str(values[name])
        for day in WEEKDAYS:
            self[f"day_{day}"].data = day in policy.weekdays
        self.peering_scope.data = scope
        self.generation.data = str(generation)

    def use_preset(self, name: str) -> None:
        """Writes a preset's numbers into the fields; nothing is saved."""
        self.mode.data = name
        for field, value in zip(RAMP, PRESETS[name], strict=True):
            self[field].data = str(value)

    def changes(self, policy: Policy, scope: str) -> dict[str, str]:
        """What differs from a stored policy, as `pools.change` takes it.

        The numbers decide: a preset whose numbers were typed over becomes `custom`.
        """
        before = {name: str(value) for name, value in policy.to_json().items()}
        typed = {name: (self[name].data or "").strip() for name in NUMBERS}
        found = {name: text for name, text in typed.items() if text != before[name]}
        days = ",".join(day for day in WEEKDAYS if self[f"day_{day}"].data)
        if days != ",".join(policy.weekdays):
            found["weekdays"] = days
        mode = self.mode.data or "custom"
        preset = PRESETS.get(mode)
        if preset is not None and tuple(typed[name] for name in RAMP) == tuple(map(str, preset)):
            if mode != policy.mode:
                found["mode"] = mode
        elif any(name in found for name in RAMP) or mode == "custom" != policy.mode:
            found["mode"] = "custom"
        if self.peering_scope.data != scope:
            found["peering_scope"] = str(self.peering_scope.data)
        return found

    def show(self, mistakes: Sequence[InvalidValue]) -> None:
        """Puts each mistake beside its field; what belongs to none stands above."""
        for mistake in mistakes:
            text = f"{mistake.value!s} is not allowed: {mistake.allowed}."
            name = "mode" if mistake.field == "mode" else mistake.field
            if name == "weekdays":
                self.form_errors.append("Choose one weekday or more.")
            elif name in self:
                self[name].errors = [*self[name].errors, text]
            else:
                self.form_errors.append(mistake.message)

    def refuse(self, error: InvalidValue) -> None:
        self.show(error.mistakes if isinstance(error, InvalidPolicy) else [error])


for _name in NUMBERS:
    setattr(PolicyForm, _name, StringField(LABELS[_name], description=_hint(_name)))
for _day in WEEKDAYS:
    setattr(PolicyForm, f"day_{_day}", BooleanField(DAY_LABELS[_day]))


class NewPoolForm(FlaskForm):  # type: ignore[misc]
    name = StringField("Name", description="Small letters, digits and dashes, such as sales-eu.")
    mode = RadioField(
        "How fast it warms up",
        default="standard",
        choices={
            name: f"{name.capitalize()}: {s} a day at first, +{p} each sending day, up to {c}"
            for name, (s, p, c) in PRESETS.items()
        },
    )
    peering_scope = SelectField(
        "Its mailboxes write to",
        default="pool",
        choices=SCOPE_LABELS,
    )


def summary(policy: Policy) -> Mapping[str, str]:
    """A policy in four lines, for lists."""
    return {
        "ramp": f"{policy.start_volume} a day, +{policy.step}, up to {policy.cap}",
        "days": ", ".join(DAY_LABELS[day] for day in policy.weekdays),
        "hours": f"{policy.window_start} to {policy.window_end}",
        "replies": f"{policy.reply_rate_percent} %",
    }
