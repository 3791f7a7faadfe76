"""What to simulate; a GET form, so that a simulation has an address."""

from __future__ import annotations

from dataclasses import dataclass

from wtforms import Form, IntegerField, RadioField, SelectField, SelectMultipleField, widgets
from wtforms.validators import InputRequired, NumberRange

from mailhearth_core.simulator.receivers import MODELS
from mailhearth_core.simulator.scenario import FAULTS, Scenario
from mailhearth_core.warmup.policy import PRESETS, RAMP, Policy

MOST_MAILBOXES, DAYS = 60, 30
FAULT_LABELS = {
    "bounce": "addresses that bounce",
    "junk": "a provider that turns strict",
    "auth": "passwords that are changed",
    "outage": "mail servers that are down",
}
MODEL_LABELS = {
    "engagement": "by how people treat the mail",
    "volume": "by how fast the volume grows",
    "complaint": "by how often people complain",
}


class SimulateForm(Form):  # type: ignore[misc]
    mailboxes = IntegerField(
        "Mailboxes", [InputRequired(), NumberRange(2, MOST_MAILBOXES)],
        description=f"2 to {MOST_MAILBOXES} in one pool.",
    )  # fmt: skip
    policy = RadioField("Policy", default="pool")
    model = SelectField(
        "Receivers judge a sender",
        choices={name: MODEL_LABELS.get(name, name) for name in MODELS},
        default="engagement",
    )
    faults = SelectMultipleField(
        "What goes wrong",
        choices={name: FAULT_LABELS.get(name, name) for name in FAULTS},
        option_widget=widgets.CheckboxInput(),
        widget=widgets.ListWidget(prefix_label=False),
    )
    seed = IntegerField(
        "Seed", [NumberRange(0, 10**6)], default=1,
        description="Another number, another chance; the same one, the same result.",
    )  # fmt: skip


@dataclass(frozen=True)
class Choice:
    name: str
    label: str
    policy: Policy


def choices(pool: Policy) -> list[Choice]:
    """The pool's own policy, and the presets' ramps within it."""
    found = [
        Choice("pool", f"as it is: {pool.start_volume} a day, +{pool.step}, up to {pool.cap}", pool)
    ]
    for name, preset in PRESETS.items():
        values = pool.to_json() | dict(zip(RAMP, preset, strict=True)) | {"mode": name}
        policy = Policy.from_json(values)
        if policy != pool:
            start, step, cap = preset
            found.append(Choice(name, f"{name}: {start} a day, +{step}, up to {cap}", policy))
    return found


def scenario(form: SimulateForm, offered: list[Choice]) -> Scenario:
    policy = next(choice.policy for choice in offered if choice.name == form.policy.data)
    return Scenario(
        mailboxes=form.mailboxes.data or 2,
        days=DAYS,
        seed=form.seed.data or 0,
        faults=frozenset(form.faults.data or ()),
        receivers=MODELS[form.model.data],
        policy=policy,
    )
