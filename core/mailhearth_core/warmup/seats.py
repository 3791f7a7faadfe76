"""What a matching counts: mailboxes as hosts and as guests, the seats between them, local dates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from mailhearth_core.warmup.peering import Peer, Slot
from mailhearth_core.warmup.window import local_date

DAY = timedelta(days=1)
NEVER = 10**6
"""Days since a thread with a peer that had none: longer than any."""
LAST_PLACES = 5
"""One fifth of a mailbox's places (at least one) goes to senders that find no other peer."""
QUARTER_S = 900
"""Within a quarter of an hour no zone changes its date: all offsets are multiples of it."""


class Host:
    """A mailbox as recipient: what it has been given on each of its local dates.

    Attributes:
        last_places: so many of its places go to senders that find no other peer.
    """

    __slots__ = (
        "address", "domain", "last_places", "left_out", "peer", "places", "pool", "provider", "ref",
        "taken", "threads", "workspace", "zone",
    )  # fmt: skip

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.ref = peer.ref
        self.places = peer.places
        self.last_places = max(1, self.places // LAST_PLACES)
        self.provider, self.domain = peer.provider, peer.domain
        self.zone = peer.timezone
        self.address = peer.address.lower()
        self.pool, self.workspace = peer.pool_id.int, peer.workspace_id.int
        self.taken: dict[date, int] = {}
        self.threads: dict[date, list[Seat]] = defaultdict(list)
        self.left_out: dict[date, list[list[Host]]] = {}
        """The lists of hosts with room that it left when it was full."""

    def room(self, day: date) -> int:
        return self.places - self.taken.get(day, 0)

    def add(self, day: date, count: int) -> None:
        self.taken[day] = self.taken.get(day, 0) + count


class Audience:
    """Few hosts, in order: what mailboxes of one provider and domain in the same circles share.

    Attributes:
        by_likeness: those of another provider first, then those of another domain.
    """

    __slots__ = ("by_likeness", "hosts")

    def __init__(self, hosts: list[Host], provider: str, domain: str) -> None:
        self.hosts = hosts
        alike: dict[tuple[bool, bool], list[Host]] = defaultdict(list)
        for host in hosts:
            alike[host.provider == provider, host.domain == domain].append(host)
        self.by_likeness = [alike[key] for key in sorted(alike)]


class Guest:
    """A mailbox as sender: whom it may write to, whom it has written to, and in this call.

    Attributes:
        address: its own; its audience holds it too.
        audience: all whom it may write to; None when these are many.
        circles: its circles when they are many: how wide, and the hosts in it.
    """

    __slots__ = (
        "address", "audience", "circles", "domain", "gap", "last", "peer", "provider", "started",
    )  # fmt: skip

    def __init__(
        self,
        peer: Peer,
        audience: Audience | None,
        circles: list[tuple[int, Circle]],
        last: Mapping[str, datetime],
    ) -> None:
        self.peer = peer
        self.address = peer.address.lower()
        self.provider, self.domain = peer.provider, peer.domain
        self.gap = timedelta(hours=peer.policy.pair_gap_hours)
        self.audience = audience
        self.circles = circles
        self.last = last
        self.started: dict[Host, list[Seat]] = {}

    def in_the_way(self, due_at: datetime, host: Host) -> tuple[Seat, ...]:
        """New threads of this call to the same host that lie within the pair gap."""
        started = self.started.get(host)
        if not started:
            return ()
        return tuple(other for other in started if abs(other.due_at - due_at) < self.gap)

    def rested_days(self, due_at: datetime, ref: str) -> int:
        """Whole days since it last started a thread with a peer; NEVER if it did not."""
        last = self.last.get(ref)
        return NEVER if last is None else (due_at - last) // DAY


class Seat:
    """A slot for a new thread, and with whom it is seated on which date; None while it is not."""

    __slots__ = ("dates", "day", "due_at", "guest", "host", "quarter", "slot")

    def __init__(self, slot: Slot, guest: Guest, calendar: Calendar) -> None:
        self.slot = slot
        self.due_at = slot.due_at
        self.guest = guest
        self.quarter = calendar.quarter(slot.due_at)
        self.dates = calendar.dates(self.quarter)
        self.host: Host | None = None
        self.day: date | None = None

    def date_in(self, timezone: str) -> date:
        """The local date of its due time."""
        found = self.dates.get(timezone)
        if found is None:
            found = self.dates[timezone] = local_date(self.due_at, timezone)
        return found


class Calendar:
    """The local dates of a moment in any zone, worked out once for each quarter of an hour."""

    def __init__(self) -> None:
        self._quarters: dict[int, dict[str, date]] = {}

    def quarter(self, at: datetime) -> int:
        return int(at.timestamp()) // QUARTER_S

    def dates(self, quarter: int) -> dict[str, date]:
        """The dates known so far, by zone."""
        return self._quarters.setdefault(quarter, {})


class Draws:
    """Numbers that depend on a seed only: a linear congruential generator modulo 2^64.

    `chance.stream` is better and takes as long as all else that is done for a slot.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ seed >> 64) & 0xFFFFFFFFFFFFFFFF

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1; `limit` is far below 2^32."""
        # Knuth's multiplier (MMIX); the high bits are the good ones.
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self._state >> 32) * limit >> 32


class Circle:
    """Mailboxes that accept each other's mail, by provider; those with room are kept in lists."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._providers: dict[str, list[Host]] = defaultdict(list)
        for host in hosts:
            self._providers[host.peer.provider].append(host)
        self._zones = sorted({host.zone for some in self._providers.values() for host in some})
        self._by_days: dict[tuple[date, ...], dict[str, list[Host]]] = {}
        self._by_quarter: dict[int, dict[str, list[Host]]] = {}

    def with_room(self, seat: Seat) -> dict[str, list[Host]]:
        """The hosts with room at a seat's time, by provider. Who is found full may be taken out."""
        found = self._by_quarter.get(seat.quarter)
        if found is None:
            days = tuple(seat.date_in(zone) for zone in self._zones)
            if days not in self._by_days:
                day = dict(zip(self._zones, days, strict=True))
                self._by_days[days] = {
                    provider: [host for host in hosts if host.room(day[host.zone]) > 0]
                    for provider, hosts in self._providers.items()
                }
            found = self._by_quarter[seat.quarter] = self._by_days[days]
        return found
