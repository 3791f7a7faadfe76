"""Messages as common mail programs write them: header order, ids, MIME, quoting (RFC 5322, 2045).

Each mailbox imitates one program for good, chosen by its `client_seed`. No field and no value says
who made the message; nothing beyond what such a program writes is added.
"""

from __future__ import annotations

import binascii
import re
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.charset import SHORTEST, Charset
from email.header import Header
from random import Random

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.chance import stream

MAX_REFERENCES = 20
MAX_SUBJECT = 250
MAX_NAME = 100
LONGEST_LINE = 998
"""Octets in a line without its end (RFC 5322 section 2.1.1)."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}\Z")
_ID = re.compile(r"<[!-;=?-~]{1,300}>\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")
_REPLY = re.compile(r"(?:re|aw|sv|antw)(?:\[\d+\])?\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quote:
    """An earlier message to quote beneath a reply. `date` is aware, None when unknown."""

    author_name: str
    author_address: str
    date: datetime | None
    body: str


@dataclass(frozen=True, slots=True)
class Draft:
    """All that a message is made of.

    Attributes:
        client_seed: the mailbox's: chooses the imitated program and its habits for good.
        message_id: with angle brackets, as `new_message_id` makes it.
        date: aware, in the sender's own zone.
        in_reply_to, references: ids with angle brackets; with the former the subject gets "Re:".
        quote: quoted beneath the body.
    """

    client_seed: int
    from_name: str
    from_address: str
    to_name: str
    to_address: str
    subject: str
    body: str
    message_id: str
    date: datetime
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    quote: Quote | None = None


def compose(draft: Draft) -> bytes:
    """The message, with CRLF line ends and lines of at most 998 octets, ready for SMTP.

    The same draft gives the same bytes. Raises InvalidValue for an address, id or date that cannot
    stand in a header; control characters in names and subject are removed.
    """
    client = _client_of(draft.client_seed)
    lines, encoding, charset = _encode(_text(draft, client), client)
    values = _values(draft, client)
    values["Content-Type"] = client.content_type.replace("CHARSET", charset)
    values["Content-Transfer-Encoding"] = encoding
    head = [f"{name}: {values[name]}" for name in client.order if name in values]
    return "\r\n".join([*head, "", *lines, ""]).encode("utf-8")


def new_message_id(client_seed: int, address: str, entropy: bytes) -> str:
    """A fresh id in the shape of the mailbox's program, at the address's domain.

    `entropy` is at least 16 random bytes.
    """
    if len(entropy) < 16:
        raise InvalidValue("entropy", f"{len(entropy)} bytes", "at least 16 random bytes")
    domain = _address("from_address", address).rpartition("@")[2].lower()
    return f"<{_client_of(client_seed).new_id(entropy)}@{domain}>"


def reply_subject(subject: str) -> str:
    """The subject of a reply: one "Re: " in front, whatever was there before."""
    bare = _one_line(subject, MAX_SUBJECT)
    while found := _REPLY.match(bare):
        bare = bare[found.end() :]
    return f"Re: {bare}".rstrip()


# -- the programs imitated -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Client:
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
    quote: Callable[[Draft, Quote, Random], list[str]]


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


def _thunderbird_quote(draft: Draft, quote: Quote, habits: Random) -> list[str]:
    when = _local(draft, quote)
    short = habits.random() < 0.5
    who = _author(quote)
    if when is None:
        intro = f"{who} wrote:"
    elif short:
        intro = f"On {when.month}/{when.day}/{when.year % 100} {_clock12(when)}, {who} wrote:"
    else:
        intro = f"On {when:%d/%m/%Y} {when:%H:%M}, {who} wrote:"
    return [intro, *_prefixed("> ", quote.body)]


def _roundcube_quote(draft: Draft, quote: Quote, habits: Random) -> list[str]:
    when = _local(draft, quote)
    intro = f"{_author(quote)} wrote:"
    if when is not None:
        intro = f"On {when:%Y-%m-%d} {when:%H:%M}, {intro}"
    return [intro, *_prefixed("> ", quote.body)]


def _apple_quote(draft: Draft, quote: Quote, habits: Random) -> list[str]:
    when = _local(draft, quote)
    american = habits.random() < 0.5
    who = _author(quote, with_address=True)
    if when is None:
        intro = f"{who} wrote:"
    elif american:
        day = f"{_MONTHS[when.month - 1][:3]} {when.day}, {when.year}"
        intro = f"On {day}, at {_clock12(when)}, {who} wrote:"
    else:
        day = f"{when.day} {_MONTHS[when.month - 1][:3]} {when.year}"
        intro = f"On {day}, at {when:%H:%M}, {who} wrote:"
    return ["", *_prefixed("> ", f"{intro}\n\n{quote.body}")]


def _android_quote(draft: Draft, quote: Quote, habits: Random) -> list[str]:
    when = _local(draft, quote)
    intro = f"{_author(quote, with_address=True)} wrote:"
    if when is not None:
        day = f"{when.day} {_MONTHS[when.month - 1]} {when.year}"
        if habits.random() < 0.5:
            day = f"{_MONTHS[when.month - 1]} {when.day}, {when.year}"
        intro = f"On {day} {when:%H:%M:%S} {_gmt(when)}, {intro}"
    return [intro, *_prefixed(">", quote.body)]


def _outlook_quote(draft: Draft, quote: Quote, habits: Random) -> list[str]:
    when = _local(draft, quote)
    lines = ["-----Original Message-----", f"From: {_author(quote, with_address=True)}"]
    if when is not None:
        date = f"{_DAYS[when.weekday()]}, {_MONTHS[when.month - 1]} {when.day}, {when.year}"
        if habits.random() < 0.5:
            date = f"{when.day} {_MONTHS[when.month - 1]} {when.year}"
            lines.append(f"Sent: {date} {when:%H:%M}")
        else:
            lines.append(f"Sent: {date} {_clock12(when)}")
    to = _person(_one_line(draft.from_name, MAX_NAME), draft.from_address)
    return [*lines, f"To: {to}", f"Subject: {_bare(draft)}", "", *quote.body.split("\n")]


_THUNDERBIRD = _Client(
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

_APPLE = _Client(
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

_IPHONE = _Client(
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

_OUTLOOK = _Client(
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

_ROUNDCUBE = _Client(
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

_ANDROID = _Client(
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

_CLIENTS = (_THUNDERBIRD, _APPLE, _OUTLOOK, _ROUNDCUBE, _IPHONE, _ANDROID)


def _client_of(seed: int) -> _Client:
    return _CLIENTS[int(stream("mail program", seed).random() * len(_CLIENTS))]


# -- headers -------------------------------------------------------------------------------------


def _values(draft: Draft, client: _Client) -> dict[str, str]:
    subject = _one_line(draft.subject, MAX_SUBJECT)
    if draft.in_reply_to:
        subject = reply_subject(subject)
    message_id = _message_id("message_id", draft.message_id)
    values = dict(client.fixed)
    values["From"] = _mailbox("From", "from_address", draft.from_name, draft.from_address)
    values["To"] = _mailbox("To", "to_address", draft.to_name, draft.to_address)
    values["Subject"] = _encoded("Subject", subject)
    values["Date"] = _rfc5322_date(draft.date, padded=client.padded_day)
    values["Message-ID"] = values["Message-Id"] = message_id
    if draft.in_reply_to:
        parent = _message_id("in_reply_to", draft.in_reply_to)
        ids = list(dict.fromkeys(i for i in draft.references if _ID.match(i) and i != parent))
        ids.append(parent)
        if len(ids) > MAX_REFERENCES:
            # RFC 5322 lets a long list be cut: the first ties the thread, the last ones place it.
            ids = [ids[0], *ids[1 - MAX_REFERENCES :]]
        values["In-Reply-To"] = parent
        values["References"] = "\r\n ".join(ids)
    return values


def _mailbox(header: str, field: str, name: str, address: str) -> str:
    address = _address(field, address)
    name = _one_line(name, MAX_NAME)
    if not name:
        return address
    if not name.isascii() or "=?" in name:
        shown = _encoded(header, name)
    elif _PLAIN_NAME.match(name):
        shown = name
    else:
        shown = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    line = f"{shown} <{address}>"
    if len(header) + 2 + len(line.rpartition("\r\n")[2]) > 78:
        return f"{shown}\r\n <{address}>"
    return line


def _encoded(header: str, text: str) -> str:
    """A header's text, folded; beyond ASCII as encoded words (RFC 2047)."""
    if text.isascii() and "=?" not in text:
        charset = Charset("us-ascii")
        if max((len(word) for word in text.split()), default=0) < 200:
            return Header(text, charset, header_name=header).encode(linesep="\r\n")
    charset = Charset("utf-8")
    charset.header_encoding = SHORTEST
    before = "Re: " if text.startswith("Re: ") and len(text) > 4 else ""
    packed = Header(text.removeprefix(before), charset, 75, f"{header}: {before}")
    return before + packed.encode(linesep="\r\n")


