"""How receiving providers judge a sender: a model with few parameters, and three that differ.

A message goes to Junk with the probability 1 / (1 + e^trust). Trust is the sum of a prior, of what
the sender's evidence at this provider has earned or cost, of what clean days have earned, minus
what today's surge in volume costs. Nothing in here knows of our policy. docs/simulator.md says what
is publicly known of real receivers and which parameter stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import exp
from types import MappingProxyType
from typing import Any

from mailhearth_core.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Receivers:
    """The parameters of one model. "Points" are units of evidence, "trust" is in log-odds.

    Attributes:
        name: of the model.
        prior: trust in a sender never seen before; 1.4 junks 20 % of its mail, 2.9 junks 5 %.
        differences: how far the priors of senders lie apart (standard deviation).
        trust_gain: the most trust that good evidence can earn.
        patience: points at which 63 % of that is earned.
        distrust: trust lost for each point below zero.
        domain_share: how much of the evidence is the domain's, 0..1; the rest is the mailbox's.
        half_life_days: after which evidence counts half.
        rescue: points for a message taken out of Junk.
        reply: points for a message that was answered.
        read: points for a message that was opened.
        junked: points for a message that the filter itself put into Junk.
        complaint: points for a message that its reader put into Junk.
        bounce: points for a message to an address that does not exist.
        age_trust: the most trust that days of sending can earn; a complaint sets them back.
        age_days: days of sending at which 63 % of that is earned.
        surge: trust lost for each multiple of the usual volume beyond `surge_ratio`.
        surge_ratio: today's volume over the usual one that nobody minds.
        surge_free: messages a day to one provider that never count as a surge.
        usual_days: over how many days the usual volume is averaged.
        complaint_rate: the share of inbox mail that a reader puts into Junk by hand.
        lost_rate: the share of mail that is accepted and never shown.
    """

    name: str
    prior: float
    differences: float
    trust_gain: float
    patience: float
    distrust: float
    domain_share: float
    half_life_days: float
    rescue: float
    reply: float
    read: float
    junked: float
    complaint: float
    bounce: float
    age_trust: float
    age_days: float
    surge: float
    surge_ratio: float
    surge_free: float
    usual_days: float
    complaint_rate: float
    lost_rate: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_ENGAGEMENT = Receivers(
    name="engagement",
    prior=1.4,
    differences=0.4,
    trust_gain=3.0,
    patience=30.0,
    distrust=0.15,
    domain_share=0.5,
    half_life_days=21.0,
    rescue=3.0,
    reply=2.0,
    read=0.3,
    junked=-0.3,
    complaint=-5.0,
    bounce=-1.0,
    age_trust=0.3,
    age_days=21.0,
    surge=0.3,
    surge_ratio=2.0,
    surge_free=5.0,
    usual_days=7.0,
    complaint_rate=0.0005,
    lost_rate=0.001,
)
"""What recipients do with the mail decides: a new sender is doubted and can earn much."""

_VOLUME = replace(
    _ENGAGEMENT,
    name="volume",
    prior=2.2,
    differences=0.3,
    trust_gain=1.5,
    patience=40.0,
    domain_share=0.3,
    rescue=2.0,
    reply=0.7,
    read=0.1,
    junked=-0.6,
    age_trust=0.5,
    surge=1.6,
    surge_ratio=1.4,
    surge_free=2.0,
    usual_days=10.0,
)
"""Steadiness decides: little doubt at first, and each jump over the usual volume costs much."""

_COMPLAINT = replace(
    _ENGAGEMENT,
    name="complaint",
    prior=1.7,
    differences=0.5,
    trust_gain=0.8,
    patience=60.0,
    distrust=0.3,
    domain_share=0.8,
    half_life_days=45.0,
    rescue=1.0,
    reply=1.0,
    read=0.1,
    junked=-0.1,
    complaint=-12.0,
    bounce=-4.0,
    age_trust=2.0,
    age_days=14.0,
    surge=0.5,
    surge_ratio=2.0,
    surge_free=4.0,
)
"""Time without complaints and bounces decides: trust comes slowly, and one complaint is long
remembered by the whole domain."""

MODELS: Mapping[str, Receivers] = MappingProxyType(
    {model.name: model for model in (_ENGAGEMENT, _VOLUME, _COMPLAINT)}
)

_ANY, _FROM_ZERO, _ABOVE_ZERO, _SHARE = "-100 to 100", "0 to 1000", "above 0, to 1000", "0 to 1"
_BOUNDS: Mapping[str, str] = {
    "prior": _ANY,
    "domain_share": _SHARE,
    "complaint_rate": _SHARE,
    "lost_rate": _SHARE,
    "patience": _ABOVE_ZERO,
    "half_life_days": _ABOVE_ZERO,
    "age_days": _ABOVE_ZERO,
    "usual_days": _ABOVE_ZERO,
    "surge_ratio": _ABOVE_ZERO,
    **dict.fromkeys(("rescue", "reply", "read", "junked", "complaint", "bounce"), _ANY),
}


def model(name: str) -> Receivers:
    """One of `MODELS`.

    Raises:
        InvalidValue: there is none of that name.
    """
    if name not in MODELS:
        raise InvalidValue("model", name, ", ".join(MODELS))
    return MODELS[name]


def from_values(values: Mapping[str, object]) -> Receivers:
    """A model from a file's values: those that it names, on top of the one that `base` names.

    Raises:
        InvalidValue: a name is not known, or a value is no number within its bounds.
    """
    base = model(str(values.get("base", "engagement")))
    known = {field.name for field in fields(Receivers)} - {"name"}
    changes: dict[str, Any] = {"name": str(values.get("name", "custom"))}
    for key, value in values.items():
        if key in ("base", "name"):
            continue
        if key not in known:
            raise InvalidValue(key, value, f"base, name, {', '.join(sorted(known))}")
        allowed = _BOUNDS.get(key, _FROM_ZERO)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _in(value, allowed):
            raise InvalidValue(key, value, f"a number, {allowed}")
        changes[key] = float(value)
    return replace(base, **changes)


def _in(value: float, bounds: str) -> bool:
    if bounds == _SHARE:
        return 0 <= value <= 1
    if bounds == _ANY:
        return -100 <= value <= 100
    return 0 <= value <= 1000 and (bounds == _FROM_ZERO or value > 0)


class _Evidence:
    """Points that fade."""

    __slots__ = ("at", "points")

    def __init__(self) -> None:
        self.points = 0.0
        self.at = 0.0

    def now(self, day: float, half_life: float) -> float:
        if day > self.at:
            self.points *= 0.5 ** ((day - self.at) / half_life)
            self.at = day
        return self.points


class _Traffic:
    """One mailbox's volume at one provider, and since how many days it sends cleanly."""

    __slots__ = ("age", "day", "today", "usual")

    def __init__(self) -> None:
        self.day = -1
        self.today = 0
        self.usual = 0.0
        self.age = 0.0

    def roll(self, day: int, usual_days: float) -> None:
        """Closes the days before `day`; a day without mail counts as one with none."""
        while self.day < day:
            if self.day >= 0:
                self.usual += (self.today - self.usual) / usual_days
                self.age += self.today > 0
            self.day += 1
            self.today = 0


