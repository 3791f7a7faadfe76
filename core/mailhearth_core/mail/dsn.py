"""Reading delivery reports: RFC 3464 fields where there are any, else flufl.bounce's detectors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.utils import parseaddr

from flufl.bounce import all_failures

MAX_BYTES = 512 * 1024
"""A longer report is read only this far."""

ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_STATUS = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,500}>")


@dataclass(frozen=True, slots=True)
class DsnOutcome:
    """What a report says about one recipient.

    `original_message_id` (with brackets) is None when the report does not carry the headers;
    `action` is one of `ACTIONS`; `status` is an enhanced code, "" when unknown. Only a `failed`
    with a status of class 5 proves that an address is bad.
    """

    original_message_id: str | None
    recipient: str
    action: str
    status: str


def read_dsn(raw: bytes) -> list[DsnOutcome]:
    """The outcomes in a message; empty when it is no delivery report."""
    try:
        return _read(message_from_bytes(raw[:MAX_BYTES]))
    except RecursionError:
        return []  # parts within parts without an end: nobody's report


def _read(message: Message) -> list[DsnOutcome]:
    original = _original_message_id(message)
    outcomes = [
        outcome
        for part in message.walk()
        if part.get_content_type() in _STATUS_TYPES
        for group in _groups(part)
        if (outcome := _outcome(group, original)) is not None
    ]
    return outcomes or _detected(message, original)


_STATUS_TYPES = {"message/delivery-status", "message/global-delivery-status"}
_ORIGINAL_TYPES = {
    "message/rfc822",
    "text/rfc822-headers",
    "message/global",
    "message/global-headers",
}


def _groups(part: Message) -> Iterator[Message]:
    """The per-recipient groups; the parser gives each group of fields as a sub-message."""
    payload = part.get_payload()
    if isinstance(payload, list):
        yield from (group for group in payload if isinstance(group, Message))


def _outcome(group: Message, original: str | None) -> DsnOutcome | None:
    recipient = _address(group.get("Original-Recipient")) or _address(group.get("Final-Recipient"))
    action = str(group.get("Action", "")).partition(";")[0].partition("(")[0].strip().lower()
    if not recipient or action not in ACTIONS:
        return None
    status = _STATUS.search(str(group.get("Status", "")))
    return DsnOutcome(original, recipient, action, status.group(0) if status else "")


def _address(value: object) -> str:
    """The address in "rfc822; someone@example.com" (RFC 3464 section 2.3.1)."""
    if value is None:
        return ""
    address = parseaddr(str(value).partition(";")[2])[1].lower()
    return address if "@" in address else ""


def _original_message_id(message: Message) -> str | None:
    for part in message.walk():
        if part is message or part.get_content_type() not in _ORIGINAL_TYPES:
            continue
        payload = part.get_payload()
        inner = payload[0] if isinstance(payload, list) and payload else None
        if isinstance(inner, Message):
            header = str(inner.get("Message-ID", ""))
        else:
            text = part.get_payload(decode=True)
            block = message_from_bytes(text) if isinstance(text, bytes) else Message()
            header = str(block.get("Message-ID", ""))
        found = _MESSAGE_ID.search(header)
        if found:
            return found.group(0)
    return None


def _detected(message: Message, original: str | None) -> list[DsnOutcome]:
    if "@" not in str(message.get("From", "")):
        return []  # reports have a sender; one of the detectors stumbles where there is none
    try:
        temporary, permanent = all_failures(message)
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return []  # a detector met mail too broken to be taken for any server's report
    found = [("delayed", a) for a in temporary] + [("failed", a) for a in permanent]
    return [
        DsnOutcome(original, address.decode("utf-8", "replace").lower(), action, "")
        for action, address in sorted(found)
    ]
