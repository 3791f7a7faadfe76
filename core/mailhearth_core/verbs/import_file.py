"""An uploaded CSV of mailboxes: whatever encoding and separator, row by row, each mistake named.

Nothing that is told of a row repeats what stood in its cells: with columns exchanged any of them
may be a password. A file is decoded as it is read, so that a large one costs its bytes and little
more.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper

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
    check_address,
    parse_spec,
)

MAX_ROWS = 100_000
"""Rows of one file. One with more is refused whole."""
MAX_BYTES = 15 * 1024 * 1024
"""Of one file: 100,000 rows of 150 bytes."""
CHUNK_BYTES = 64 * 1024
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
    """A file that is text.

    Attributes:
        codec: Python's name of the encoding.
        encoding: its name for people.
        guessed: nothing in the file says so; names may have come out wrong.
    """

    data: bytes = field(repr=False)
    codec: str
    encoding: str
    guessed: bool

    def lines(self) -> TextIOWrapper:
        """The text from its beginning, line ends as they are."""
        return TextIOWrapper(BytesIO(self.data), self.codec, newline="")


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


def decode(data: bytes) -> Decoded:
    """A CSV in UTF-8 or UTF-16, or else, as a guess, in Windows-1252.

    Raises:
        UnreadableFile: it is empty, too large, a workbook, or no text at all.
    """
    if not data.strip():
        raise UnreadableFile("The file is empty.")
    if len(data) > MAX_BYTES:
        raise UnreadableFile(
            f"The file has {len(data):,} bytes; one import takes {MAX_BYTES:,} at most.",
            hint="Nothing of it was read. Split it into several files.",
        )
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile(
            "The file is a workbook, not a CSV.",
            hint='In the spreadsheet choose "Save as" and "CSV UTF-8", then upload that.',
        )
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            return _decoded(Decoded(data, codec, name, guessed=False))
    if b"\x00" in data[:4_000]:  # UTF-16 without its mark: every second byte of Latin text is zero
        codec = "utf-16-be" if data[:1] == b"\x00" else "utf-16-le"
        return _decoded(Decoded(data, codec, "UTF-16", guessed=True))
    file = Decoded(data, "utf-8", "UTF-8", guessed=False)
    try:
        for _ in _chunks(file):
            pass
    except UnicodeDecodeError:
        return _decoded(Decoded(data, "cp1252", "Windows-1252", guessed=True))
    return file


def _chunks(file: Decoded) -> Iterator[str]:
    with file.lines() as text:
        while chunk := text.read(CHUNK_BYTES):
            yield chunk


def _decoded(file: Decoded) -> Decoded:
    """The file, once all of it has been decoded to see whether that is possible."""
    line = 1
    try:
        for chunk in _chunks(file):
            if "\x00" in chunk:
                raise UnreadableFile("The file is no text.", hint="Save it as CSV in UTF-8.")
            line += chunk.count("\n")
    except UnicodeDecodeError as error:
        line += bytes(error.object).count(b"\n", 0, error.start)
        raise UnreadableFile(
            f"The file is no text in {file.encoding} (line {line}).",
            hint="Save it as CSV in UTF-8 and upload that.",
        ) from None
    return file


def read(
    file: Decoded, *, consent: str = "none", allow_app_passwords: bool = False
) -> Iterator[Row]:
    """Each row. The file as a whole is looked through before the first of them is given.

    Args:
        consent: of rows that say nothing of it.
    Raises:
        UnreadableFile: the header is wrong, a quote is left open, or there are too many rows.
    """
    header, delimiter = _looked_through(file)
    seen: dict[str, int] = {}
    with file.lines() as text:
        reader = csv.reader(text, delimiter=delimiter)
        next(reader)
        for cells in reader:
            if _is_row(cells):
                yield _row(reader.line_num, cells, header, seen, consent, allow_app_passwords)


def _looked_through(file: Decoded) -> tuple[list[str], str]:
    """The header and the delimiter of a file that can be read to its end."""
    with file.lines() as text:
        first_line = text.readline()
        delimiter = max(",;\t", key=first_line.count)
        text.seek(0)
        reader = csv.reader(text, delimiter=delimiter)
        try:
            header = [column.strip().lower() for column in next(reader)]
            _check_header(header)
            rows = sum(_is_row(cells) for cells in reader)
        except csv.Error:
            raise UnreadableFile(
                f"Around line {reader.line_num} the file is no CSV any more.",
                hint="Look for a quotation mark that is opened and never closed.",
            ) from None
    if not rows:
        raise UnreadableFile("The file has a header and no rows.")
    if rows > MAX_ROWS:
        raise UnreadableFile(
            f"The file has {rows:,} rows; one import takes {MAX_ROWS:,} at most.",
            hint="Nothing of it was kept. Split it into several files.",
        )
    return header, delimiter


def _is_row(cells: list[str]) -> bool:
    return any(cell and not cell.isspace() for cell in cells)


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
    seen: dict[str, int],
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
    if address and address in seen:
        mistakes.append(Mistake("address", f"is on line {seen[address]} already"))
    elif address:
        seen[address] = line
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
        return check_address(text)
    except InvalidValue:
        return ""


def _plain(text: str) -> str:
    """Without what UTF-16 may carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
