"""Reading a message's headers, whatever state they are in. Nothing here raises for bad input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import HeaderParser
from email.utils import getaddresses, parsedate_to_datetime

FIELDS = (
    "MESSAGE-ID",
    "X-MICROSOFT-ORIGINAL-MESSAGE-ID",
    "X-GOOGLE-ORIGINAL-MESSAGE-ID",
    "FROM",
    "TO",
    "SUBJECT",
    "DATE",
    "IN-REPLY-TO",
    "REFERENCES",
    "AUTO-SUBMITTED",
    "PRECEDENCE",
    "CONTENT-TYPE",
)
"""The header fields that are ever asked for; all else of foreign mail stays unread."""

MAX_REFERENCES = 100
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,500}>")
_REPORT_TYPE = re.compile(r';\s*report-type\s*=\s*"?([a-z0-9!#$&^_.+-]{1,100})', re.IGNORECASE)
_BULK = {"bulk", "junk", "list", "auto_reply"}


@dataclass(frozen=True, slots=True)
class HeaderRecord:
    """One message as seen in a folder. Message ids keep their angle brackets.

    `internaldate` is when it arrived, in UTC; `date` is the sender's claim, None when unreadable.
    Addresses are lower case. Absent or unreadable text fields are "".
    """

    uid: int
    internaldate: datetime
    flags: frozenset[str]
    size: int
    message_id: str
    original_message_ids: tuple[str, ...]
    from_address: str
    to_addresses: tuple[str, ...]
    subject: str
    date: datetime | None
    in_reply_to: str
    references: tuple[str, ...]
    auto_submitted: str
    precedence: str
    content_type: str
    report_type: str
    """The kind of a `multipart/report`, such as `delivery-status` (RFC 6522); "" for other mail."""

    @property
    def is_automatic(self) -> bool:
        """True for mail that must not be answered (RFC 3834 section 2)."""
        word = self.auto_submitted.partition(";")[0].strip()
        return word not in ("", "no") or self.precedence in _BULK or self.is_report

    @property
    def is_report(self) -> bool:
        """True for delivery reports and their kin (RFC 6522)."""
        return self.content_type == "multipart/report"


def header_record(
    raw: bytes, *, uid: int, internaldate: datetime, flags: frozenset[str], size: int
) -> HeaderRecord:
    """Parses a header block (possibly cut off) into a record."""
    message = HeaderParser().parsestr(_text(raw))
    originals = (
        _one_id(message.get("X-Microsoft-Original-Message-ID")),
        _one_id(message.get("X-Google-Original-Message-ID")),
    )
    content_type = message.get("Content-Type", "")
    return HeaderRecord(
        uid=uid,
        internaldate=internaldate.astimezone(UTC),
        flags=flags,
        size=size,
        message_id=_one_id(message.get("Message-ID")),
        original_message_ids=tuple(i for i in originals if i),
        from_address=next(iter(_addresses(message, "From")), ""),
        to_addresses=_addresses(message, "To"),
        subject=decode_text(message.get("Subject", "")),
        date=_date(message.get("Date", "")),
        in_reply_to=_one_id(message.get("In-Reply-To")),
        references=tuple(_MESSAGE_ID.findall(message.get("References", ""))[-MAX_REFERENCES:]),
        auto_submitted=message.get("Auto-Submitted", "").strip().lower(),
        precedence=message.get("Precedence", "").strip().lower(),
        content_type=content_type.partition(";")[0].strip().lower(),
        report_type=_report_type(content_type),
    )


def decode_text(value: str) -> str:
    """Decodes encoded words (RFC 2047) as far as they can be, on one line."""
    try:
        pieces = decode_header(" ".join(value.splitlines()))
    except (HeaderParseError, ValueError):
        return " ".join(value.split())
    text = "".join(_piece(piece, charset) for piece, charset in pieces)
    whole = text.encode("utf-8", "replace").decode("utf-8")  # utf-7 yields halves of characters
    return " ".join(whole.replace("\0", "").split())


def _piece(piece: bytes | str, charset: str | None) -> str:
    if isinstance(piece, str):
        return piece
    try:
        return piece.decode(charset or "ascii")
    except (LookupError, UnicodeError):
        return _text(piece)


def _report_type(content_type: str) -> str:
    found = _REPORT_TYPE.search(content_type)
    return found.group(1).lower() if found else ""


def _text(raw: bytes) -> str:
    raw = raw.replace(b"\0", b"")  # no header holds one, and no database takes one
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _one_id(value: str | None) -> str:
    if value is None:
        return ""
    found = _MESSAGE_ID.search(value)
    return found.group(0) if found else "".join(value.split())[:500]


def _addresses(message: Message, field: str) -> tuple[str, ...]:
    values = [decode_text(v) for v in message.get_all(field, [])]
    return tuple(address.lower() for _, address in getaddresses(values) if "@" in address)


def _date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
