"""An uploaded CSV of mailboxes: whatever encoding and separator, row by row, each mistake named.

Nothing that is told of a row repeats what stood in its cells: with columns exchanged any of them
may be a password.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO

from mailhearth_core.autoconfig import SignIn, known
from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.mail.model import Endpoint
from mailhearth_core.providers import oauth_owner
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs.mailbox_spec import (
    NO_PASSWORDS,
    YES,
    InvalidMailbox,
    MailboxSpec,
    parse_spec,
)

MAX_ROWS = 10_000
"""Mailboxes of one import; the rows beyond are counted and named, not read."""
NEEDED = ("address", "password")
OPTIONAL = ("imap", "smtp", "tls", "username", "name", "timezone", "pool", "consent")
"""Of these imap and smtp are needed where the address's provider is not a common one."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_ANSWERS = {"": None, "yes": "workspace", "no": "none", "workspace": "workspace", "none": "none",
            "network": "network"}  # fmt: skip


class UnreadableFile(MailhearthError):
    """The file as a whole is no list of mailboxes; the message says what it is instead."""

    code = "import_unreadable"


@dataclass(frozen=True)
class Decoded:
    """A file's text.

    Attributes:
        encoding: its name for people.
        guessed: nothing in the file says so; names may have come out wrong.
    """

    text: str
    encoding: str
    guessed: bool


@dataclass(frozen=True)
class Mistake:
    """What is wrong in one column of a row; "" for the row as a whole."""

    column: str
    text: str


@dataclass(frozen=True)
class Row:
    """One row: a mailbox, or what is wrong with it.

    Attributes:
        line: of the file, where the row ends; the header is line 1.
        address: normalised; "" when it is no address.
        pool: as written.
    """

    line: int
    address: str
    pool: str
    spec: MailboxSpec | None
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class Beyond:
    """Rows after the last that one import takes."""

    line: int
    count: int


def decode(data: bytes) -> Decoded:
    """The text of a CSV in UTF-8 or UTF-16, or else, as a guess, in Windows-1252.

    Raises:
        UnreadableFile: it is empty, a workbook, or no text at all.
    """
    if not data.strip():
        raise UnreadableFile("The file is empty.")
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile(
            "The file is a workbook, not a CSV.",
            hint='In the spreadsheet choose "Save as" and "CSV UTF-8", then upload that.',
        )
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            return Decoded(_decoded(data, codec, name), name, guessed=False)
    if b"\x00" in data[:4_000]:  # UTF-16 without its mark: every second byte of Latin text is zero
        codec = "utf-16-be" if data[:1] == b"\x00" else "utf-16-le"
        return Decoded(_decoded(data, codec, "UTF-16"), "UTF-16", guessed=True)
    try:
        return Decoded(data.decode("utf-8"), "UTF-8", guessed=False)
    except UnicodeDecodeError:
        return Decoded(_decoded(data, "cp1252", "Windows-1252"), "Windows-1252", guessed=True)


def _decoded(data: bytes, codec: str, name: str) -> str:
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(
            f"The file is no text in {name} (line {line}).",
            hint="Save it as CSV in UTF-8 and upload that.",
        ) from None
    if "\x00" in text:
        raise UnreadableFile("The file is no text.", hint="Save it as CSV in UTF-8.")
    return text


