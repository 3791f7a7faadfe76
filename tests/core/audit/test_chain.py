"""The chain as values: what a digest covers, what a checkpoint says, what verifying tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.audit.chain import Head, seal, start
from mailhearth_core.audit.checkpoints import Checkpoint, read_lines
from mailhearth_core.audit.digests import Event, Sealed, field_digest, frame, link
from mailhearth_core.audit.verify import verify
from mailhearth_core.errors import InvalidValue

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SCOPE = UUID(int=7)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def event(n: int, **changes: object) -> Event:
    made = Event(UUID(int=n), "mailbox.added", "ann", f"box{n}@x.test", "{}", AT)
    return replace(made, **changes)  # type: ignore[arg-type]


def chain(count: int) -> list[Sealed]:
    return seal(start(SCOPE), [event(n) for n in range(count)], AT + timedelta(seconds=1))


def test_the_format_stays_as_it_was_published() -> None:
    """Chains that exist must verify for ever; a change of these needs a new format."""
    (first,) = seal(Head(0, start(SCOPE).link), [event(1)], AT, salt=lambda: b"s" * 32)
    assert first.digests[0] == field_digest("actor", b"s" * 32, "ann")
    assert [first.digests[0].hex()[:16], first.link.hex()[:16], start(None).link.hex()[:16]] == [
        "30859254cfa301a2",
        "ff373a4876e47beb",
        "4a49e80749f44b2f",
    ]


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_framing_is_unambiguous(one: list[bytes], other: list[bytes]) -> None:
    assert (frame(*one) == frame(*other)) == (one == other)


def test_each_part_of_an_event_is_in_its_link() -> None:
    base = event(1)
    digests = (b"a" * 32, b"b" * 32, b"c" * 32)
    links = {
        link(b"p" * 32, 1, base, digests, AT),
        link(b"q" * 32, 1, base, digests, AT),
        link(b"p" * 32, 2, base, digests, AT),
        link(b"p" * 32, 1, base, (digests[1], digests[0], digests[2]), AT),
        link(b"p" * 32, 1, base, digests, AT + timedelta(microseconds=1)),
        link(b"p" * 32, 1, event(1, at=AT + timedelta(microseconds=1)), digests, AT),
        link(b"p" * 32, 1, event(1, action="mailbox.adde"), digests, AT),
        link(b"p" * 32, 1, event(2), digests, AT),
    }
    assert len(links) == 8
    assert start(SCOPE) != start(None) != start(UUID(int=8))


def test_salts_are_never_the_same() -> None:
    salts = [salt for row in chain(20) for salt in row.salts]
    assert len(set(salts)) == len(salts) == 60
    assert chain(1)[0].digests != chain(1)[0].digests, "equal values do not look equal"


def test_any_other_order_of_a_whole_chain_is_told() -> None:
    rows = chain(4)
    for order in permutations(range(4)):
        moved = [replace(rows[n], seq=seq) for seq, n in enumerate(order, start=1)]
        report = verify(SCOPE, moved, [], [], [])
        assert (report.faults == []) == (list(order) == [0, 1, 2, 3])


@settings(max_examples=60)
@given(st.data())
def test_one_changed_byte_is_told_at_its_row(data: st.DataObject) -> None:
    rows = chain(5)
    at = data.draw(st.integers(0, 4))
    row = rows[at]
    name = data.draw(st.sampled_from(["actor", "subject", "detail", "action"]))
    value = data.draw(st.text(max_size=5).filter(lambda text: text != getattr(row.event, name)))
    edited = replace(row.event, **{name: value})  # type: ignore[arg-type]
    rows[at] = replace(row, event=edited)
    (fault,) = verify(SCOPE, rows, [], [], []).faults
    assert (fault.seq, fault.event_id) == (at + 1, row.event.id)


def point(rows: list[Sealed], seq: int, key: Ed25519PrivateKey = KEY) -> Checkpoint:
    made = Checkpoint(UUID(int=1), SCOPE, seq, rows[seq - 1].link, AT)
    return made.signed(key)


def test_a_checkpoint_bounds_what_can_be_rewritten() -> None:
    rows = chain(6)
    anew = [*rows[:3], *seal(Head(3, rows[2].link), [event(n + 50) for n in range(3)], AT)]
    assert verify(SCOPE, anew, [], [], []).faults == []
    (fault,) = verify(SCOPE, anew, [], [], [point(rows, 2), point(rows, 6)]).faults
    assert fault.kind == "rewritten"
    assert "events 3 to 6" in fault.text
    (fault,) = verify(SCOPE, rows[:4], [], [], [point(rows, 6)]).faults
    assert (fault.kind, "events 5 to 6 are gone" in fault.text) == ("cut_off", True)
    assert verify(SCOPE, [], [], [], [point(rows, 6)]).faults[0].kind == "cut_off"
    assert verify(SCOPE, rows, [], [], [point(rows, 6)]).faults == []


def test_a_checkpoint_that_was_changed_is_not_genuine() -> None:
    good = point(chain(3), 3)
    assert good.is_genuine()
    for changed in (
        replace(good, seq=2),
        replace(good, link=b"x" * 32),
        replace(good, scope=None),
        replace(good, installation=UUID(int=2)),
        replace(good, at=AT + timedelta(seconds=1)),
        replace(good, public_key=b"short"),
        replace(good, public_key=Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
        replace(good, signature=b""),
    ):
        assert not changed.is_genuine()


def test_checkpoints_are_read_from_their_file_and_from_a_log() -> None:
    rows = chain(3)
    lines = [point(rows, seq).to_line() for seq in (1, 2, 3)]
    assert read_lines("\n".join(lines) + "\n", "f") == [point(rows, seq) for seq in (1, 2, 3)]
    log = f'{{"event": "scheduler_started"}}\n{lines[0]}\nTraceback\n{lines[1]}\n{lines[2][:-9]}'
    assert [found.seq for found in read_lines(log, "f")] == [1, 2], "the last one was cut short"
    for text in ("", "nothing\n", f"{lines[0]}\n{lines[1][:-9]}\n{lines[2]}\n"):
        with pytest.raises(InvalidValue):
            read_lines(text, "f")
