"""The mail programs that are imitated: their header order, ids, text format and quotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from mailhearth_core.warmup.chance import stream

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quoted:
    """An earlier message, ready to be quoted: cleaned, its moment in the quoting one's zone."""

    author: str
    person: str
    """Name and address as they are shown together."""
    when: datetime | None
    to: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Program:
    """How one program writes. `wrap` is its line width in plain text, 0 for none."""

    order: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...]
    content_type: str
    ascii_charset: str
    utf8_charset: str
    beyond_ascii: str
    """Transfer encoding for text beyond ASCII: `8bit` or `quoted-printable`."""
    wrap: int
    flowed: bool
    padded_day: bool
    """Whether the day of the month in `Date` has two digits always."""
    new_id: Callable[[bytes], str]
    quote: Callable[[Quoted, Random], list[str]]


def _uuid(entropy: bytes) -> str:
    digits = bytearray(entropy[:16])
    digits[6] = digits[6] & 0x0F | 0x40  # RFC 9562 section 5.4: version 4
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _upper_uuid(entropy: bytes) -> str:
    return _uuid(entropy).upper()


def _plain_hex(entropy: bytes) -> str:
    return entropy[:16].hex()


def _outlook_id(entropy: bytes) -> str:
    """A counter and the high half of a FILETIME, then two random words."""
    high = 0x01DC0000 + int.from_bytes(entropy[:3], "big") % 0x18000
    text = entropy[3:16].hex()
    return f"{int(text[:3], 16):04x}{high:08x}${text[3:11]}${text[11:18]}0$"


def _prefixed(prefix: str, text: str) -> list[str]:
    """Quoted lines; nested quotes are not spaced apart, empty lines keep no trailing blank."""
    return [
        f"{prefix}{line}" if line and not line.startswith(">") else (prefix.rstrip() + line)
        for line in text.split("\n")
    ]


def _thunderbird_quote(quoted: Quoted, habits: Random) -> list[str]:
    when = quoted.when
    short = habits.random() < 0.5
    who = quoted.author
    if when is None:
        intro = f"{who} wrote:"
    elif short:
        intro = f"On {when.month}/{when.day}/{when.year % 100} {_clock12(when)}, {who} wrote:"
    else:
        intro = f"On {when:%d/%m/%Y} {when:%H:%M}, {who} wrote:"
    return [intro, *_prefixed("> ", quoted.body)]


def _roundcube_quote(quoted: Quoted, habits: Random) -> list[str]:
    when = quoted.when
    intro = f"{quoted.author} wrote:"
    if when is not None:
        intro = f"On {when:%Y-%m-%d} {when:%H:%M}, {intro}"
    return [intro, *_prefixed("> ", quoted.body)]


def _apple_quote(quoted: Quoted, habits: Random) -> list[str]:
    when = quoted.when
    american = habits.random() < 0.5
    who = quoted.person
    if when is None:
        intro = f"{who} wrote:"
    elif american:
        day = f"{MONTHS[when.month - 1][:3]} {when.day}, {when.year}"
        intro = f"On {day}, at {_clock12(when)}, {who} wrote:"
    else:
        day = f"{when.day} {MONTHS[when.month - 1][:3]} {when.year}"
        intro = f"On {day}, at {when:%H:%M}, {who} wrote:"
    return ["", *_prefixed("> ", f"{intro}\n\n{quoted.body}")]


def _android_quote(quoted: Quoted, habits: Random) -> list[str]:
    when = quoted.when
    intro = f"{quoted.person} wrote:"
    if when is not None:
        day = f"{when.day} {MONTHS[when.month - 1]} {when.year}"
        if habits.random() < 0.5:
            day = f"{MONTHS[when.month - 1]} {when.day}, {when.year}"
        intro = f"On {day} {when:%H:%M:%S} {_gmt(when)}, {intro}"
    return [intro, *_prefixed(">", quoted.body)]


def _outlook_quote(quoted: Quoted, habits: Random) -> list[str]:
    when = quoted.when
    lines = ["-----Original Message-----", f"From: {quoted.person}"]
    if when is not None:
        date = f"{DAYS[when.weekday()]}, {MONTHS[when.month - 1]} {when.day}, {when.year}"
        if habits.random() < 0.5:
            date = f"{when.day} {MONTHS[when.month - 1]} {when.year}"
            lines.append(f"Sent: {date} {when:%H:%M}")
        else:
            lines.append(f"Sent: {date} {_clock12(when)}")
    return [*lines, f"To: {quoted.to}", f"Subject: {quoted.subject}", "", *quoted.body.split("\n")]


