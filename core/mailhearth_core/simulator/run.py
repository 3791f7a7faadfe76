"""One run: days sized at local midnights, peers matched each hour for the next two, mail sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from uuid import UUID

from mailhearth_core.simulator.faults import plan_faults
from mailhearth_core.simulator.mail import DAY, Box, Letter, Mail
from mailhearth_core.simulator.receivers import Reputation
from mailhearth_core.simulator.result import Result
from mailhearth_core.simulator.rules import Ruling, rule
from mailhearth_core.simulator.scenario import (
    FIRST_DAY,
    Scenario,
    leanings,
    number_of,
    population,
)
from mailhearth_core.warmup.matching import Peer, Slot, Snapshot, match
from mailhearth_core.warmup.peering import Audiences
from mailhearth_core.warmup.ramp import DaySignals
from mailhearth_core.warmup.sensors import EVERYONE_ELSE, SensorCounts, excluded_sensors
from mailhearth_core.warmup.sizing import SizeInputs, size_day
from mailhearth_core.warmup.window import day_start, local_date, next_midnight

HOUR = timedelta(hours=1)
HORIZON = timedelta(hours=2)
"""How far ahead peers are bound, each hour; as the scheduler does."""
LATE = timedelta(hours=2)
"""How long after its time a message may still leave."""
POOL = UUID(int=2)
AFTER_DAYS = 2
"""Days that the clock runs on after the last one, so that its mail is seen."""


@dataclass(eq=False, slots=True)
class Send:
    """A planned message: a slot, and once it is bound, whom it goes to."""

    box: Box
    slot: Slot
    day: date
    letter: Letter | None = None
    peer_day: date | None = None
    before: datetime | None = None
    """When the pair's last thread was, before this one."""

    @property
    def not_after(self) -> datetime:
        return self.slot.due_at + LATE


@dataclass(slots=True)
class Plan:
    """What the planner keeps of a mailbox."""

    box: Box
    peer: Peer
    next_size_at: datetime
    ruling: Ruling | None = None
    recent: dict[str, datetime] = field(default_factory=dict)


def run(scenario: Scenario) -> Result:
    """The result of a scenario; the same one for the same scenario."""
    return Simulation(scenario).run()


