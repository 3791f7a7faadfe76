"""The text format of a conversation library, read into scripts (docs/content.md describes it)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailhearth_core.content.template import BadTemplate, Sequence, Slot, parse, split_options
from mailhearth_core.errors import MailhearthError

MAX_TURNS = 5
MANNERS = ("greetings", "reply greetings", "sign-offs", "reply sign-offs")
NAMES = frozenset({"sender", "recipient"})

_NAME = r"[a-z][a-z0-9_]*"
_WORDS = re.compile(rf"words ({_NAME})(?::\s*(.+))?\Z")
_MANNER = re.compile(rf"({'|'.join(MANNERS)}) ({_NAME})\Z")
_FIELD = re.compile(
    rf"(tone|subject|pick ({_NAME}(?:,\s*{_NAME})*)|opening|reply|or):(?:\s+(.*))?\Z"
)
_SECTIONS = (
    "[words NAME], [words NAME: COLUMN, COLUMN], [greetings TONE], [reply greetings TONE],"
    " [sign-offs TONE], [reply sign-offs TONE], [thread]"
)


class InvalidContent(MailhearthError):
    """A conversation library is refused; each mistake names its line and what is allowed."""

    code = "invalid_content"

    def __init__(self, mistakes: list[str]) -> None:
        shown = "; ".join(mistakes[:3]) + ("; ..." if len(mistakes) > 3 else "")
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(
            f"The conversation library has {count}: {shown}",
            hint="Mend the lines named and add it again; nothing of it was taken.",
        )
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Words:
    """A list whose entries fill slots; each entry has one text per column."""

    line: int
    columns: tuple[str, ...]
    entries: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """Facts of one conversation: a row is drawn once and holds in all its turns."""

    line: int
    names: tuple[str, ...]
    rows: tuple[tuple[Sequence, ...], ...]


@dataclass(frozen=True, slots=True)
class Script:
    """One conversation: `turns[0]` holds its openings, later turns the wordings of a reply."""

    line: int
    tone: str
    subjects: tuple[Sequence, ...]
    picks: tuple[Pick, ...]
    turns: tuple[tuple[Sequence, ...], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A library as read. `manners` maps (kind, tone) to greetings or sign-offs."""

    words: Mapping[str, Words]
    manners: Mapping[tuple[str, str], tuple[Sequence, ...]]
    scripts: tuple[Script, ...]

    @property
    def openings(self) -> int:
        return sum(len(script.turns[0]) for script in self.scripts)


def read(text: str) -> tuple[Source, list[str]]:
    """Reads a library. With mistakes, the source holds what could be understood."""
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        reader.take(number, line.rstrip())
    reader.end_section()
    mistakes = sorted(reader.mistakes, key=lambda m: m[0])
    return reader.source(), [f"line {line}: {text}" for line, text in mistakes]


@dataclass(slots=True)
class _Draft:
    """A `[thread]` section while it is being read."""

    line: int
    tone: str = ""
    subjects: list[Sequence] = field(default_factory=list)
    picks: list[Pick] = field(default_factory=list)
    turns: list[list[Sequence]] = field(default_factory=list)


