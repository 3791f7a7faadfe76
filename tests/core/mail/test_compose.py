"""Messages as common mail programs write them: they parse, they say nothing of us, they hold."""

from __future__ import annotations

import hashlib
import re
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhearth_core.content import builtin
from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.compose import (
    Draft,
    Quote,
    _filled,
    compose,
    new_message_id,
    reply_subject,
)
from mailhearth_core.mail.headers import header_record

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 14, 5, 9, tzinfo=BERLIN)
BODY = (
    "Hello Bob,\n\n"
    + "The table by the window is free again. " * 8
    + "Or so.\nFrom here on.\n\nAnna"
)
LONG = "One very long paragraph without any end in sight. " * 60

# One seed for each program that is imitated, found by the field that tells them apart.
PROGRAMS = {
    "thunderbird": "Mozilla Thunderbird",
    "apple": "Apple Mail (",
    "iphone": "iPhone Mail (",
    "outlook": "Microsoft Outlook",
    "roundcube": "Roundcube Webmail/",
    "android": "K-9 Mail for Android",
}


def draft(seed: int = 1, **changes: Any) -> Draft:
    plain = Draft(
        client_seed=seed,
        from_name="Anna Bell",
        from_address="anna@a.example",
        to_name="Bob Stone",
        to_address="bob@b.example",
        subject="The table",
        body=BODY,
        message_id="<1@a.example>",
        date=NOW,
    )
    return replace(plain, **changes)


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    assert [(n, v.defects) for n, v in message.items() if v.defects] == []
    return message


def program(message: EmailMessage) -> str:
    agent = message["User-Agent"] or message["X-Mailer"]
    return next(name for name, mark in PROGRAMS.items() if agent.startswith(mark))


def seed_of(name: str) -> int:
    return next(s for s in range(500) if program(parsed(compose(draft(s)))) == name)


def unflowed(message: EmailMessage) -> str:
    """The text as a reader shows it (RFC 3676 where it is flowed)."""
    text: str = message.get_content().replace("\r\n", "\n")
    if message["Content-Type"].params.get("format") != "flowed":
        return text
    lines = []
    for line in text.split("\n"):
        lines.append(line[1:] if line.startswith(" ") else line)
    return re.sub(r" \n(?!>)", " ", "\n".join(lines))


def test_every_program_is_found_and_a_mailbox_keeps_its_own() -> None:
    found = [program(parsed(compose(draft(seed)))) for seed in range(300)]
    assert set(found) == set(PROGRAMS)
    assert min(found.count(name) for name in PROGRAMS) > 20
    assert found == [program(parsed(compose(draft(s, subject="x", body="y")))) for s in range(300)]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("who", ["Anna Bell", "Anna Müller-Lüdenscheidt", "李 雷", "", 'A "B", C.'])
@pytest.mark.parametrize("body", [BODY, "Grüße aus Köln, " * 30, LONG, LONG + "ü", "One line"])
@pytest.mark.parametrize("reply", [False, True])
def test_round_trip(name: str, who: str, body: str, reply: bool) -> None:
    quote = Quote(who, "bob@b.example", NOW - timedelta(hours=30), "Hi,\n\nHow is it?\n\nBob")
    sent = draft(
        seed_of(name),
        from_name=who,
        to_name=who,
        subject="Zwölf Äpfel, or a rather long subject that goes on until it has to be folded",
        body=body,
        in_reply_to="<0@b.example>" if reply else None,
        references=("<first@a.example>",) if reply else (),
        quote=quote if reply else None,
    )
    raw = compose(sent)
    message = parsed(raw)

    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    head = raw.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert all(len(line) <= 100 for line in head.split(b"\r\n"))

    assert message["From"].addresses[0].display_name == who
    assert message["From"].addresses[0].addr_spec == "anna@a.example"
    assert message["To"].addresses[0].display_name == who
    assert message["Date"].datetime == NOW
    assert message["Date"].datetime.utcoffset() == timedelta(hours=1)
    assert message["Subject"] == ("Re: " if reply else "") + sent.subject
    assert message["Message-ID"] == "<1@a.example>"
    assert message.get_content_type() == "text/plain"

    text = unflowed(message)
    assert " ".join(text.split()).startswith(" ".join(body.split()))
    if name != "outlook":  # which cuts lines for good
        assert text.startswith(body.rstrip())
    assert ("How is it?" in text) == reply
    encoding = message["Content-Transfer-Encoding"]
    if encoding == "7bit":
        assert raw.isascii()
    assert encoding in ("7bit", "8bit", "quoted-printable")
    if encoding != "8bit":
        assert raw.isascii()

    record = header_record(head, uid=1, internaldate=NOW, flags=frozenset(), size=len(raw))
    assert record.message_id == "<1@a.example>"
    assert record.in_reply_to == ("<0@b.example>" if reply else "")
    assert record.references == (("<first@a.example>", "<0@b.example>") if reply else ())
    assert not record.is_automatic


