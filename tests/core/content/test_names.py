"""Which first name a body uses, whatever stands in a display name."""

from __future__ import annotations

import pytest

from mailhearth_core.content import builtin, first_name


@pytest.mark.parametrize(
    ("full", "first"),
    [
        ("Anna Müller", "Anna"),
        ("  anna  ", "anna"),
        ("Müller, Anna", "Anna"),
        ("Dr. Anna Müller", "Anna"),
        ("Jean-Luc Picard", "Jean-Luc"),
        ("O'Neil", "O'Neil"),
        ("李 雷", "李"),
        ("", ""),
        ("anna@example.com", ""),
        ("www.example.com Anna", ""),
        ("http://example.com", ""),
        ("Anna\r\nBcc: x@example.com", "Anna"),
        ("<b>Anna</b>", ""),
        ("{sender}", ""),
        ("x" * 41, ""),
        ("\u202eannA", "annA"),
    ],
)
def test_first_name(full: str, first: str) -> None:
    assert first_name(full) == first


def test_without_names_no_gap_is_left() -> None:
    for thread in builtin().every_opening(4):
        for turn in range(thread.turns):
            for names in (("", ""), ("Anna", ""), ("", "Tom")):
                text = thread.body(turn, *names)
                assert "\0" not in text
                assert not text.startswith((",", "!", "-", "\n"))
                assert " ," not in text
                assert " !" not in text
                assert "- \n" not in text


def test_names_stand_on_their_own_side() -> None:
    thread = next(
        t for s in range(500) if "Anna" in (t := builtin().thread(s)).body(0, "Anna", "Tom")
    )
    opening, reply = thread.body(0, "Anna", "Tom"), thread.body(1, "Tom", "Anna")
    assert opening.rstrip().endswith("Anna")
    assert "Anna" not in opening.splitlines()[0]
    assert "Tom" not in reply.splitlines()[0]