def _address(field: str, address: str) -> str:
    if _ADDRESS.match(address) is None:
        raise InvalidValue(field, address, "an ASCII address such as anna@example.com")
    return address


def _message_id(field: str, value: str) -> str:
    if _ID.match(value) is None:
        raise InvalidValue(field, value, "a message id in angle brackets, without spaces")
    return value


def _rfc5322_date(when: datetime, *, padded: bool) -> str:
    offset = when.utcoffset()
    if offset is None:
        raise InvalidValue("date", when, "a moment with its zone")
    minutes = round(offset / timedelta(minutes=1))
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    day = f"{when.day:02d}" if padded else str(when.day)
    month = _MONTHS[when.month - 1][:3]
    return f"{_DAYS[when.weekday()][:3]}, {day} {month} {when.year} {when:%H:%M:%S} {zone}"


def _one_line(text: str, limit: int) -> str:
    """Text for a header: control characters and line ends gone, spaces single."""
    shown = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text)
    return " ".join(shown.split())[:limit].rstrip()


# -- the text --------------------------------------------------------------------------------------


def _text(draft: Draft, client: _Client) -> str:
    """Body and quotation, LF line ends, unwrapped, without control characters."""
    parts = _clean(draft.body).strip("\n").split("\n")
    if draft.quote is not None:
        habits = stream("mail program's habits", draft.client_seed)
        quote = Quote(
            draft.quote.author_name,
            draft.quote.author_address,
            draft.quote.date,
            _clean(draft.quote.body).strip("\n"),
        )
        parts += ["", *client.quote(draft, quote, habits)]
    return "\n".join(parts)


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text)
    return "\n".join(line.rstrip() for line in "".join(kept).split("\n"))