_THUNDERBIRD = Program(
    order=(
        "Message-ID", "Date", "MIME-Version", "User-Agent", "Subject", "To", "References",
        "Content-Language", "From", "In-Reply-To", "Content-Type", "Content-Transfer-Encoding",
    ),
    fixed=(
        ("MIME-Version", "1.0"),
        ("User-Agent", "Mozilla Thunderbird"),
        ("Content-Language", "en-US"),
    ),
    content_type="text/plain; charset=CHARSET; format=flowed",
    ascii_charset="UTF-8",
    utf8_charset="UTF-8",
    beyond_ascii="8bit",
    wrap=72,
    flowed=True,
    padded_day=False,
    new_id=_uuid,
    quote=_thunderbird_quote,
)  # fmt: skip

_APPLE = Program(
    order=(
        "From", "Content-Type", "Content-Transfer-Encoding", "Mime-Version", "Subject",
        "Message-Id", "In-Reply-To", "References", "Date", "To", "X-Mailer",
    ),
    fixed=(
        ("Mime-Version", r"1.0 (Mac OS X Mail 16.0 \(3774.600.62\))"),
        ("X-Mailer", "Apple Mail (2.3774.600.62)"),
    ),
    content_type="text/plain;\r\n\tcharset=CHARSET",
    ascii_charset="us-ascii",
    utf8_charset="utf-8",
    beyond_ascii="quoted-printable",
    wrap=0,
    flowed=False,
    padded_day=False,
    new_id=_upper_uuid,
    quote=_apple_quote,
)  # fmt: skip

_IPHONE = Program(
    order=(
        "Content-Type", "Content-Transfer-Encoding", "From", "Mime-Version", "Subject", "Date",
        "Message-Id", "References", "In-Reply-To", "To", "X-Mailer",
    ),
    fixed=(("Mime-Version", "1.0 (1.0)"), ("X-Mailer", "iPhone Mail (21G93)")),
    content_type="text/plain; charset=CHARSET",
    ascii_charset="us-ascii",
    utf8_charset="utf-8",
    beyond_ascii="quoted-printable",
    wrap=0,
    flowed=False,
    padded_day=False,
    new_id=_upper_uuid,
    quote=_apple_quote,
)  # fmt: skip

_OUTLOOK = Program(
    order=(
        "From", "To", "References", "In-Reply-To", "Subject", "Date", "Message-ID",
        "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "X-Mailer",
        "Content-Language",
    ),
    fixed=(
        ("MIME-Version", "1.0"),
        ("X-Mailer", "Microsoft Outlook 16.0"),
        ("Content-Language", "en-us"),
    ),
    content_type='text/plain;\r\n\tcharset="CHARSET"',
    ascii_charset="us-ascii",
    utf8_charset="utf-8",
    beyond_ascii="quoted-printable",
    wrap=76,
    flowed=False,
    padded_day=False,
    new_id=_outlook_id,
    quote=_outlook_quote,
)  # fmt: skip

_ROUNDCUBE = Program(
    order=(
        "MIME-Version", "Date", "From", "To", "Subject", "In-Reply-To", "References",
        "User-Agent", "Message-ID", "Content-Type", "Content-Transfer-Encoding",
    ),
    fixed=(("MIME-Version", "1.0"), ("User-Agent", "Roundcube Webmail/1.6.9")),
    content_type="text/plain; charset=CHARSET;\r\n format=flowed",
    ascii_charset="US-ASCII",
    utf8_charset="UTF-8",
    beyond_ascii="8bit",
    wrap=72,
    flowed=True,
    padded_day=True,
    new_id=_plain_hex,
    quote=_roundcube_quote,
)  # fmt: skip

_ANDROID = Program(
    order=(
        "Date", "From", "To", "Subject", "User-Agent", "In-Reply-To", "References", "Message-ID",
        "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    ),
    fixed=(("MIME-Version", "1.0"), ("User-Agent", "K-9 Mail for Android")),
    content_type="text/plain;\r\n charset=CHARSET",
    ascii_charset="utf-8",
    utf8_charset="utf-8",
    beyond_ascii="quoted-printable",
    wrap=0,
    flowed=False,
    padded_day=True,
    new_id=_upper_uuid,
    quote=_android_quote,
)  # fmt: skip

_PROGRAMS = (_THUNDERBIRD, _APPLE, _OUTLOOK, _ROUNDCUBE, _IPHONE, _ANDROID)


def program_of(seed: int) -> Program:
    return _PROGRAMS[int(stream("mail program", seed).random() * len(_PROGRAMS))]


def zone_offset(when: datetime) -> str:
    """An aware moment's offset as +HHMM (RFC 5322 section 3.3), whole minutes."""
    minutes = round((when.utcoffset() or timedelta()) / timedelta(minutes=1))
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


def _clock12(when: datetime) -> str:
    return f"{(when.hour - 1) % 12 + 1}:{when:%M} {'AM' if when.hour < 12 else 'PM'}"


def _gmt(when: datetime) -> str:
    zone = zone_offset(when)
    return "GMT" if zone == "+0000" else f"GMT{zone[:3]}:{zone[3:]}"