def read(
    text: str, *, consent: str = "none", allow_app_passwords: bool = False
) -> Iterator[Row | Beyond]:
    """Each row, and in the end what was too much.

    Args:
        consent: of rows that say nothing of it.
    Raises:
        UnreadableFile: the header is wrong, or a quote is left open.
    """
    first_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    lines: dict[str, int] = {}
    taken = 0
    try:
        header = [column.strip().lower() for column in next(reader)]
        _check_header(header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num
            if taken == MAX_ROWS:
                more = sum(any(cell.strip() for cell in rest) for rest in reader)
                yield Beyond(line, 1 + more)
                return
            taken += 1
            yield _row(line, cells, header, lines, consent, allow_app_passwords)
    except csv.Error:
        raise UnreadableFile(
            f"Around line {reader.line_num} the file is no CSV any more.",
            hint="Look for a quotation mark that is opened and never closed.",
        ) from None
    if not taken:
        raise UnreadableFile("The file has a header and no rows.")


def _check_header(header: list[str]) -> None:
    missing = [column for column in NEEDED if column not in header]
    unknown = [
        str(place)
        for place, column in enumerate(header, 1)
        if column not in NEEDED and column not in OPTIONAL
    ]
    twice = sorted({column for column in (*NEEDED, *OPTIONAL) if header.count(column) > 1})
    wrong = [
        f"{what} {', '.join(which)}"
        for what, which in (
            ("missing:", missing),
            ("no column of ours, counted from the left:", unknown),
            ("there twice:", twice),
        )
        if which
    ]
    if wrong:
        raise UnreadableFile(
            f"The first line must name the columns ({'; '.join(wrong)}).",
            hint=f"Needed are {', '.join(NEEDED)}; there may be {', '.join(OPTIONAL)}.",
        )


def _row(
    line: int,
    cells: list[str],
    header: list[str],
    lines: dict[str, int],
    consent: str,
    allow_app_passwords: bool,
) -> Row:
    if len(cells) != len(header):
        text = (
            f"has {len(cells)} cells, the header {len(header)}; quote cells that hold a separator"
        )
        return Row(line, "", "", None, (Mistake("", text),))
    values = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
    password = Secret(_plain(cells[header.index("password")]))
    del values["password"]
    mistakes = [
        Mistake(column, "looks like a spreadsheet formula; put its result there")
        for column, cell in values.items()
        if cell[:1] in ("=", "@") or (column == "name" and cell[:1] in ("+", "-"))
    ]
    spec = None
    if not mistakes:
        spec, mistakes = _parsed(values, password, consent, allow_app_passwords)
    address = spec.address if spec else _address(values.get("address", ""))
    if address and address in lines:
        mistakes.append(Mistake("address", f"is on line {lines[address]} already"))
    elif address:
        lines[address] = line
    pool = values.get("pool", "")
    return Row(line, address, pool, None if mistakes else spec, tuple(mistakes))


def _parsed(
    values: Mapping[str, str], password: Secret, consent: str, allow_app_passwords: bool
) -> tuple[MailboxSpec | None, list[Mistake]]:
    told = dict(values)
    said = told.pop("consent", "").lower()
    said = "yes" if said in YES else "no" if said in {"false", "0"} else said
    told["consent"] = (_ANSWERS[said] or consent) if said in _ANSWERS else "?"
    suggestion = known(told.get("address", ""))
    if suggestion is not None and suggestion.sign_in is SignIn.NONE:
        return None, [Mistake("address", suggestion.note)]
    if suggestion is not None:
        told["imap"] = told.get("imap") or _endpoint(suggestion.imap)
        told["smtp"] = told.get("smtp") or _endpoint(suggestion.smtp)
    try:
        return parse_spec(told, password, allow_app_passwords=allow_app_passwords), []
    except InvalidMailbox as error:
        mistakes = [_mistake(mistake, told) for mistake in error.mistakes]
        return None, list(dict.fromkeys(mistakes))


def _endpoint(endpoint: Endpoint | None) -> str:
    return f"{endpoint.host}:{endpoint.port}" if endpoint else ""


_TEXTS = {
    "address": "is no e-mail address",
    "password": "is empty",
    "imap": "must be HOST:PORT, as in imap.example.com:993",
    "smtp": "must be HOST:PORT, as in smtp.example.com:465",
    "tls": "must be implicit or starttls, or empty",
    "timezone": "must be a zone such as Europe/Berlin",
    "consent": "must be yes, no or network, or empty",
    "username": "must be one line of at most 200 characters",
    "name": "must be one line of at most 200 characters",
}


def _mistake(mistake: InvalidValue, values: Mapping[str, str]) -> Mistake:
    if mistake.allowed.startswith(NO_PASSWORDS):
        owner = oauth_owner(values.get(mistake.field, "").rpartition(":")[0]) or "This provider"
        text = f"{owner} takes no passwords; connect this mailbox by itself, with {owner}'s sign-in"
        return Mistake("address", text)
    if mistake.field in ("imap", "smtp") and not values.get(mistake.field):
        return Mistake(mistake.field, "is needed: the address's provider is not a common one")
    return Mistake(mistake.field, _TEXTS.get(mistake.field, "is not allowed"))


def _address(text: str) -> str:
    """The address as it would be stored, "" for anything else (it may be a password)."""
    try:
        parse_spec({"address": text, "imap": "mail.example:993", "smtp": "mail.example:465"}, None)
    except InvalidMailbox:
        return ""
    return text.lower()


def _plain(text: str) -> str:
    """Without what UTF-16 may carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
