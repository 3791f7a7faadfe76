"""Mail on its way in virtual time: sent, placed or returned, seen, engaged with."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import exp
from typing import Any
from uuid import UUID

from mailhearth_core.simulator.faults import JUNK_HAPPY_RATE, LISTED_TRUST, FaultPlan
from mailhearth_core.simulator.receivers import Reputation
from mailhearth_core.simulator.scenario import Mailbox
from mailhearth_core.warmup.chance import stream
from mailhearth_core.warmup.engagement import plan_engagement
from mailhearth_core.warmup.learning import Placements
from mailhearth_core.warmup.matching import Wish
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.polling import FINAL_AFTER, OFFSETS, wake_slot

DAY = timedelta(days=1)
TURNS = (2, 5)
"""Messages of a conversation, as in the built-in library."""
BLOCKING_BOUNCES, BLOCKING_DAYS = 3, timedelta(days=7)
"""So many bounces in so long take a domain out as a peer; as `sched.domain_blocked` does."""


@dataclass(slots=True)
class Tally:
    """What became of one mailbox's sends of one local date: the truth, whoever has seen it yet."""

    planned: int = 0
    sent: int = 0
    inbox: int = 0
    junk: int = 0
    missing: int = 0
    bounced: int = 0
    replies: int = 0
    skipped: int = 0
    target: int = 0
    state: str = ""
    rests: bool = False


@dataclass(eq=False, slots=True)
class Letter:
    """One message.

    Attributes:
        sender, recipient: mailbox indices.
        day: the sender's local date, in whose tally it counts.
        seed: what chance its reader's deeds have.
        turns_left: how many messages of the conversation follow it.
        answers: the letter that it replies to.
    """

    sender: int
    recipient: int
    day: date
    seed: int
    turns_left: int
    answers: Letter | None


@dataclass(slots=True)
class Box:
    """A mailbox's state as the product knows it."""

    mailbox: Mailbox
    auth_failures: int = 0
    needs_reauth: bool = False
    shunned: bool = False
    """Blocked by the controller: nobody writes to it."""
    tried_at: datetime | None = None
    tallies: dict[date, Tally] = field(default_factory=lambda: defaultdict(Tally))
    seen: dict[date, dict[int, list[int]]] = field(default_factory=dict)
    """Send date to recipient to [inbox, junk, missing], as observed so far."""
    returned: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    wishes: dict[UUID, tuple[Wish, Letter]] = field(default_factory=dict)


