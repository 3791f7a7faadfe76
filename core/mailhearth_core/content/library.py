"""Conversations from a library: the same version and seed always give the same words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random

from mailhearth_core.content.checks import check_openings, check_source, check_texts, check_variety
from mailhearth_core.content.names import first_name
from mailhearth_core.content.source import InvalidContent, Script, Source, read
from mailhearth_core.content.template import Sequence, Slot, draw, expand
from mailhearth_core.warmup.chance import stream

BUILTIN_VERSION = "builtin/1"
"""Raise the number with any change to the files in `data`: bodies are made again from it."""

TRIAL_SEEDS = 1000

# A name that is missing takes the comma or space before it along: "Hi ," is never written.
_GAP = re.compile(r",?[ \n]?\x00")
_LEADING = re.compile(r"^[\s,.!-]+(?=\S)|^[\s,.!-]+$")


@dataclass(frozen=True, slots=True)
class Thread:
    """One conversation between two people.

    Attributes:
        subject: of the opening.
        turns: messages in the whole conversation, the opening included: 2 to 5.
    """

    subject: str
    turns: int
    _source: Source
    _script: Script
    _opening: int
    _key: tuple[str, int]

    def body(self, turn: int, sender_name: str, recipient_name: str) -> str:
        """The text of one turn (0 is the opening), plain, with LF line ends and none at the end.

        `sender_name` writes this turn. Only first names are used; either name may be empty.
        """
        if not 0 <= turn < self.turns:
            raise IndexError(f"turn {turn} of a conversation of {self.turns}")
        names = {
            "sender": first_name(sender_name) or "\0",
            "recipient": first_name(recipient_name) or "\0",
        }
        rng = stream("content", *self._key, "turn", turn)
        wordings = self._script.turns[turn]
        wording = wordings[self._opening] if turn == 0 else draw(wordings, rng)
        pieces = [self._manner("greetings", turn), wording, self._manner("sign-offs", turn)]
        texts = [self._fill(piece, rng, names) for piece in pieces if piece is not None]
        return "\n\n".join(text for text in texts if text)

    def _manner(self, kind: str, turn: int) -> Sequence | None:
        """The greeting or sign-off of the one who writes; the same in all his replies."""
        key = kind if turn == 0 else f"reply {kind}"
        options = self._source.manners.get((key, self._script.tone))
        if options is None:
            return None
        return draw(options, stream("content", *self._key, key, turn % 2))

    def _fill(self, text: Sequence, rng: Random, names: dict[str, str]) -> str:
        def value_of(slot: Slot) -> str:
            return names.get(slot.name) or self._fact(slot)

        return _tidy(expand(text, rng, value_of))

    def _fact(self, slot: Slot) -> str:
        """What a slot stands for in this conversation; drawn from the seed, not from the turn."""
        for pick in self._script.picks:
            if slot.name in pick.names:
                rng = stream("content", *self._key, "pick", pick.names[0])
                row = draw(pick.rows, rng)
                return expand(row[pick.names.index(slot.name)], rng, self._fact)
        words = self._source.words[slot.name]
        rng = stream("content", *self._key, "words", slot.name)
        left = list(words.entries)
        for _ in range(slot.ordinal):
            entry = left.pop(int(rng.random() * len(left)))
        return entry[words.columns.index(slot.column)]


class Library:
    """A set of conversations under a version. Texts are made on demand and never stored."""

    def __init__(self, version: str, source: Source) -> None:
        self.version = version
        self._source = source
        self._openings = tuple(
            (script, index) for script in source.scripts for index in range(len(script.turns[0]))
        )

    @property
    def openings(self) -> int:
        """How many different openings there are, before any slot is filled."""
        return len(self._openings)

    def thread(self, seed: int) -> Thread:
        """The conversation of a seed: the same for the same version and seed, for good."""
        script, opening = draw(self._openings, stream("content", self.version, seed))
        return self._thread(script, opening, seed)

    def every_opening(self, seed: int) -> list[Thread]:
        """Each opening once, its facts drawn from `seed`: for checks and for reading through."""
        return [self._thread(script, opening, seed) for script, opening in self._openings]

    def _thread(self, script: Script, opening: int, seed: int) -> Thread:
        key = (self.version, seed)
        blank = Thread("", len(script.turns), self._source, script, opening, key)
        rng = stream("content", *key, "subject")
        subject = blank._fill(draw(script.subjects, rng), rng, {})
        subject = subject[:1].upper() + subject[1:]
        return Thread(subject, blank.turns, self._source, script, opening, key)


@cache
def builtin() -> Library:
    """The library that comes with the product."""
    folder = resources.files("mailhearth_core.content").joinpath("data")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".txt")), key=lambda f: f.name)
    source, mistakes = read("\n".join(f.read_text("utf-8") for f in files))
    if mistakes:
        raise InvalidContent(mistakes)
    return Library(BUILTIN_VERSION, source)


def parse_library(source: str, version: str) -> Library:
    """A workspace's own library. Raises InvalidContent with every mistake found."""
    mistakes = check_texts(source)
    if mistakes:
        raise InvalidContent(mistakes)
    read_source, mistakes = read(source)
    mistakes += check_source(read_source)
    if not mistakes:
        mistakes = check_openings(read_source)
    if mistakes:
        raise InvalidContent(mistakes)
    library = Library(version, read_source)
    mistakes = check_variety([library.thread(seed) for seed in range(TRIAL_SEEDS)])
    if mistakes:
        raise InvalidContent(mistakes)
    return library


def stored_library(source: str, version: str) -> Library:
    """A library that was checked when it was added. It is not judged again: it must still speak."""
    return Library(version, read(source)[0])


def _tidy(text: str) -> str:
    text = _LEADING.sub("", _GAP.sub("", text)) if "\0" in text else text
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(lines).strip()
