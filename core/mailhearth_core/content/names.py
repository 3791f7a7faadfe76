"""First names as people use them in a greeting or under a letter."""

from __future__ import annotations

import unicodedata

MAX_NAME = 40
_TITLES = {
    "dr",
    "prof",
    "mr",
    "mrs",
    "ms",
    "mx",
    "sir",
    "dame",
    "ing",
    "dipl",
    "mag",
    "herr",
    "frau",
}
_NEVER = set('@/\\:;<>{}[]|=_#$%&*+?!"()0123456789')


def first_name(full: str) -> str:
    """The first name in a display name, or "" where the text is not a person's name.

    Control characters are dropped; titles are skipped; "Last, First" is turned round. A text that
    looks like an address, a domain or markup gives "": it shall never show up in a body.
    """
    text = " ".join("".join(c if _printable(c) else " " for c in full).split()).strip("'\" ")
    last, comma, rest = text.partition(",")
    words = (rest if comma and rest.strip() else last).split()
    while len(words) > 1 and words[0].rstrip(".").lower() in _TITLES:
        words.pop(0)
    if not words:
        return ""
    name = words[0]
    dotted = "." in name.rstrip(".")
    if dotted or len(name) > MAX_NAME or _NEVER & set(name) or not any(map(str.isalpha, name)):
        return ""
    return name


def _printable(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"