def _encode(text: str, client: _Client) -> tuple[list[str], str, str]:
    """Lines as sent, the transfer encoding, and the charset's name."""
    lines = [piece for line in text.split("\n") for piece in _wrapped(line, client)]
    ascii_only = text.isascii()
    charset = client.ascii_charset if ascii_only else client.utf8_charset
    fits = all(len(line.encode()) <= LONGEST_LINE for line in lines)
    if fits and ascii_only:
        return lines, "7bit", charset
    if fits and client.beyond_ascii == "8bit":
        return lines, "8bit", charset
    lines = text.split("\n")
    # In binascii, a soft line break takes the line ending it finds in the data: CRLF here.
    data = "\r\n".join(lines).encode("utf-8")
    packed = binascii.b2a_qp(data, istext=True).decode("ascii")
    return packed.split("\r\n"), "quoted-printable", charset


def _wrapped(line: str, client: _Client) -> list[str]:
    """One line cut to the program's width; quoted lines stay whole, as all programs leave them."""
    if not client.wrap or line.startswith(">"):
        return [line]
    flowed = client.flowed
    if len(line) > client.wrap:
        pieces = textwrap.wrap(
            line, client.wrap - 1, break_long_words=False, break_on_hyphens=False
        )
    else:
        pieces = [line]
    if flowed:
        # RFC 3676: a trailing space says "goes on", and a leading one protects these starts.
        pieces = [f" {p}" if p.startswith((" ", "From ")) else p for p in pieces]
        pieces = [f"{p} " for p in pieces[:-1]] + pieces[-1:]
    return pieces


def _author(quote: Quote, *, with_address: bool = False) -> str:
    name = _one_line(quote.author_name, MAX_NAME)
    address = _one_line(quote.author_address, 320)
    return _person(name, address) if with_address else (name or address)


def _person(name: str, address: str) -> str:
    return f"{name} <{address}>" if name else address


def _bare(draft: Draft) -> str:
    """The subject as the quoted message had it, as near as a program can tell."""
    subject = _one_line(draft.subject, MAX_SUBJECT)
    found = _REPLY.match(subject)
    return subject[found.end() :] if found else subject


def _local(draft: Draft, quote: Quote) -> datetime | None:
    """When the quoted message was written, in the zone of the one who quotes it."""
    return quote.date.astimezone(draft.date.tzinfo) if quote.date else None


def _clock12(when: datetime) -> str:
    return f"{(when.hour - 1) % 12 + 1}:{when:%M} {'AM' if when.hour < 12 else 'PM'}"


def _gmt(when: datetime) -> str:
    zone = _rfc5322_date(when, padded=True)[-5:]
    return "GMT" if zone == "+0000" else f"GMT{zone[:3]}:{zone[3:]}"
