"""The library that comes with the product: varied, plain, and the same for good."""

from __future__ import annotations

import hashlib
import re
from importlib import resources

import pytest

from mailhearth_core.content import Library, builtin
from mailhearth_core.content.checks import (
    MAX_BODY,
    MAX_SUBJECT,
    check_openings,
    check_source,
    forbidden,
)
from mailhearth_core.content.template import Choice, Sequence

NAMES = ("Anna Bell", "Tom Gray")


@pytest.fixture(scope="module")
def library() -> Library:
    return builtin()


@pytest.fixture(scope="module")
def texts(library: Library) -> list[str]:
    """Subjects and all turns of every opening, with several sets of facts each."""
    found = []
    for seed in range(12):
        for thread in library.every_opening(seed):
            found.append(thread.subject)
            for turn in range(thread.turns):
                sender, recipient = NAMES if turn % 2 == 0 else NAMES[::-1]
                found.append(thread.body(turn, sender, recipient))
    return found


def test_ten_thousand_threads_hardly_repeat(library: Library) -> None:
    threads = [library.thread(seed * 7_919 + 3) for seed in range(10_000)]
    assert len({thread.body(0, *NAMES) for thread in threads}) >= 9_900
    assert len({thread.body(0, "", "") for thread in threads}) >= 9_900


def test_there_are_two_hundred_openings_each_with_replies(library: Library) -> None:
    threads = library.every_opening(1)
    assert len(threads) == library.openings >= 200
    assert all(2 <= thread.turns <= 5 for thread in threads)
    assert len({thread.body(0, *NAMES) for thread in threads}) == len(threads)


def test_nothing_looks_like_a_link_an_address_or_markup(texts: list[str]) -> None:
    assert [(text, forbidden(text)) for text in texts if forbidden(text)] == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("braces or a bar left over", r"[{}|\0]"),
        ("two spaces", r"  "),
        ("a space before punctuation", r"\s[,.;:?!]"),
        ("doubled punctuation", r"[,;:.?!]{2}"),
        ("a before a vowel", r"\b[Aa] (?!us|uni|eu|one)[aeiou]\w+"),
        ("an before a consonant", r"\b[Aa]n (?!hour|honest)[^aeiou\W]\w*"),
        ("the same word twice", r"\b(\w+) \1\b"),
        ("a small letter after a sentence", r"[.?!] [a-z]"),
        ("a line that starts small", r"(?m)^[a-z]"),
    ],
)
def test_the_writing_is_tidy(texts: list[str], what: str, pattern: str) -> None:
    found = [(what, match.group(), text) for text in texts if (match := re.search(pattern, text))]
    assert found == []


def test_every_body_ends_like_a_letter_and_keeps_to_its_bounds(texts: list[str]) -> None:
    assert all(text and text == text.strip() for text in texts)
    assert max(map(len, texts)) <= MAX_BODY


def test_openings_differ_in_length_and_none_is_a_novel(library: Library) -> None:
    lengths = sorted(len(thread.body(0, *NAMES)) for thread in library.every_opening(5))
    assert lengths[0] > 80
    assert lengths[len(lengths) // 10] * 1.5 < lengths[-len(lengths) // 10]
    assert lengths[-1] < 900


def test_the_data_files_pass_the_checks_for_own_libraries(library: Library) -> None:
    assert check_source(library._source) == []
    assert check_openings(library._source) == []
    assert all(len(t.subject) <= MAX_SUBJECT for t in library.every_opening(3))


def test_no_alternative_is_a_slot_that_lost_its_braces(library: Library) -> None:
    source = library._source
    for script in source.scripts:
        names = {name for pick in script.picks for name in pick.names} | set(source.words)
        for text in (text for turn in script.turns for text in turn):
            assert [o for o in _plain_options(text) if o.lower() in names] == [], script.line


def test_facts_hold_through_all_turns(library: Library) -> None:
    """The day named in the opening of a lunch is the day named in the replies."""
    days = re.compile(r"\b(?:Mon|Tues|Wednes|Thurs|Fri)day\b")
    seen = 0
    for seed in range(2_000):
        thread = library.thread(seed)
        if not thread.subject.startswith("Lunch next ") or not days.search(thread.subject):
            continue
        seen += 1
        spoken = {
            d for turn in range(thread.turns) for d in days.findall(thread.body(turn, "", ""))
        }
        assert spoken == set(days.findall(thread.subject))
    assert seen > 0


def test_any_63_bit_seed_gives_the_same_thread_every_time(library: Library) -> None:
    for seed in (0, 1, 2**31, 2**63 - 1):
        first, second = library.thread(seed), library.thread(seed)
        assert first.subject == second.subject
        for turn in range(first.turns):
            assert first.body(turn, *NAMES) == second.body(turn, *NAMES)
        with pytest.raises(IndexError):
            first.body(first.turns, *NAMES)


def test_a_change_of_words_needs_a_new_version(library: Library) -> None:
    """Bodies are made again from seed and version, so one version must never say two things.

    When this fails after an edit of the data files, raise BUILTIN_VERSION and write the new pair.
    """
    digest = hashlib.sha256()
    folder = resources.files("mailhearth_core.content").joinpath("data")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        digest.update(file.read_bytes())
    for seed in range(100):
        thread = library.thread(seed)
        digest.update(thread.subject.encode())
        for turn in range(thread.turns):
            digest.update(thread.body(turn, *NAMES).encode())
    assert (library.version, digest.hexdigest()[:16]) == ("builtin/1", "b97eea348322abb6")


def _plain_options(text: Sequence) -> list[str]:
    found = []
    for part in text.parts:
        if isinstance(part, Choice):
            for option in part.options:
                if len(option.parts) == 1 and isinstance(option.parts[0], str):
                    found.append(option.parts[0].strip())
                found += _plain_options(option)
    return found