class Mail:
    """Everything between a bound slot and its consequences.

    Args:
        start: when the first day begins; days of reputation are counted from it.
        chance: (seed, name) of the run's draws.
    """

    def __init__(
        self,
        boxes: Sequence[Box],
        policy: Policy,
        reputation: Reputation,
        plan: FaultPlan,
        start: datetime,
        seed: int,
        complaint_rate: float,
        lost_rate: float,
    ) -> None:
        self.boxes = boxes
        self.workspace = UUID(int=1)
        self._policy = policy
        self._reputation = reputation
        self._plan = plan
        self._start = start
        self._chance = stream(seed, "mail")
        self._complaints = complaint_rate * plan.annoyed
        self._lost = lost_rate
        self._events: list[tuple[datetime, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._bounces: dict[str, list[datetime]] = defaultdict(list)
        for mailbox, spells in plan.locked.of.items():
            for spell in spells:
                self.later(spell.end, self._reconnect, mailbox)

    # -- events ---------------------------------------------------------------------------------

    def later(self, at: datetime, deed: Callable[..., None], *words: Any) -> None:
        """Does something at a moment; things of the same moment keep their order."""
        self._count += 1
        heapq.heappush(self._events, (at, self._count, deed, words))

    def run_until(self, end: datetime) -> None:
        """All that is due before a moment."""
        events = self._events
        while events and events[0][0] < end:
            at, _, deed, words = heapq.heappop(events)
            deed(at, *words)

    # -- what the product knows -----------------------------------------------------------------

    def accepts(self, box: Box, now: datetime) -> bool:
        """Whether anybody may write to a mailbox."""
        if not box.mailbox.consent or box.shunned:
            return False
        if box.auth_failures >= self._policy.exclude_after_failures:
            return False
        bounces = self._bounces.get(box.mailbox.domain)
        if not bounces or len(bounces) < BLOCKING_BOUNCES:
            return True
        return sum(at > now - BLOCKING_DAYS for at in bounces) < BLOCKING_BOUNCES

    def placements(self, box: Box, day: date, deaf: frozenset[UUID]) -> Placements:
        """What is known of the sends of the seven dates before `day`, without `deaf` sensors."""
        inbox = junk = missing = bounced = sent = 0
        for back in range(1, 8):
            past = day - back * DAY
            if past not in box.tallies:
                continue
            sent += box.tallies[past].sent
            bounced += box.returned.get(past, 0)
            for recipient, counts in box.seen.get(past, {}).items():
                if self.boxes[recipient].mailbox.id not in deaf:
                    inbox, junk, missing = inbox + counts[0], junk + counts[1], missing + counts[2]
        return Placements(inbox=inbox, junk=junk, missing=missing, bounced=bounced, sent=sent)

    def new_letter(self, box: Box, recipient: int, day: date, answers: Letter | None) -> Letter:
        """A thread's opening, or the reply to a letter."""
        seed = int(self._chance.random() * 2**52)
        if answers is not None:
            left = answers.turns_left - 1
        else:
            left = TURNS[0] - 1 + seed % (TURNS[1] - TURNS[0] + 1)
        return Letter(box.mailbox.index, recipient, day, seed, left, answers)

    def failed_sign_in(self, box: Box, at: datetime) -> None:
        """Counts at most one failure an hour: what is due meanwhile waits with it."""
        if box.tried_at is not None and at - box.tried_at < timedelta(hours=1):
            return
        box.tried_at = at
        box.auth_failures += 1
        if box.auth_failures >= self._policy.reauth_after_failures:
            box.needs_reauth = True

    def down_until(self, box: Box, at: datetime) -> datetime | None:
        """Until when nothing can be done in a mailbox: its provider or we ourselves are down."""
        down = self._plan.down
        ends = (down.until("mailhearth", at), down.until(box.mailbox.provider, at))
        return max((end for end in ends if end), default=None)

    def locked_until(self, box: Box, at: datetime) -> datetime | None:
        return self._plan.locked.until(box.mailbox.index, at)

    def _reconnect(self, at: datetime, index: int) -> None:
        box = self.boxes[index]
        box.auth_failures, box.needs_reauth, box.tried_at = 0, False, None

    # -- the way of a message -------------------------------------------------------------------

    def send(self, at: datetime, letter: Letter) -> None:
        """The sender's server took it."""
        sender, reader = self.boxes[letter.sender], self.boxes[letter.recipient]
        tally = sender.tallies[letter.day]
        tally.sent += 1
        if letter.answers is not None:
            tally.replies += 1
            self._note(letter.answers, at, "reply")
        down = self._plan.down.until(reader.mailbox.provider, at)
        if down is None:
            self._arrive(at, letter)
        else:  # the sender's server keeps it until then
            self.later(down, self._arrive, letter)

    def _arrive(self, at: datetime, letter: Letter) -> None:
        sender, reader = self.boxes[letter.sender].mailbox, self.boxes[letter.recipient].mailbox
        tally = self.boxes[letter.sender].tallies[letter.day]
        dead = self._plan.dead
        if dead.until(reader.domain, at) or dead.until(reader.index, at):
            tally.bounced += 1
            self.boxes[letter.sender].returned[letter.day] += 1
            self._bounces[reader.domain].append(at)
            self._note(letter, at, "bounce")
            return
        day = self._day(at)
        trust = self._reputation.trust(sender.index, sender.domain, reader.provider, day)
        self._reputation.count(sender.index, reader.provider, day)
        if self._plan.listed.until(sender.domain, at):
            trust -= LISTED_TRUST
        lost, junk, own = (self._chance.random() for _ in range(3))
        if lost < self._lost:
            tally.missing += 1
            self.later(at + FINAL_AFTER, self._observe, letter, "missing")
            return
        if junk < 1 / (1 + exp(trust)):
            placement = "junk"
            self._note(letter, at, "junked")
        else:
            happy = reader.index in self._plan.junk_happy and own < JUNK_HAPPY_RATE
            placement = "junk" if happy else "inbox"
        if placement == "junk":
            tally.junk += 1
        else:
            tally.inbox += 1
        self.later(wake_slot(at + OFFSETS[0]), self._observe, letter, placement)

    def _observe(self, at: datetime, letter: Letter, placement: str) -> None:
        sender, reader = self.boxes[letter.sender], self.boxes[letter.recipient]
        locked = self.locked_until(reader, at)
        if locked is not None:
            self.failed_sign_in(reader, at)
        blind = locked or self.down_until(reader, at)
        if blind is not None:
            self.later(wake_slot(blind + OFFSETS[0]), self._observe, letter, placement)
            return
        counts = sender.seen.setdefault(letter.day, {}).setdefault(letter.recipient, [0, 0, 0])
        counts[("inbox", "junk", "missing").index(placement)] += 1
        if placement == "missing" or not reader.mailbox.consent:
            return
        plan = plan_engagement(
            seed=letter.seed,
            policy=self._policy,
            placement=placement,
            observed_at=at,
            auto_submitted=False,
            turns_left=letter.turns_left,
        )
        if placement == "inbox" and self._chance.random() < self._complaints:
            self.later(plan.read_at or at, self._deed, letter, "complaint")
            return
        if plan.rescue_at:
            self.later(plan.rescue_at, self._deed, letter, "rescue")
        if plan.read_at:
            self.later(plan.read_at, self._deed, letter, "read")
        if plan.reply_at:
            wish = Wish(
                self.workspace,
                reader.mailbox.id,
                UUID(int=(1 << 120) | letter.seed << 40 | self._count),
                plan.reply_at,
                str(sender.mailbox.id),
            )
            reader.wishes[wish.inbound_id] = (wish, letter)

    def _deed(self, at: datetime, letter: Letter, deed: str) -> None:
        reader = self.boxes[letter.recipient]
        blind = self.locked_until(reader, at) or self.down_until(reader, at)
        if blind is not None and deed != "complaint":  # a complaint is its owner's doing
            self.later(blind, self._deed, letter, deed)
            return
        self._note(letter, at, deed)

    def _note(self, letter: Letter, at: datetime, deed: str) -> None:
        sender, reader = self.boxes[letter.sender].mailbox, self.boxes[letter.recipient].mailbox
        self._reputation.note(sender.index, sender.domain, reader.provider, self._day(at), deed)

    def _day(self, at: datetime) -> float:
        return max(0.0, (at - self._start) / DAY)