def test_only_fields_that_the_programs_write() -> None:
    allowed = {
        "message-id", "date", "mime-version", "user-agent", "x-mailer", "subject", "from", "to",
        "content-language", "content-type", "content-transfer-encoding",
    }  # fmt: skip
    for seed in range(60):
        message = parsed(compose(draft(seed)))
        assert {name.lower() for name in message} <= allowed
        assert len(set(message)) == len(message.keys())
        assert ("User-Agent" in message) != ("X-Mailer" in message)
        assert b"hearth" not in compose(draft(seed)).lower()


@pytest.mark.parametrize("name", PROGRAMS)
def test_quotations_stand_beneath_and_name_their_author(name: str) -> None:
    when = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
    quote = Quote("Bob Stone", "bob@b.example", when, "Hi Anna,\n\nHow is it?\n\n> earlier")
    sent = draft(seed_of(name), in_reply_to="<0@b.example>", quote=quote)
    text = unflowed(parsed(compose(sent)))
    assert text.index("From here on.") < text.index("Bob Stone") < text.index("How is it?")
    assert "21:30" in text or "9:30 PM" in text, "the moment in the sender's own zone"
    lines = text.split("\n")
    if name == "outlook":
        assert "-----Original Message-----" in lines
        assert "How is it?" in lines
    else:
        assert any(re.fullmatch(r"(> ?)?On .+ wrote:", line) for line in lines)
        assert any(re.fullmatch(r"> ?How is it\?", line) for line in lines)
        assert any(re.fullmatch(r">> earlier", line) for line in lines)
    undated = replace(sent, quote=replace(quote, date=None, author_name=""))
    assert "bob@b.example" in unflowed(parsed(compose(undated)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_draft_gives_the_same_bytes(name: str) -> None:
    quote = Quote("Bob", "bob@b.example", NOW - timedelta(days=1), "Was?\n\nBob")
    sent = draft(seed_of(name), from_name="Jürgen", in_reply_to="<0@b.example>", quote=quote)
    golden = {
        "thunderbird": "e93a53c67030",
        "apple": "f1ca074f289a",
        "iphone": "61582264824e",
        "outlook": "452e17271c54",
        "roundcube": "5cb197c8267d",
        "android": "e12df30e9209",
    }
    assert hashlib.sha256(compose(sent)).hexdigest()[:12] == golden[name]
    assert compose(sent) == compose(replace(sent))


def test_nothing_can_be_put_into_the_head() -> None:
    evil = "Anna\r\nBcc: victim@example.com\r\n\r\nbody\x00\x1b\u2028\u202e"
    for seed in range(30):
        raw = compose(
            draft(seed, from_name=evil, to_name=evil, subject=evil, in_reply_to="<0@b.example>")
        )
        message = parsed(raw)
        assert "Bcc" not in message
        assert message["Subject"].startswith("Re: Anna Bcc: victim@example.com body")
        assert len(message["From"].addresses) == len(message["To"].addresses) == 1
        assert unflowed(message).startswith("Hello Bob,")
    wrong: list[tuple[str, Any]] = [
        ("from_address", "anna@a.example\r\nBcc: x@example.com"),
        ("to_address", "bob@b.example>, <x@example.com"),
        ("to_address", "böb@b.example"),
        ("to_address", "bob"),
        ("message_id", "<1@a.example>\r\nBcc: x@example.com"),
        ("message_id", "1@a.example"),
        ("in_reply_to", "<a b@c>"),
        ("date", datetime(2026, 1, 1)),
    ]
    for field, value in wrong:
        with pytest.raises(InvalidValue):
            compose(draft(**{field: value}))


def test_bad_and_many_references_are_cut() -> None:
    ids = tuple(f"<{n}@a.example>" for n in range(50))
    raw = compose(draft(references=(*ids, "no id", "<a\r\nBcc:b>"), in_reply_to="<p@b.example>"))
    kept = header_record(raw, uid=1, internaldate=NOW, flags=frozenset(), size=0).references
    assert len(kept) == 20
    assert kept[0] == ids[0]
    assert kept[-3:] == (*ids[-2:], "<p@b.example>")
    again = compose(draft(references=("<p@b.example>", *ids[:2]), in_reply_to="<p@b.example>"))
    assert again.count(b"<p@b.example>") == 2, "In-Reply-To, and References once"


def test_zones_are_the_senders_own() -> None:
    for zone, shown in [
        (UTC, "+0000"),
        (ZoneInfo("America/New_York"), "-0500"),
        (ZoneInfo("Asia/Kolkata"), "+0530"),
        (timezone(timedelta(hours=-3, minutes=-30)), "-0330"),
    ]:
        raw = compose(draft(date=NOW.astimezone(zone)))
        date = re.search(rb"^Date: (.+)\r$", raw, re.M)
        assert date is not None
        assert date[1].decode().endswith(shown)
        assert parsed(raw)["Date"].datetime == NOW


@pytest.mark.parametrize(
    ("subject", "reply"),
    [
        ("Lunch", "Re: Lunch"),
        ("Re: Lunch", "Re: Lunch"),
        ("RE: re: AW: Lunch", "Re: Lunch"),
        ("Re[2]: Lunch", "Re: Lunch"),
        ("Regarding lunch", "Re: Regarding lunch"),
        ("Lunch\r\nBcc: x", "Re: Lunch Bcc: x"),
        ("", "Re:"),
    ],
)
def test_reply_subject(subject: str, reply: str) -> None:
    assert reply_subject(subject) == reply
    assert reply_subject(reply) == reply


def test_message_ids_have_the_programs_shape_and_the_senders_domain() -> None:
    shapes = {
        "thunderbird": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        "apple": r"[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}",
        "outlook": r"0[0-9a-f]{3}01d[cd][0-9a-f]{4}\$[0-9a-f]{8}\$[0-9a-f]{7}0\$",
        "roundcube": r"[0-9a-f]{32}",
    }
    shapes["iphone"] = shapes["android"] = shapes["apple"]
    for name, shape in shapes.items():
        seed = seed_of(name)
        ids = {
            new_message_id(seed, "anna@A.example", hashlib.sha256(b"%d" % n).digest())
            for n in range(500)
        }
        assert len(ids) == 500
        assert all(re.fullmatch(rf"<{shape}@a\.example>", one) for one in ids), name
        assert parsed(compose(draft(seed, message_id=min(ids))))["Message-ID"] == min(ids)
    with pytest.raises(InvalidValue):
        new_message_id(1, "anna@a.example", b"short")
    with pytest.raises(InvalidValue):
        new_message_id(1, "no address", bytes(16))


def test_whole_conversations_of_the_library_survive() -> None:
    for seed in range(120):
        thread = builtin().thread(seed)
        body = thread.body(0, "Anna Bell", "Bob Stone")
        message = parsed(compose(draft(seed, subject=thread.subject, body=body)))
        assert message["Subject"] == thread.subject
        text = unflowed(message).strip()
        squeezed = " ".join(text.split())
        assert squeezed == " ".join(body.split())


@given(st.text("aé-. \t\n\x0b\xa0\u2003", min_size=1, max_size=60), st.integers(1, 12))
def test_long_lines_are_cut_as_textwrap_cuts_them(line: str, width: int) -> None:
    cut = textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
    assert _filled(line, width) == cut