class _Reader:
    def __init__(self) -> None:
        self.mistakes: list[tuple[int, str]] = []
        self.words: dict[str, Words] = {}
        self.manners: dict[tuple[str, str], tuple[Sequence, ...]] = {}
        self.scripts: list[Script] = []
        self._section: tuple[int, str] | None = None
        self._rows: list[tuple[int, str]] = []

    def source(self) -> Source:
        return Source(self.words, self.manners, tuple(self.scripts))

    def take(self, number: int, line: str) -> None:
        if line.startswith("#"):
            return
        if line.startswith("[") and line.endswith("]"):
            self.end_section()
            self._section = (number, " ".join(line[1:-1].split()))
        elif self._section is None:
            if line:
                self._wrong(number, f"text before the first section; allowed: {_SECTIONS}")
        else:
            self._rows.append((number, line))

    def end_section(self) -> None:
        if self._section is None:
            return
        (line, title), rows = self._section, self._rows
        self._section, self._rows = None, []
        if title == "thread":
            self._thread(line, rows)
        elif found := _WORDS.match(title):
            self._words(line, found[1], found[2], rows)
        elif found := _MANNER.match(title):
            self._manner(line, (found[1], found[2]), rows)
        else:
            self._wrong(line, f"unknown section [{title[:60]}]; allowed: {_SECTIONS}")

    def _words(
        self, line: int, name: str, columns: str | None, rows: list[tuple[int, str]]
    ) -> None:
        titles = tuple(c.strip() for c in columns.split(",")) if columns else ("",)
        if columns and not all(re.fullmatch(_NAME, title) for title in titles):
            self._wrong(line, "column names must be small letters, digits and _")
            return
        if name in self.words or name in NAMES:
            self._wrong(line, f"the name {name!r} is taken; give this list another")
            return
        entries = []
        for number, row in rows:
            if not row:
                continue
            cells = tuple(cell.strip() for cell in row.split("|"))
            if "{" in row or "}" in row:
                self._wrong(number, "braces are not allowed in a word list")
            elif len(cells) != len(titles) or not all(cells):
                self._wrong(number, f"expected {len(titles)} text(s) parted by |")
            else:
                entries.append(cells)
        if len(entries) < 2:
            self._wrong(line, f"the list {name!r} needs at least 2 entries")
        self.words[name] = Words(line, titles, tuple(entries))

    def _manner(self, line: int, key: tuple[str, str], rows: list[tuple[int, str]]) -> None:
        if key in self.manners:
            self._wrong(line, f"[{key[0]} {key[1]}] is there twice")
        texts = []
        for number, row in rows:
            if row:
                # " / " breaks the line; "-" alone stands for nothing at all.
                template = self._template(number, "" if row == "-" else row.replace(" / ", "\n"))
                texts.append(template)
        if not texts:
            self._wrong(line, f"[{key[0]} {key[1]}] is empty")
            return
        self.manners[key] = tuple(texts)

    def _thread(self, line: int, rows: list[tuple[int, str]]) -> None:
        draft = _Draft(line)
        body: list[str] | None = None
        body_line = line

        def end_body() -> None:
            if body is not None:
                self._body(draft, body_line, body)

        for number, row in rows:
            found = _FIELD.match(row)
            if found is None:
                if body is not None:
                    body.append(row)
                elif row:
                    self._wrong(
                        number, "expected one of tone:, subject:, pick NAME:, opening: here"
                    )
                continue
            end_body()
            body = None
            word, value = found[1], (found[3] or "").strip()
            if word in ("opening", "reply", "or"):
                body, body_line = ([value] if value else []), number
                self._turn(draft, number, word)
            else:
                self._field(draft, number, word, found[2], value)
        end_body()
        self._keep(draft)

    def _turn(self, draft: _Draft, number: int, word: str) -> None:
        if word == "opening" and draft.turns:
            self._wrong(number, "a second opening:; write or: for another wording")
        elif word != "opening" and not draft.turns:
            self._wrong(number, f"{word}: before opening:")
            draft.turns.append([])
        elif word != "or":
            draft.turns.append([])
            if len(draft.turns) > MAX_TURNS:
                self._wrong(number, f"more than {MAX_TURNS - 1} replies in one thread")

    def _field(self, draft: _Draft, number: int, word: str, names: str | None, value: str) -> None:
        if not value:
            self._wrong(number, f"nothing after {word}:")
        elif word == "tone":
            draft.tone = value
        elif word == "subject":
            draft.subjects += [self._template(number, text) for text in split_options(value)]
        else:
            columns = tuple(name.strip() for name in (names or "").split(","))
            self._pick(draft, number, columns, value)

    def _pick(self, draft: _Draft, number: int, names: tuple[str, ...], value: str) -> None:
        taken = NAMES | {name for pick in draft.picks for name in pick.names}
        if len(set(names)) < len(names) or taken & set(names):
            self._wrong(number, "a pick's name is there twice")
            return
        rows = []
        for option in split_options(value):
            cells = tuple(cell.strip() for cell in option.split(" / "))
            if len(cells) != len(names) or not all(cells):
                self._wrong(number, f"each option needs {len(names)} text(s) parted by ' / '")
                return
            rows.append(tuple(self._template(number, cell) for cell in cells))
        draft.picks.append(Pick(number, names, tuple(rows)))

    def _body(self, draft: _Draft, line: int, rows: list[str]) -> None:
        paragraphs = [" ".join(p.split("\n")) for p in "\n".join(rows).strip().split("\n\n")]
        text = "\n\n".join(" ".join(p.split()) for p in paragraphs if p.strip())
        if not text:
            self._wrong(line, "an empty text")
        elif draft.turns:
            draft.turns[-1].append(self._template(line, text))

    def _keep(self, draft: _Draft) -> None:
        if not draft.subjects:
            self._wrong(draft.line, "this thread has no subject:")
        if not draft.turns or not all(draft.turns):
            self._wrong(draft.line, "this thread has no opening: text")
        elif len(draft.turns) < 2:
            self._wrong(draft.line, "this thread has no reply:; at least one is needed")
        elif draft.subjects:
            self.scripts.append(
                Script(
                    draft.line,
                    draft.tone,
                    tuple(draft.subjects),
                    tuple(draft.picks),
                    tuple(tuple(turn) for turn in draft.turns),
                )
            )

    def _template(self, line: int, text: str) -> Sequence:
        try:
            return parse(text, line)
        except BadTemplate as mistake:
            self._wrong(line, str(mistake))
            return Sequence(())

    def _wrong(self, line: int, text: str) -> None:
        self.mistakes.append((line, text))


def known(source: Source, script: Script | None, slot: Slot) -> bool:
    """Whether a slot has something to fill it: a name, a pick of this thread, or a word list."""
    if slot.name in NAMES:
        return slot.ordinal == 1 and not slot.column
    if script and any(slot.name in pick.names for pick in script.picks):
        return slot.ordinal == 1 and not slot.column
    words = source.words.get(slot.name)
    return words is not None and slot.column in words.columns and slot.ordinal <= len(words.entries)
