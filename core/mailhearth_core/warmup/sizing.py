"""How many messages a mailbox sends on one local date, at which moments, and why.

Sized once, at the mailbox's local midnight, and stored with its inputs: these explain the number
later, replay it and feed the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from mailhearth_core.warmup.chance import stream
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import BLOCKED, ControllerRow
from mailhearth_core.warmup.reasons import Reason
from mailhearth_core.warmup.window import Frame, draw_moments, profile, sending_window

WORTH_SENDING = 0.12
"""A day that begins late still sends one message while about an eighth of its window is left."""


@dataclass(frozen=True, slots=True)
class SizeInputs:
    """Everything that `size_day` sees.

    Attributes:
        timezone: the mailbox's IANA zone.
        day: the local date.
        starts_at: nothing is sent before this instant (UTC): the local midnight, or later on a
            first day and when sizing itself was late.
        policy: the pool's, as it was.
        controller: the row of this date.
        eligible_peers: how many mailboxes this one may write to.
        replies_due: wished replies that fall due on this date.
        has_campaign: whether the mailbox also runs a campaign.
        seed: the mailbox's own, the same every day.
    """

    timezone: str
    day: date
    starts_at: datetime
    policy: Policy
    controller: ControllerRow
    eligible_peers: int
    replies_due: int
    has_campaign: bool
    seed: int

    def to_json(self) -> dict[str, Any]:
        return {
            "timezone": self.timezone,
            "day": self.day.isoformat(),
            "starts_at": self.starts_at.isoformat(),
            "policy": self.policy.to_json(),
            "controller": self.controller.to_json(),
            "eligible_peers": self.eligible_peers,
            "replies_due": self.replies_due,
            "has_campaign": self.has_campaign,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SizeInputs:
        """Stored inputs.

        Raises:
            InvalidValue: the stored policy or controller row is not one that this version knows.
        """
        return cls(
            data["timezone"],
            date.fromisoformat(data["day"]),
            datetime.fromisoformat(data["starts_at"]),
            Policy.from_json(data["policy"]),
            ControllerRow.from_json(data["controller"]),
            data["eligible_peers"],
            data["replies_due"],
            data["has_campaign"],
            data["seed"],
        )


@dataclass(frozen=True, slots=True)
class SizedDay:
    """A day's sending.

    Attributes:
        volume: messages of this day, replies included.
        moments: when each is due, in UTC, in order.
        reasons: the steps that led to the volume, the last one holding it.
        peers_lacking: how many more mailboxes the whole day's target would need; 0 when enough.
    """

    volume: int
    moments: tuple[datetime, ...]
    reasons: tuple[Reason, ...]
    peers_lacking: int


def feasible(peers: int, policy: Policy) -> int:
    """New threads a day on which every peer still rests for the whole pair gap in between."""
    return peers * 24 // policy.pair_gap_hours


def mailboxes_needed(volume: int, policy: Policy) -> int:
    """Eligible peers needed for that many new threads a day: the least that make it feasible."""
    return -(-volume * policy.pair_gap_hours // 24)


def size_day(inputs: SizeInputs) -> SizedDay:
    """The volume and the moments of a mailbox's local date.

    In this order: nothing while the mailbox's state blocks sending or on a day that is no sending
    weekday; else the controller's target, at most `campaign_cap` beside a campaign, the part of it
    that falls to the rest of the window when the day begins late, at most the replies due plus the
    new threads that the pool's size allows (a reply is not bound by the pair gap), and at most what
    fits into the window with the minimum gap.
    """
    policy, row = inputs.policy, inputs.controller
    if row.state in BLOCKED:
        return _none(Reason("state", BLOCKED[row.state], 0))
    if not policy.sends_on(inputs.day):
        return _none(Reason("rest_day", "not a sending weekday", 0))
    volume = row.target_volume
    reasons = [
        Reason("target", f"the ramp allows {volume} on sending day {row.day_number}", volume)
    ]
    if inputs.has_campaign and volume > policy.campaign_cap:
        volume = policy.campaign_cap
        reasons.append(Reason("campaign", f"at most {volume} beside a running campaign", volume))

    lacking = max(
        0, mailboxes_needed(volume - inputs.replies_due, policy) - max(0, inputs.eligible_peers)
    )
    window = sending_window(inputs.day, policy.window_start, policy.window_end, inputs.timezone)
    frame = Frame(
        max(window[0], inputs.starts_at), window[1], timedelta(seconds=policy.min_gap_seconds)
    )
    left = _part_left(window, frame)
    if left < 1 and volume:
        part = int(volume * left + 0.5)
        part = max(part, 1) if left >= WORTH_SENDING else part
        if part < volume:
            text = f"{100 * left:.0f} % of the sending window is left" if left else "no window left"
            reasons.append(Reason("prorated", text, part))
        volume = part

    threads = feasible(max(0, inputs.eligible_peers), policy)
    if volume > inputs.replies_due + threads:
        volume = inputs.replies_due + threads
        text = f"pool too small: {lacking} more mailbox{'es' * (lacking != 1)} needed"
        reasons.append(Reason("pool_too_small", text, volume))
    fits = frame.capacity(volume)
    if fits < volume:
        volume = fits
        text = f"only {fits} fit with {policy.min_gap_seconds} s between two"
        reasons.append(Reason("window_full", text, volume))

    habit = profile(stream(inputs.seed, "habit"))
    chance = stream(inputs.seed, "moments", inputs.day.isoformat())
    return SizedDay(
        volume, draw_moments(frame, window, volume, habit, chance), tuple(reasons), lacking
    )


def _part_left(window: tuple[datetime, datetime], frame: Frame) -> float:
    opens, closes = window
    return max(0.0, (closes - frame.start) / (closes - opens)) if opens < closes else 0.0


def _none(reason: Reason) -> SizedDay:
    return SizedDay(0, (), (reason,), 0)