class Reputation:
    """What the providers of one run know of its senders. Days are counted from the run's start.

    Args:
        receivers: the model.
        leanings: (mailbox, provider) to a number drawn from a standard normal distribution.
    """

    def __init__(self, receivers: Receivers, leanings: Mapping[tuple[int, str], float]) -> None:
        self._model = receivers
        self._leanings = leanings
        self._mailboxes: dict[tuple[int, str], _Evidence] = {}
        self._domains: dict[tuple[str, str], _Evidence] = {}
        self._traffic: dict[tuple[int, str], _Traffic] = {}

    def trust(self, mailbox: int, domain: str, provider: str, day: float) -> float:
        """In log-odds, for the next message of today."""
        m = self._model
        own = self._mailboxes.get((mailbox, provider))
        shared = self._domains.get((domain, provider))
        points = (1 - m.domain_share) * own.now(day, m.half_life_days) if own else 0.0
        points += m.domain_share * shared.now(day, m.half_life_days) if shared else 0.0
        trust = m.prior + m.differences * self._leanings.get((mailbox, provider), 0.0)
        trust += (
            m.trust_gain * (1 - exp(-points / m.patience)) if points > 0 else m.distrust * points
        )
        traffic = self._of(mailbox, provider, day)
        trust += m.age_trust * (1 - exp(-traffic.age / m.age_days))
        beyond = traffic.today + 1 - m.surge_free - m.surge_ratio * traffic.usual
        if beyond > 0:
            trust -= m.surge * beyond / max(traffic.usual, 1.0, m.surge_free)
        return trust

    def count(self, mailbox: int, provider: str, day: float) -> None:
        """A message arrived."""
        self._of(mailbox, provider, day).today += 1

    def note(self, mailbox: int, domain: str, provider: str, day: float, deed: str) -> None:
        """What became of a message: rescue, reply, read, junked, complaint or bounce."""
        m = self._model
        points: float = getattr(m, deed)
        own = self._mailboxes.setdefault((mailbox, provider), _Evidence())
        shared = self._domains.setdefault((domain, provider), _Evidence())
        for evidence in (own, shared):
            evidence.now(day, m.half_life_days)
            evidence.points += points
        if deed == "complaint":
            self._of(mailbox, provider, day).age /= 2

    def _of(self, mailbox: int, provider: str, day: float) -> _Traffic:
        traffic = self._traffic.get((mailbox, provider))
        if traffic is None:
            traffic = self._traffic[mailbox, provider] = _Traffic()
        traffic.roll(int(day), self._model.usual_days)
        return traffic
