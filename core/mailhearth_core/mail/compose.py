"""Messages as common mail programs write them: header order, ids, MIME, quoting (RFC 5322, 2045).

Each mailbox imitates one program for good, chosen by its `client_seed`. No field and no value says
who made the message; nothing beyond what such a program writes is added.
"""

from __future__ import annotations

import binascii
import re
import textwrap
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.charset import SHORTEST, Charset
from email.header import Header

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.programs import (
    DAYS,
    MONTHS,
    Program,
    Quoted,
    program_of,
    zone_offset,
)
from mailhearth_core.warmup.chance import stream

MAX_REFERENCES = 20
MAX_SUBJECT = 250
MAX_NAME = 100
LONGEST_LINE = 998
"""Octets in a line without its end (RFC 5322 section 2.1.1)."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}\Z")
_ID = re.compile(r"<[!-;=?-~]{1,300}>\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's categories Cc and Cs, but for the line end and the tab."""
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
    client = program_of(draft.client_seed)
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
    return f"<{program_of(client_seed).new_id(entropy)}@{domain}>"


def reply_subject(subject: str) -> str:
    """The subject of a reply: one "Re: " in front, whatever was there before."""
    bare = _one_line(subject, MAX_SUBJECT)
    while found := _REPLY.match(bare):
        bare = bare[found.end() :]
    return f"Re: {bare}".rstrip()


# -- headers -------------------------------------------------------------------------------------


def _values(draft: Draft, client: Program) -> dict[str, str]:
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
    if when.utcoffset() is None:
        raise InvalidValue("date", when, "a moment with its zone")
    day = f"{when.day:02d}" if padded else str(when.day)
    month = MONTHS[when.month - 1][:3]
    return (
        f"{DAYS[when.weekday()][:3]}, {day} {month} {when.year} {when:%H:%M:%S} {zone_offset(when)}"
    )


def _one_line(text: str, limit: int) -> str:
    """Text for a header: control characters and line ends gone, spaces single."""
    shown = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text)
    return " ".join(shown.split())[:limit].rstrip()


# -- the text --------------------------------------------------------------------------------------


def _text(draft: Draft, client: Program) -> str:
    """Body and quotation, LF line ends, unwrapped, without control characters."""
    parts = _clean(draft.body).strip("\n").split("\n")
    if draft.quote is not None:
        habits = stream("mail program's habits", draft.client_seed)
        parts += ["", *client.quote(_quoted(draft, draft.quote), habits)]
    return "\n".join(parts)


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in _CONTROL.sub(" ", text).split("\n"))


def _encode(text: str, client: Program) -> tuple[list[str], str, str]:
    """Lines as sent, the transfer encoding, and the charset's name."""
    lines = [piece for line in text.split("\n") for piece in _wrapped(line, client)]
    ascii_only = text.isascii()
    charset = client.ascii_charset if ascii_only else client.utf8_charset
    octets = len if ascii_only else lambda line: len(line.encode())
    fits = max(map(octets, lines)) <= LONGEST_LINE
    if fits and ascii_only:
        return lines, "7bit", charset
    if fits and client.beyond_ascii == "8bit":
        return lines, "8bit", charset
    packed = binascii.b2a_qp(text.encode("utf-8"), istext=True).decode("ascii")
    return packed.split("\n"), "quoted-printable", charset


def _wrapped(line: str, client: Program) -> list[str]:
    """One line cut to the program's width; quoted lines stay whole, as all programs leave them."""
    if not client.wrap or line.startswith(">"):
        return [line]
    flowed = client.flowed
    pieces = _filled(line, client.wrap - 1) if len(line) > client.wrap else [line]
    if flowed:
        # RFC 3676: a trailing space says "goes on", and a leading one protects these starts.
        pieces = [f" {p}" if p.startswith((" ", "From ")) else p for p in pieces]
        pieces = [f"{p} " for p in pieces[:-1]] + pieces[-1:]
    return pieces


def _filled(line: str, width: int) -> list[str]:
    """A line cut at blanks into pieces of at most `width`; a longer word stays whole.

    What `textwrap` does, in a tenth of its time where words are parted by single blanks: a long
    text would spend most of its making here.
    """
    if not line.isprintable() or "  " in line or line != line.strip(" "):
        return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
    pieces = []
    start, end = 0, len(line)
    while end - start > width:
        cut = line.rfind(" ", start, start + width + 1)
        if cut < 0:
            cut = line.find(" ", start + width + 1)
        if cut < 0:
            break
        pieces.append(line[start:cut])
        start = cut + 1
    return [*pieces, line[start:]]


def _quoted(draft: Draft, quote: Quote) -> Quoted:
    name = _one_line(quote.author_name, MAX_NAME)
    address = _one_line(quote.author_address, 320)
    subject = _one_line(draft.subject, MAX_SUBJECT)
    reply = _REPLY.match(subject)
    return Quoted(
        author=name or address,
        person=_person(name, address),
        when=quote.date.astimezone(draft.date.tzinfo) if quote.date else None,
        to=_person(_one_line(draft.from_name, MAX_NAME), draft.from_address),
        subject=subject[reply.end() :] if reply else subject,
        body=_clean(quote.body).strip("\n"),
    )


def _person(name: str, address: str) -> str:
    return f"{name} <{address}>" if name else address
