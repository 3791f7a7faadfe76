"""Templates: text with `{alternatives|in braces}` and `{slots}`, parsed once, expanded often."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

MAX_DEPTH = 6
SLOT = re.compile(r"([A-Za-z][a-z0-9_]*)(?:#([2-9]))?(?:\.([a-z][a-z0-9_]*))?\Z")


class BadTemplate(ValueError):
    """A template cannot be read; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A named hole. `capital` asks for a capital first letter, `ordinal` 2 for a second draw."""

    name: str
    ordinal: int = 1
    column: str = ""
    capital: bool = False

    def __str__(self) -> str:
        ordinal = f"#{self.ordinal}" if self.ordinal > 1 else ""
        column = f".{self.column}" if self.column else ""
        return f"{{{self.name}{ordinal}{column}}}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives, of which each expansion draws one."""

    options: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts one after the other. `line` is where a whole template stands in its source, else 0."""

    parts: tuple[str | Slot | Choice, ...]
    line: int = 0


def parse(text: str, line: int = 0) -> Sequence:
    """Reads a template that stands on a source's `line`.

    Raises BadTemplate for unbalanced braces, bad slots and too deep nesting.
    """
    sequence, end = _sequence(text, 0, 0)
    if end < len(text):
        raise BadTemplate("a closing brace without an opening one")
    return Sequence(sequence.parts, line)


def split_options(text: str) -> list[str]:
    """Splits at the `|` that stand outside braces."""
    pieces, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if character == "|" and depth == 0:
            pieces.append(text[start:position].strip())
            start = position + 1
    return [*pieces, text[start:].strip()]


def slots(sequence: Sequence) -> Iterator[Slot]:
    """Every slot in a template, in order."""
    for part in sequence.parts:
        if isinstance(part, Slot):
            yield part
        elif isinstance(part, Choice):
            for option in part.options:
                yield from slots(option)


def longest(sequence: Sequence, length_of: Callable[[Slot], int]) -> int:
    """The length in characters of the longest expansion."""
    total = 0
    for part in sequence.parts:
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, Slot):
            total += length_of(part)
        else:
            total += max(longest(option, length_of) for option in part.options)
    return total


def expand(sequence: Sequence, rng: Random, value_of: Callable[[Slot], str]) -> str:
    """One expansion; the same numbers from `rng` give the same text."""
    out = []
    for part in sequence.parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, Slot):
            value = value_of(part)
            out.append(value[:1].upper() + value[1:] if part.capital else value)
        else:
            out.append(expand(draw(part.options, rng), rng, value_of))
    return "".join(out)


def draw(options: tuple[T, ...], rng: Random) -> T:
    """One of the options, each as likely."""
    return options[int(rng.random() * len(options))]


def _sequence(text: str, at: int, depth: int) -> tuple[Sequence, int]:
    """Reads until the end, or until a `|` or `}` that belongs to the brace around it."""
    parts: list[str | Slot | Choice] = []
    start = at
    while at < len(text) and not (text[at] == "}" or (text[at] == "|" and depth)):
        if text[at] != "{":
            at += 1
            continue
        if at > start:
            parts.append(text[start:at])
        part, at = _braces(text, at + 1, depth + 1)
        parts.append(part)
        start = at
    if at > start:
        parts.append(text[start:at])
    return Sequence(tuple(parts)), at


def _braces(text: str, at: int, depth: int) -> tuple[Slot | Choice, int]:
    if depth > MAX_DEPTH:
        raise BadTemplate(f"braces nested more than {MAX_DEPTH} deep")
    begin = at
    options = []
    while True:
        option, at = _sequence(text, at, depth)
        options.append(option)
        if at >= len(text):
            raise BadTemplate("an opening brace without a closing one")
        at += 1
        if text[at - 1] == "}":
            break
    if len(options) > 1:
        return Choice(tuple(options)), at
    return _slot(text[begin : at - 1]), at


def _slot(text: str) -> Slot:
    found = SLOT.match(text)
    if found is None:
        shown = text if len(text) <= 40 else text[:40] + "..."
        raise BadTemplate(
            f"{{{shown}}} is neither a slot ({{name}}, {{name#2}}, {{name.column}}) nor"
            " alternatives ({a|b})"
        )
    name, ordinal, column = found.groups()
    return Slot(name.lower(), int(ordinal or 1), column or "", name[0].isupper())