class Simulation:
    """The state of one run."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.policy = scenario.policy
        self._rule = rule(scenario.rule)
        mailboxes = population(scenario)
        starts = [day_start(FIRST_DAY, mailbox.timezone) for mailbox in mailboxes]
        self._start = min(starts)
        self.boxes = [Box(mailbox) for mailbox in mailboxes]
        receivers = scenario.receivers
        self.mail = Mail(
            self.boxes,
            self.policy,
            Reputation(receivers, leanings(scenario)),
            plan_faults(scenario, mailboxes, self._start),
            self._start,
            scenario.seed,
            receivers.complaint_rate,
            receivers.lost_rate,
        )
        self._plans = [
            Plan(box, self._peer(box), start) for box, start in zip(self.boxes, starts, strict=True)
        ]
        self._by_id = {plan.peer.mailbox_id: plan for plan in self._plans}
        self._waiting: list[Send] = []
        self._taken: dict[tuple[UUID, date], int] = defaultdict(int)
        self._slots = 0
        self._ids = number_of(scenario.seed) << 40
        self._deaf: tuple[date, frozenset[UUID]] = (FIRST_DAY, frozenset())

    def _peer(self, box: Box) -> Peer:
        mailbox = box.mailbox
        return Peer(
            mailbox_id=mailbox.id,
            workspace_id=self.mail.workspace,
            pool_id=POOL,
            scope="pool",
            network_consent=False,
            address=mailbox.address,
            display_name="",
            domain=mailbox.domain,
            provider=mailbox.provider,
            accepts=mailbox.consent,
            timezone=mailbox.timezone,
            policy=self.policy,
            volume=0,
        )

    @property
    def hours(self) -> int:
        """How many hours of virtual time `run` goes through."""
        return 24 * (self.scenario.days + AFTER_DAYS)

    def run(self, advance: Callable[[], None] = lambda: None) -> Result:
        """Goes through all hours, once; calls `advance` after each."""
        for hour in range(self.hours):
            now = self._start + hour * HOUR
            self._size(now)
            self._bind(now)
            self.mail.run_until(now + HOUR)
            advance()
        return Result.of(self.scenario, self.boxes)

    # -- sizing ---------------------------------------------------------------------------------

    def _size(self, now: datetime) -> None:
        due = [plan for plan in self._plans if plan.next_size_at <= now]
        if not due:
            return
        self._refresh(now)
        self._forget_old_ledgers(now)
        audiences = Audiences(plan.peer for plan in self._plans)
        last_day = FIRST_DAY + (self.scenario.days - 1) * DAY
        for plan in due:
            day = local_date(now, plan.peer.timezone)
            midnight = next_midnight(now, plan.peer.timezone)
            plan.next_size_at = midnight
            if day <= last_day:
                self._size_one(plan, day, now, midnight, audiences.count(plan.peer))

    def _size_one(
        self, plan: Plan, day: date, now: datetime, midnight: datetime, peers: int
    ) -> None:
        box = plan.box
        signals = DaySignals(
            consented=box.mailbox.consent,
            needs_reauth=box.needs_reauth,
            auth_failures=box.auth_failures,
            placements=self.mail.placements(box, day, self._sensors_out(day)),
            review_passed=True,  # a blocked mailbox is looked at as soon as it may be
        )
        plan.ruling = self._rule.decide(plan.ruling, self.policy, day, signals)
        box.shunned = plan.ruling.row.phase == "blocked"
        self._forget_old_wishes(box, now)
        sized = size_day(
            SizeInputs(
                timezone=plan.peer.timezone,
                day=day,
                starts_at=now,
                policy=self.policy,
                controller=plan.ruling.row,
                eligible_peers=peers,
                replies_due=sum(wish.reply_at < midnight for wish, _ in box.wishes.values()),
                has_campaign=False,
                seed=box.mailbox.seed,
            )
        )
        tally = box.tallies[day]
        tally.planned, tally.target = sized.volume, plan.ruling.row.target_volume
        tally.state, tally.rests = plan.ruling.row.state, plan.ruling.rests
        if plan.peer.volume != sized.volume:
            plan.peer = replace(plan.peer, volume=sized.volume)
        for moment in sized.moments:
            self._slots += 1
            slot = Slot(
                plan.peer.workspace_id,
                plan.peer.mailbox_id,
                UUID(int=self._ids | self._slots),
                moment,
            )
            self._waiting.append(Send(box, slot, day))

    def _sensors_out(self, day: date) -> frozenset[UUID]:
        """Recipients that are no sensors, looked at once for each date."""
        if self._deaf[0] == day:
            return self._deaf[1]
        counts: dict[tuple[UUID, UUID], list[int]] = {}
        for box in self.boxes:
            for back in range(1, 8):
                for recipient, (inbox, junk, missing) in box.seen.get(day - back * DAY, {}).items():
                    key = (self.boxes[recipient].mailbox.id, box.mailbox.id)
                    seen = counts.setdefault(key, [0, 0])
                    seen[0] += inbox + junk + missing
                    seen[1] += junk
        found = excluded_sensors(
            [SensorCounts(r, s, placed, junk) for (r, s), (placed, junk) in counts.items()]
        )
        self._deaf = (day, found - {EVERYONE_ELSE})
        return self._deaf[1]

    def _forget_old_ledgers(self, now: datetime) -> None:
        oldest = now.date() - 2 * DAY
        for key in [key for key in self._taken if key[1] < oldest]:
            del self._taken[key]

    def _forget_old_wishes(self, box: Box, now: datetime) -> None:
        kept = timedelta(hours=self.policy.retention_hours)
        for inbound_id, (wish, _) in list(box.wishes.items()):
            if wish.reply_at + kept < now:
                del box.wishes[inbound_id]

    def _refresh(self, now: datetime) -> None:
        """Whom anybody may write to now."""
        for plan in self._plans:
            accepts = self.mail.accepts(plan.box, now)
            if accepts != plan.peer.accepts:
                plan.peer = replace(plan.peer, accepts=accepts)

    # -- matching -------------------------------------------------------------------------------

    def _bind(self, now: datetime) -> None:
        waiting: dict[UUID, Send] = {}
        later = []
        for send in self._waiting:
            if send.not_after < now:
                send.box.tallies[send.day].skipped += 1  # no peer was found
            elif send.slot.due_at < now + HORIZON:
                waiting[send.slot.outbound_id] = send
            else:
                later.append(send)
        self._waiting = later
        if not waiting:
            return
        self._refresh(now)
        senders = {send.slot.mailbox_id for send in waiting.values()}
        bindings = match(
            Snapshot(
                peers=tuple(plan.peer for plan in self._plans),
                slots=tuple(
                    replace(send.slot, due_at=max(send.slot.due_at, now))
                    for send in waiting.values()
                ),
                wishes=tuple(
                    wish
                    for id_ in senders
                    for wish, _ in self._by_id[id_].box.wishes.values()
                    if wish.reply_at < now + HORIZON
                ),
                recent={
                    (id_, ref): at for id_ in senders for ref, at in self._by_id[id_].recent.items()
                },
                taken=self._taken,
            )
        )
        for binding in bindings:
            send = waiting.pop(binding.slot.outbound_id)
            self._taken[binding.peer.mailbox_id, binding.peer_day] += 1
            answers = None
            if binding.wish is not None:
                _, answers = send.box.wishes.pop(binding.wish.inbound_id)
            else:
                recent = self._by_id[binding.slot.mailbox_id].recent
                send.before = recent.get(binding.peer.ref)
                recent[binding.peer.ref] = binding.slot.due_at
            recipient = self._by_id[binding.peer.mailbox_id].box.mailbox.index
            send.letter = self.mail.new_letter(send.box, recipient, send.day, answers)
            send.peer_day = binding.peer_day
            self.mail.later(binding.slot.due_at, self._attempt, send)
        self._waiting += waiting.values()

    # -- sending --------------------------------------------------------------------------------

    def _attempt(self, at: datetime, send: Send) -> None:
        """Sends now, or later when a server is back, or not at all."""
        letter = send.letter
        assert letter is not None
        down = self.mail.down_until(send.box, at)
        if down is not None and down <= send.not_after:
            self.mail.later(down, self._attempt, send)
            return
        if down is None and self.mail.locked_until(send.box, at):
            if not send.box.needs_reauth:
                self.mail.failed_sign_in(send.box, at)
            down = at
        if down is not None:
            self._unbind(send, letter)
            send.box.tallies[send.day].skipped += 1
        elif not self.mail.accepts(self.boxes[letter.recipient], at):
            self._unbind(send, letter)
            self._waiting.append(send)
        else:
            self.mail.send(at, letter)

    def _unbind(self, send: Send, letter: Letter) -> None:
        """Gives the peer's place back; a reply is no longer wished."""
        peer = self._plans[letter.recipient].peer
        assert send.peer_day is not None
        self._taken[peer.mailbox_id, send.peer_day] -= 1
        if letter.answers is None:
            recent = self._by_id[send.slot.mailbox_id].recent
            if send.before is None:
                recent.pop(peer.ref, None)
            else:
                recent[peer.ref] = send.before
        send.letter = None
