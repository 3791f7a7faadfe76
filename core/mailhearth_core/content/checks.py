"""What a conversation library must hold to: plain text, no links, slots that exist, variety."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Protocol

from mailhearth_core.content.source import MANNERS, Script, Source, known
from mailhearth_core.content.template import Slot, longest, slots

MAX_SOURCE_BYTES = 256 * 1024
MAX_LINE = 1000
MAX_BODY = 4000
MAX_SUBJECT = 120
MAX_MISTAKES = 50
MIN_OPENINGS = 10
MIN_DISTINCT = 200

FORBIDDEN = (
    (re.compile(r"[a-z][a-z0-9+.-]*://|\bwww\.|\bmailto:", re.I), "a link; links are not allowed"),
    (re.compile(r"@"), "an address; @ is not allowed"),
    (
        re.compile(r"[^\W_][\w-]*\.[a-z]{2,}|\b\d{1,3}(?:\.\d{1,3}){3}\b", re.I),
        "what looks like a domain or a file name; put a space after a dot",
    ),
    (
        re.compile(r"\+?\d(?:[ ()./-]{0,2}\d){6,}"),
        "what looks like a phone number; at most 6 digits in a row are allowed",
    ),
    (re.compile(r"</?[a-z!]|&#?\w+;|\]\(|!\[", re.I), "markup; only plain text is allowed"),
    (re.compile(r"```|`|\*\*|__"), "markup; only plain text is allowed"),
    (re.compile(r"\b(?:data|cid|javascript):\S", re.I), "an embedded object; write text only"),
    (
        re.compile(r"\b(?:TODO|FIXME|XXX+|lorem ipsum)\b|\[[^\]]*\]|<[^>]*>|%[sd]\b|\$[a-z]", re.I),
        "a placeholder left over; write {slots} in braces",
    ),
)  # fmt: skip
"""Patterns that no text may match, and what to say about each."""

_SLOT = re.compile(r"\{[A-Za-z][a-z0-9_#.]*\}")


class Conversation(Protocol):
    """What the trial looks at: a thread, seen from here."""

    @property
    def subject(self) -> str: ...
    @property
    def turns(self) -> int: ...
    def body(self, turn: int, sender_name: str, recipient_name: str) -> str: ...


def forbidden(text: str) -> str | None:
    """Why a text may not be sent, or None."""
    for pattern, what in FORBIDDEN:
        if pattern.search(text):
            return what
    return None


def check_texts(source: str) -> list[str]:
    """Mistakes that show in the lines themselves, before anything is understood."""
    size = len(source.encode("utf-8", "surrogatepass"))
    if size > MAX_SOURCE_BYTES:
        return [f"line 1: the library has {size} bytes; at most {MAX_SOURCE_BYTES} are allowed"]
    return list(_capped(_line_mistakes(source)))


def check_source(source: Source) -> list[str]:
    """Mistakes of meaning: unknown slots, facts in circles, texts too long, too few openings."""
    mistakes = list(_capped(_script_mistakes(source)))
    if source.openings < MIN_OPENINGS:
        mistakes.append(
            f"line 1: {source.openings} usable openings; at least {MIN_OPENINGS} are needed,"
            " each with a reply"
        )
    return mistakes


def check_openings(source: Source) -> list[str]:
    """Texts that would grow too long when filled. Only for a source whose slots are all known."""
    return list(_capped(_length_mistakes(source)))


def check_variety(threads: Iterable[Conversation]) -> list[str]:
    """What shows only once texts are made: links put together from parts, too little variety."""
    bodies, mistakes = [], {}
    for thread in threads:
        bodies.append(thread.body(0, "", ""))
        texts = [thread.subject, bodies[-1]]
        texts += [thread.body(turn, "", "") for turn in range(1, thread.turns)]
        for text in texts:
            why = forbidden(text)
            if why:
                mistakes[why] = f"line 1: a finished text holds {why}: {text[:60]!r}"
            elif not text.strip():
                mistakes["empty"] = "line 1: a finished text is empty; some words are needed"
    distinct = len(set(bodies))
    if distinct < MIN_DISTINCT:
        mistakes["variety"] = (
            f"line 1: {len(bodies)} trial conversations gave {distinct} different openings; at"
            f" least {MIN_DISTINCT} are needed: add openings, {{alternatives|in braces}} or words"
        )
    return list(mistakes.values())


def _line_mistakes(source: str) -> Iterator[str]:
    for number, line in enumerate(source.splitlines(), 1):
        if line.startswith("#") or (line.startswith("[") and line.rstrip().endswith("]")):
            continue
        if len(line) > MAX_LINE:
            yield f"line {number}: {len(line)} characters; at most {MAX_LINE} are allowed"
            continue
        odd = next((c for c in line if c != "\t" and unicodedata.category(c)[0] == "C"), None)
        if odd is not None:
            yield (
                f"line {number}: the character U+{ord(odd):04X}; only printable text in UTF-8 is"
                " allowed"
            )
        why = forbidden(_SLOT.sub("x", line))
        if why:
            yield f"line {number}: {why}"


def _script_mistakes(source: Source) -> Iterator[str]:
    for texts in source.manners.values():
        for text in texts:
            for slot in slots(text):
                if not known(source, None, slot):
                    yield f"line {text.line}: {_unknown(slot, source, None)}"
    tones = {tone for _, tone in source.manners}
    for script in source.scripts:
        if script.tone and script.tone not in tones:
            yield (
                f"line {script.line}: unknown tone {script.tone!r}; allowed:"
                f" {', '.join(sorted(tones)) or 'none, as the library has no [greetings TONE]'}"
            )
        elif not script.tone and any((kind, "") in source.manners for kind in MANNERS):
            yield f"line {script.line}: this thread needs a tone:"
        yield from _slot_mistakes(source, script)


def _slot_mistakes(source: Source, script: Script) -> Iterator[str]:
    earlier: set[str] = set()
    names = {name for pick in script.picks for name in pick.names}
    for pick in script.picks:
        for slot in (s for row in pick.rows for cell in row for s in slots(cell)):
            if slot.name in names - earlier:
                yield f"line {pick.line}: {slot} may be used only after its own pick"
            elif slot.name in ("sender", "recipient"):
                yield f"line {pick.line}: {slot} changes from turn to turn; not allowed in a pick"
            elif not known(source, script, slot):
                yield f"line {pick.line}: {_unknown(slot, source, script)}"
        earlier |= set(pick.names)
    for subject in script.subjects:
        for slot in slots(subject):
            if slot.name in ("sender", "recipient") or not known(source, script, slot):
                yield f"line {subject.line}: {_unknown(slot, source, script)}"
    for text in (text for turn in script.turns for text in turn):
        for slot in slots(text):
            if not known(source, script, slot):
                yield f"line {text.line}: {_unknown(slot, source, script)}"


def _length_mistakes(source: Source) -> Iterator[str]:
    for script in source.scripts:
        lengths = _Lengths(source, script)
        for subject in script.subjects:
            if (length := longest(subject, lengths)) > MAX_SUBJECT:
                yield (
                    f"line {subject.line}: a subject of up to {length} characters; at most"
                    f" {MAX_SUBJECT} are allowed"
                )
        for text in (text for turn in script.turns for text in turn):
            if (length := longest(text, lengths)) > MAX_BODY:
                yield (
                    f"line {text.line}: a text of up to {length} characters; at most {MAX_BODY}"
                    " are allowed"
                )


class _Lengths:
    """The longest value of each slot of a script."""

    def __init__(self, source: Source, script: Script) -> None:
        self._source = source
        self._picks: dict[str, int] = {"sender": 40, "recipient": 40}
        for pick in script.picks:
            for column, name in enumerate(pick.names):
                self._picks[name] = max(longest(row[column], self) for row in pick.rows)

    def __call__(self, slot: Slot) -> int:
        if slot.name in self._picks:
            return self._picks[slot.name]
        words = self._source.words[slot.name]
        column = words.columns.index(slot.column)
        return max(len(entry[column]) for entry in words.entries)


def _unknown(slot: Slot, source: Source, script: Script | None) -> str:
    picks = [name for pick in script.picks for name in pick.names] if script else []
    columns = [f"{n}.{c}" if c else n for n, w in source.words.items() for c in w.columns]
    allowed = ", ".join([*sorted({"sender", "recipient"}), *picks, *columns])
    return f"unknown slot {slot}; allowed: {allowed[:300]}"


def _capped(mistakes: Iterable[str]) -> Iterator[str]:
    for count, mistake in enumerate(mistakes):
        if count == MAX_MISTAKES:
            yield f"line 1: more than {MAX_MISTAKES} mistakes; the rest is not shown"
            return
        yield mistake
