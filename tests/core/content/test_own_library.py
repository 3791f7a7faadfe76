"""A workspace's own library: read, checked when added, each mistake told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhearth_core.content import InvalidContent, parse_library
from mailhearth_core.content.checks import check_source
from mailhearth_core.content.source import read
from mailhearth_core.errors import MailhearthError

GOOD = """# A small library.
[words day]
Monday
Tuesday

[words fish: name, weight]
trout | two pounds
pike | nine pounds

[greetings calm]
Hi {recipient},
Hello {recipient},

[sign-offs calm]
Best, / {sender}
-

""" + "\n".join(
    f"""[thread]
tone: calm
subject: Fishing, part {number} | On {{day}}
pick boat, colour: the Heron / {{pale|dark}} green | the Otter / red
opening:
I caught a {{fish.name}} of {{fish.weight}} {{on|last}} {{day}}, from {{boat}}.
It was {{a fine|a quiet|a long|a cold}} {{morning|evening|hour|day}}, number {number}.

Will you come {{along|too}} on {{day#2}}?
reply:
{{Boat}} is the {{colour}} one, I think? Yes, {{gladly|of course}}.
or:
A {{fish.name}}! I will come on {{day#2}}.
"""
    for number in range(10)
)


def test_a_good_library_is_taken_and_gives_its_own_version() -> None:
    library = parse_library(GOOD, "own/1")
    assert library.version == "own/1"
    assert library.openings == 10
    thread = library.thread(7)
    assert thread.turns == 2
    opening, reply = thread.body(0, "Anna Bell", "Tom"), thread.body(1, "Tom", "Anna Bell")
    assert opening.startswith(("Hi Tom,\n\nI caught", "Hello Tom,\n\nI caught"))
    assert opening.count("\n\nWill you come ") == 1
    assert "\nIt was" not in opening, "lines of a paragraph are joined"
    for fish, weight in (("trout", "two"), ("pike", "nine")):
        assert (fish in opening) == (weight in opening)
        if f"A {fish}!" in reply:
            assert fish in opening
    if "The Heron is the" in reply:
        assert "green one" in reply
        assert "the Heron" in opening


def test_the_same_source_under_another_version_says_other_things() -> None:
    one, two = parse_library(GOOD, "own/1"), parse_library(GOOD, "own/2")
    assert [one.thread(s).body(0, "", "") for s in range(9)] != [
        two.thread(s).body(0, "", "") for s in range(9)
    ]


def _line_of(text: str) -> int:
    return GOOD[: GOOD.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("I caught", "See https://example.com I caught", "a link"),
        ("I caught", "See www.example I caught", "a link"),
        ("I caught", "See example.com I caught", "domain"),
        ("I caught", "Write anna@example I caught", "address"),
        ("I caught", "Call +44 20 7946 0958 I caught", "phone number"),
        ("I caught", "<b>I</b> caught", "markup"),
        ("I caught", "![x] I caught", "markup"),
        ("I caught", "[Name] I caught", "placeholder"),
        ("I caught", "TODO I caught", "placeholder"),
        ("I caught", "\u200bI caught", "U+200B"),
        ("I caught", "\x07I caught", "U+0007"),
        ("I caught", "I caught " + "a very long line " * 70, "at most 1000"),
        ("trout | two pounds", "trout", "expected 2 text(s)"),
        ("trout | two pounds", "{trout} | two pounds", "braces are not allowed"),
        ("[words day]", "[word day]", "unknown section"),
        ("[greetings calm]", "[greetings]", "unknown section"),
    ],
)
def test_a_bad_line_is_named(old: str, new: str, told: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        parse_library(GOOD.replace(old, new, 1), "own/1")
    mistakes = caught.value.mistakes
    assert any(m.startswith(f"line {_line_of(old)}: ") and told in m for m in mistakes), mistakes


@pytest.mark.parametrize(
    ("old", "new", "at", "told"),
    [
        ("I caught", "I {caught", "opening:", "without a closing one"),
        ("I caught", "I} caught", "opening:", "without an opening one"),
        ("I caught", "I {} caught", "opening:", "neither a slot"),
        ("I caught", "{{{{{{{x|y}|z}|a}|b}|c}|d}|e} caught", "opening:", "nested more than 6"),
        ("I caught", "I {weather} caught", "opening:", "unknown slot {weather}; allowed: "),
        ("I caught", "I {day.name} caught", "opening:", "unknown slot {day.name}"),
        ("I caught", "I {day#9} caught", "opening:", "unknown slot {day#9}"),
        ("tone: calm", "tone: wild", "[thread]", "unknown tone 'wild'; allowed: calm"),
        (
            "pick boat, colour: ",
            "pick colour: {boat} | x\npick boat, hue: ",
            "pick boat",
            "only after its own pick",
        ),
        ("pick boat, colour: ", "pick boat, sender: ", "pick boat", "there twice"),
        ("subject: Fishing", "subject: {sender}, fishing", "subject:", "unknown slot {sender}"),
    ],
)
def test_a_bad_template_is_named(old: str, new: str, at: str, told: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        parse_library(GOOD.replace(old, new, 1), "own/1")
    mistakes = caught.value.mistakes
    assert any(m.startswith(f"line {_line_of(at)}: ") and told in m for m in mistakes), mistakes


def test_a_link_put_together_from_parts_is_found() -> None:
    with pytest.raises(InvalidContent, match="what looks like a domain"):
        parse_library(GOOD.replace("I caught", "See example{.|.}com I caught"), "own/1")


def test_threads_need_a_subject_an_opening_and_a_reply() -> None:
    broken = GOOD + "[thread]\n\n[thread]\nsubject: x\nopening:\nHello.\n\n[thread]\nreply:\nHi.\n"
    with pytest.raises(InvalidContent) as caught:
        parse_library(broken, "own/1")
    told = "\n".join(caught.value.mistakes)
    for what in ("no subject:", "no opening: text", "no reply:", "reply: before opening:"):
        assert what in told
    assert all(m.startswith("line ") for m in caught.value.mistakes)


@pytest.mark.parametrize("source", ["", "just some text", "\x00", "[thread]", "[words x]\na\nb\n"])
def test_nothing_useful_is_refused_with_lines(source: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        parse_library(source, "own/1")
    assert isinstance(caught.value, MailhearthError)
    assert caught.value.permanent
    assert caught.value.mistakes
    assert all(m.startswith("line ") for m in caught.value.mistakes)


def test_too_few_openings_too_little_variety_and_too_much_text() -> None:
    few = GOOD.rpartition("[thread]")[0]
    with pytest.raises(InvalidContent, match="9 usable openings; at least 10"):
        parse_library(few, "own/1")
    dull = "".join(
        f"[thread]\nsubject: Hello\nopening:\nSame number {n}.\nreply:\nYes.\n" for n in range(12)
    )
    with pytest.raises(InvalidContent, match="12 different openings; at least 200"):
        parse_library(dull, "own/1")
    with pytest.raises(InvalidContent, match="at most 262144"):
        parse_library(GOOD + "# more\n" * 40_000, "own/1")


def test_picks_that_double_each_other_are_refused_quickly() -> None:
    picks = "pick p0: aaaaaaaaaa\n" + "".join(
        f"pick p{n}: {{p{n - 1}}}{{p{n - 1}}}\n" for n in range(1, 200)
    )
    bomb = GOOD.replace("opening:\n", f"{picks}opening:\n{{p199}} ", 1)
    with pytest.raises(InvalidContent, match="at most 4000"):
        parse_library(bomb, "own/1")


def test_no_more_than_four_replies() -> None:
    with pytest.raises(InvalidContent, match="more than 4 replies"):
        parse_library(GOOD + "reply:\nYes.\n" * 5, "own/1")


def test_the_example_in_the_docs_reads_without_a_mistake() -> None:
    page = Path(__file__).parents[3] / "docs" / "content.md"
    example = page.read_text("utf-8").split("```")[1]
    source, mistakes = read(example)
    assert mistakes == []
    assert [m for m in check_source(source) if "usable openings" not in m] == []
    assert (source.openings, len(source.scripts[0].turns)) == (2, 3)
