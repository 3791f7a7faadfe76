"""Seats new threads with recipients: the table of one matching, who sits where and who could.

A mailbox that may write to few peers (`FEW` at most) looks at all of them, and slots are moved when
one finds nobody. Among more peers it looks at a sample, drawn from its outbound id, of those that
have room, and at all of these only when the sample holds nobody; there nothing is moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from mailhearth_core.warmup.chance import stream
from mailhearth_core.warmup.peering import Audiences, Peer, Slot
from mailhearth_core.warmup.seats import (
    DAY,
    NEVER,
    Audience,
    Calendar,
    Circle,
    Draws,
    Guest,
    Host,
    Seat,
)
from mailhearth_core.warmup.window import local_date

MOVES_FOR_ONE = 200
MOVES_FOR_ALL = 2_000
"""Moves tried for one slot, and in one call: bounds on time that small pools never reach."""
FEW = 64
"""So many peers at most are all looked at for each slot."""
SAMPLE = 16
"""So many peers with room are looked at among more, or fewer when"""
ENOUGH = 4
"""so many of them could hardly be better but for their room."""

Rank = tuple[bool, bool, bool, int, float]
"""What is preferred, least first: room beyond the last places, other provider, other domain,
written to longest ago, most room."""
BEST = (False, False, False, -NEVER)
Lists = list[tuple[int, list[Host]]]
"""Hosts with room, and how wide the circle is in which they stand."""


class Table:
    """Who is seated with whom so far, and who could be."""

    def __init__(
        self,
        peers: Iterable[Peer],
        recent: Mapping[tuple[UUID, str], datetime],
        taken: Mapping[tuple[UUID, date], int],
    ) -> None:
        ordered = sorted(peers, key=lambda peer: peer.mailbox_id.int)
        self.peers = {peer.mailbox_id: peer for peer in ordered}
        self.calendar = Calendar()
        self._audiences = Audiences(self.peers.values())
        self._hosts = [Host(peer) for peer in self._audiences.peers]
        # By the ids' numbers, which Python hashes ten times faster than the ids.
        self._by_id = {host.peer.mailbox_id.int: host for host in self._hosts}
        for (id_, day), count in taken.items():
            if host := self._by_id.get(id_.int):
                host.taken[day] = count
        self._last: dict[int, dict[str, datetime]] = defaultdict(dict)
        for (id_, ref), at in recent.items():
            self._last[id_.int][ref] = at
        self._guests: dict[UUID, Guest] = {}
        self._circles: dict[object, Circle] = {}
        self._few: dict[object, Audience] = {}
        self._moves = 0
        self._moves_left = MOVES_FOR_ALL

    def take_in(self, slot: Slot, peer: Peer) -> date:
        """Counts a reply in its recipient's ledger; says on which date."""
        day = local_date(slot.due_at, peer.timezone)
        self._by_id[peer.mailbox_id.int].add(day, 1)
        return day

    def place(self, slot: Slot) -> Seat:
        """Seats a slot with the peer it likes best, moving others if nobody is free for it.

        The seat may change its host as long as others are placed.
        """
        seat = Seat(slot, self._guest(slot.mailbox_id), self.calendar)
        self._moves = min(MOVES_FOR_ONE, self._moves_left)
        self._moves_left -= self._moves
        self._place(seat, {seat})
        self._moves_left += self._moves
        return seat

    def preference(self, seat: Seat, peer: Peer) -> str:
        """What spoke for a peer, for a person."""
        guest = seat.guest
        rested = guest.rested_days(seat.due_at, peer.ref)
        provider = "same" if peer.provider == guest.peer.provider else "other"
        domain = "same" if peer.domain == guest.peer.domain else "other"
        # Of many peers only the threads within the pair gap need be known.
        written = "not written to before" if guest.audience is not None else "one of many"
        if rested != NEVER:
            written = f"last written to {rested} day{'s' * (rested != 1)} ago"
        return f"{provider} provider, {domain} domain, {written}"

    def _guest(self, mailbox_id: UUID) -> Guest:
        guest = self._guests.get(mailbox_id)
        if guest is None:
            peer = self.peers[mailbox_id]
            audience, circles = None, []
            if self._audiences.count(peer) <= FEW:
                audience = self._audience(peer)
            else:
                circles = [
                    (width, self._circle(name, some))
                    for width, name, some in self._audiences.circles(peer)
                ]
            last = self._last.get(mailbox_id.int, {})
            guest = self._guests[mailbox_id] = Guest(peer, audience, circles, last)
        return guest

    def _audience(self, peer: Peer) -> Audience:
        circles = tuple(name for _, name, _ in self._audiences.circles(peer))
        key = (circles, peer.provider, peer.domain)
        if key not in self._few:
            hosts = [self._hosts[index] for index in self._audiences.positions(peer)]
            self._few[key] = Audience(hosts, peer.provider, peer.domain)
        return self._few[key]

    def _circle(self, name: object, positions: Sequence[int]) -> Circle:
        if name not in self._circles:
            self._circles[name] = Circle(self._hosts[index] for index in positions)
        return self._circles[name]

    def _place(self, seat: Seat, moved: set[Seat]) -> bool:
        audience = seat.guest.audience
        best = self._among_many(seat) if audience is None else self._among_few(seat, audience)
        if best is not None:
            self._seat(seat, *best)
            return True
        if audience is None or self._moves == 0:
            return False
        for host, day in self._possible(seat, audience.hosts):
            blockers = seat.guest.in_the_way(seat.due_at, host)
            if len(blockers) > 1:
                continue
            for other in blockers or tuple(host.threads[day]):
                if other in moved or self._moves == 0:
                    continue
                self._moves -= 1
                if self._take_over(seat, host, day, other, moved):
                    return True
        return False

    def _take_over(self, seat: Seat, host: Host, day: date, other: Seat, moved: set[Seat]) -> bool:
        """Gives a slot the place of another that finds one elsewhere; else changes nothing."""
        others_day = self._unseat(other)
        if host.room(day) > 0:
            moved.add(other)
            self._seat(seat, host, day)
            if self._place(other, moved):
                return True
            self._unseat(seat)
        self._seat(other, host, others_day)
        return False

    def _seat(self, seat: Seat, host: Host, day: date) -> None:
        seat.host, seat.day = host, day
        host.add(day, 1)
        host.threads[day].append(seat)
        seat.guest.started.setdefault(host, []).append(seat)

    def _unseat(self, seat: Seat) -> date:
        host, day = seat.host, seat.day
        assert host is not None
        assert day is not None
        seat.host = seat.day = None
        host.add(day, -1)
        host.threads[day].remove(seat)
        seat.guest.started[host].remove(seat)
        if host.room(day) > 0:
            for hosts in host.left_out.pop(day, ()):
                hosts.append(host)
        return day

    def _possible(self, seat: Seat, hosts: Iterable[Host]) -> list[tuple[Host, date]]:
        """All whom the slot could go to if no other new thread were bound in this call."""
        since = seat.due_at - seat.guest.gap
        found = []
        for host in hosts:
            last = seat.guest.last.get(host.ref)
            if host.address != seat.guest.address and (last is None or last <= since):
                found.append((host, seat.date_in(host.zone)))
        return found

    # -- who is best ------------------------------------------------------------------------

    def _rank(self, seat: Seat, host: Host, room: int) -> Rank | None:
        """How well a host with room suits; None when the pair gap forbids it."""
        guest = seat.guest
        rested = NEVER
        last = guest.last.get(host.ref)
        if last is not None:
            since = seat.due_at - last
            if since < guest.gap:
                return None
            rested = since // DAY
        if guest.started.get(host) and guest.in_the_way(seat.due_at, host):
            return None
        return (
            room <= host.last_places,
            host.provider == guest.provider,
            host.domain == guest.domain,
            -rested,
            -room / host.places,
        )

    def _among_few(self, seat: Seat, audience: Audience) -> tuple[Host, date] | None:
        dates, own = seat.dates, seat.guest.address
        best: Rank | None = None
        equal: list[tuple[Host, date]] = []
        for alike in audience.by_likeness:
            for host in alike:
                day = dates.get(host.zone) or seat.date_in(host.zone)
                room = host.places - host.taken.get(day, 0)
                if room <= 0 or host.address == own:
                    continue
                rank = self._rank(seat, host, room)
                if rank is None:
                    continue
                if best is None or rank < best:
                    best, equal = rank, [(host, day)]
                elif rank == best:
                    equal.append((host, day))
            if best is not None and not best[0]:
                break  # nobody who is more alike is better
        if len(equal) > 1:
            chance = stream("peer", seat.slot.outbound_id)
            return equal[int(chance.random() * len(equal))]
        return equal[0] if equal else None

    def _among_many(self, seat: Seat) -> tuple[Host, date] | None:
        """The best of a sample; other providers are drawn first."""
        own = seat.guest.peer.provider
        others: Lists = []
        alike: Lists = []
        for width, circle in seat.guest.circles:
            for provider, hosts in circle.with_room(seat).items():
                if hosts:
                    (alike if provider == own else others).append((width, hosts))
        draws = Draws(seat.slot.outbound_id.int)
        for most in (SAMPLE, None):  # all of them only when the sample held nobody
            rank, best = self._drawn(seat, others, draws, most)
            if rank is None or rank[0]:
                other_rank, other = self._drawn(seat, alike, draws, most)
                if other_rank is not None and (rank is None or other_rank < rank):
                    best = other
            if best is not None:
                return best
        return None

    def _drawn(
        self, seat: Seat, lists: Lists, draws: Draws, most: int | None
    ) -> tuple[Rank | None, tuple[Host, date] | None]:
        """The best of at most `most` hosts drawn from the lists, or of all; who is full leaves."""
        own = self._by_id[seat.slot.mailbox_id.int]
        total = sum(len(hosts) for _, hosts in lists)
        drawing = most is not None and total > 2 * most
        tries = most if drawing and most is not None else total
        best: Rank | None = None
        found: tuple[Host, date] | None = None
        good = 0
        for number in range(tries):
            # All are gone through from the end, so that who leaves changes no place still to come.
            place = draws.below(total) if drawing else tries - 1 - number
            for width, hosts in lists:  # noqa: B007 - the place in all of them, as one in a list
                if place < len(hosts):
                    break
                place -= len(hosts)
            host = hosts[place]
            day = seat.dates[host.zone]
            room = host.places - host.taken.get(day, 0)
            if room <= 0:
                hosts[place] = hosts[-1]
                hosts.pop()
                host.left_out.setdefault(day, []).append(hosts)
                total -= 1
                continue
            if host.address == own.address or (width == 1 and host.pool == own.pool):
                continue
            if width == 2 and host.workspace == own.workspace:
                continue  # it stands in a narrower circle too
            rank = self._rank(seat, host, room)
            if rank is None:
                continue
            if best is None or rank < best:
                best, found = rank, (host, day)
            good += rank[:4] == BEST
            if drawing and good >= ENOUGH:
                break
        return best, found
