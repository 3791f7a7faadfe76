"""What somebody says about a mailbox, checked whole before anything is written."""

from __future__ import annotations

import csv
import hashlib
import ssl
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from email_validator import EmailNotValidError, validate_email

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.oauth.model import OAuthGrant
from mailhearth_core.providers import oauth_owner
from mailhearth_core.secrets import Secret

TLS_MODES = ("implicit", "starttls", "none")
NO_PASSWORDS = (
    "servers that take passwords (or MAILHEARTH_ALLOW_APP_PASSWORDS=true, for this command and for "
    "`up`); OAuth is needed for "
)
IMPLICIT_PORTS = {993, 465}
CSV_COLUMNS = ("address", "imap", "smtp", "username", "password")
CSV_OPTIONAL = ("tls", "ca", "name", "timezone", "consent", "workspace", "pool")
YES = {"yes", "true", "1"}
"""How a CSV may say `workspace` in the column consent."""


class InvalidMailbox(MailhearthError):
    """One or more values of a mailbox are not allowed; `mistakes` holds them all."""

    code = "invalid_mailbox"

    def __init__(self, mistakes: list[InvalidValue]) -> None:
        super().__init__(" ".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Server:
    """One mail server as the user named it."""

    host: str
    port: int
    tls: str


@dataclass(frozen=True)
class MailboxSpec:
    """A mailbox to connect. `ca_pem` is used for both servers; None means the system's CAs."""

    address: str
    imap: Server
    smtp: Server
    username: str
    password: Secret
    ca_pem: str | None
    display_name: str
    timezone: str
    consent: str
    grant: OAuthGrant | None = None
    """In place of a password: see `verbs.oauth`."""

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def ca_sha256(self) -> bytes | None:
        return ca_digest(self.ca_pem)


def ca_digest(ca_pem: str | None) -> bytes | None:
    """SHA-256 of the CA bundle's text, as a credential's destination binds it."""
    return hashlib.sha256(ca_pem.encode()).digest() if ca_pem else None


def parse_spec(
    values: Mapping[str, str | None],
    password: Secret | None,
    *,
    allow_app_passwords: bool = False,
) -> MailboxSpec:
    """Checks all values; every mistake is told at once.

    Args:
        values: address, imap and smtp (HOST:PORT), tls (of both servers) or imap_tls and smtp_tls,
            ca (a file) or ca_pem (its text), username, name, timezone, consent (none, workspace or
            network).
        password: None where one is kept already; the mailbox's is empty then.
        allow_app_passwords: take a password for Google's and Microsoft's servers.
    Raises:
        InvalidMailbox: with one `InvalidValue` for each mistake.
    """
    mistakes: list[InvalidValue] = []

    def check(parse: object, *arguments: object) -> object:
        try:
            return parse(*arguments)  # type: ignore[operator]
        except InvalidValue as mistake:
            if str(mistake) not in map(str, mistakes):  # one `tls` is of both servers
                mistakes.append(mistake)
            return None

    tls = values.get("tls") or None
    address = check(check_address, values.get("address") or "")
    imap = check(_server, "imap", values.get("imap") or "", tls or values.get("imap_tls"))
    smtp = check(_server, "smtp", values.get("smtp") or "", tls or values.get("smtp_tls"))
    ca_pem = check(_ca, values["ca"]) if values.get("ca") else values.get("ca_pem") or None
    timezone = check(check_timezone, values.get("timezone") or "UTC")
    consent = check(_consent, values.get("consent") or "none")
    name = check(check_name, values.get("name") or "")
    username = check(_one_line, "username", values.get("username") or values.get("address") or "")
    for field, server in (("imap", imap), ("smtp", smtp)):
        owner = oauth_owner(server.host) if isinstance(server, Server) else None
        if owner and not allow_app_passwords:
            mistakes.append(InvalidValue(field, values.get(field), f"{NO_PASSWORDS}{owner}'s"))
    if password is not None and not password:
        mistakes.append(InvalidValue("password", "", "a password that is not empty"))
    if mistakes:
        raise InvalidMailbox(mistakes)
    assert isinstance(address, str)
    assert isinstance(imap, Server)
    assert isinstance(smtp, Server)
    assert ca_pem is None or isinstance(ca_pem, str)
    return MailboxSpec(
        address=address,
        imap=imap,
        smtp=smtp,
        username=str(username),
        password=password or Secret(""),
        ca_pem=ca_pem,
        display_name=str(name),
        timezone=str(timezone),
        consent=str(consent),
    )


@dataclass(frozen=True)
class CsvRow:
    """One row of an import: a mailbox, or what is wrong with it.

    Attributes:
        number: the line of the file it ends on; the header is line 1.
        address: as it is written there, to name the row by.
        workspace, pool: of the columns of that name; empty when absent.
    """

    number: int
    address: str
    workspace: str
    pool: str
    spec: MailboxSpec | None
    error: MailhearthError | None


def read_rows(
    lines: Iterable[str], *, consent: str = "none", allow_app_passwords: bool = False
) -> Iterator[CsvRow]:
    """Each row of a CSV, checked whole.

    Args:
        consent: for rows that say nothing of it.
    Raises:
        InvalidValue: the header lacks a needed column or has an unknown one, or the file is no CSV.
    """
    reader = csv.DictReader(lines)
    try:
        header = [column.strip().lower() for column in reader.fieldnames or []]
        check_header(header)
        reader.fieldnames = header
        for row in reader:
            yield _csv_row(reader.line_num, row, len(header), consent, allow_app_passwords)
    except csv.Error as error:
        raise InvalidValue(
            "CSV", f"line {reader.line_num}", f"comma-separated text ({error})"
        ) from None


def read_csv(lines: Iterable[str]) -> Iterator[tuple[int, MailboxSpec | MailhearthError]]:
    """Each row of a CSV with its line number: a mailbox, or what is wrong with the row.

    Raises:
        InvalidValue: as `read_rows`.
    """
    for row in read_rows(lines):
        found = row.spec or row.error
        assert found is not None
        yield row.number, found


def check_header(header: list[str]) -> None:
    """The columns of an import.

    Raises:
        InvalidValue: naming what is missing, unknown or there twice.
    """
    known = (*CSV_COLUMNS, *CSV_OPTIONAL)
    missing = [column for column in CSV_COLUMNS if column not in header]
    unknown = [column for column in header if column not in known]
    twice = sorted({column for column in header if header.count(column) > 1})
    wrong = [
        f"{what} {', '.join(columns)}"
        for what, columns in (("missing:", missing), ("unknown:", unknown), ("twice:", twice))
        if columns
    ]
    if wrong:
        raise InvalidValue(
            "CSV header",
            ",".join(header),
            f"{','.join(CSV_COLUMNS)} and, if wanted, {','.join(CSV_OPTIONAL)} "
            f"({'; '.join(wrong)})",
        )


def _csv_row(
    number: int, row: dict[Any, Any], columns: int, consent: str, allow_app_passwords: bool
) -> CsvRow:
    address, workspace, pool = (
        (row.get(column) or "").strip() for column in ("address", "workspace", "pool")
    )
    if None in row or any(value is None for value in row.values()):
        values = sum(value is not None for key, value in row.items() if key is not None)
        error: MailhearthError = MailhearthError(
            f"The row has {values + len(row.get(None) or ())} values, the header {columns}.",
            hint="Quote values that hold a comma.",
            code="csv_row",
        )
        return CsvRow(number, address, workspace, pool, None, error)
    try:
        password = Secret(row.pop("password"))
    except ValueError:
        wrong = InvalidMailbox([InvalidValue("password", "", "text that UTF-8 can encode")])
        return CsvRow(number, address, workspace, pool, None, wrong)
    said = (row.get("consent") or "").strip().lower()
    row["consent"] = (
        "workspace" if said in YES else "none" if said in {"no", "false", "0"} else said
    )
    row["consent"] = row["consent"] or consent
    try:
        spec = parse_spec(row, password, allow_app_passwords=allow_app_passwords)
        return CsvRow(number, address, workspace, pool, spec, None)
    except InvalidMailbox as mistakes:
        return CsvRow(number, address, workspace, pool, None, mistakes)


def check_address(text: str) -> str:
    """An address in lower case; raises InvalidValue."""
    try:
        found = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidValue("address", text, f"one e-mail address ({error})") from None
    return found.normalized.lower()


def _server(field: str, text: str, tls: str | None) -> Server:
    host, colon, port_text = text.strip().rpartition(":")
    host = host.strip("[]").lower()
    if not colon or not host or not port_text.isdigit() or not 0 < int(port_text) < 65536:
        raise InvalidValue(field, text, "HOST:PORT, as in imap.example.com:993")
    if any(not (c.isalnum() or c in ".-:_") for c in host):
        raise InvalidValue(field, text, "a host name or an IP address before the port")
    port = int(port_text)
    mode = tls or ("implicit" if port in IMPLICIT_PORTS else "starttls")
    if mode not in TLS_MODES:
        raise InvalidValue("tls", mode, ", ".join(TLS_MODES))
    return Server(host, port, mode)


def _ca(path: str) -> str:
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue("ca", path, f"a readable PEM file ({error})") from None
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidValue("ca", path, f"a PEM file of CA certificates ({error})") from None
    return text


@cache
def timezones() -> frozenset[str]:
    """The IANA zones there are; looking for them walks a folder, so it is done once."""
    return frozenset(zoneinfo.available_timezones())


def check_timezone(name: str) -> str:
    """An IANA zone's name; raises InvalidValue."""
    if name not in timezones():
        raise InvalidValue("timezone", name, "an IANA zone name such as Europe/Berlin")
    return name


def check_name(text: str) -> str:
    """A person's name as mails show it; raises InvalidValue."""
    return _one_line("name", text.strip())


def _consent(scope: str) -> str:
    if scope not in {"none", "workspace", "network"}:
        raise InvalidValue("consent", scope, "none, workspace, network")
    return scope


def _one_line(field: str, text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in text) or len(text) > 200:
        raise InvalidValue(field, text, "one line of at most 200 characters")
    return text
