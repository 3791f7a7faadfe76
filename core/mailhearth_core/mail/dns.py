"""DNS as a port: the system's resolver, and a static zone for sandboxes and tests."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol, cast

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
from pydantic import BaseModel, ConfigDict, ValidationError

from mailhearth_core.errors import InvalidValue
from mailhearth_core.net import Address, NameLookupFailed, NameNotFound

_UNASKABLE = (
    dns.name.LabelTooLong,
    dns.name.NameTooLong,
    dns.name.EmptyLabel,
    dns.name.BadEscape,
    dns.name.IDNAException,
    UnicodeError,
)
"""What dnspython raises for text that cannot be a name at all."""


@dataclass(frozen=True, slots=True, order=True)
class MxHost:
    """One mail exchanger; lower `preference` first. An empty `host` is a null MX (RFC 7505)."""

    preference: int
    host: str
    port: int = 25


class Resolver(Protocol):
    """What the mail layer asks of the DNS."""

    def addresses(self, host: str) -> Sequence[Address]:
        """Addresses of `host`, best first. Raises `NameNotFound` or `NameLookupFailed`."""
        ...

    def mx(self, domain: str) -> Sequence[MxHost]:
        """Mail exchangers by preference; empty when the domain exists without MX records.

        Raises `NameNotFound` (no such domain) or `NameLookupFailed`.
        """
        ...

    def questions(self, lifetime_s: float) -> dns.resolver.Resolver:
        """The same DNS for questions of any kind, through dnspython's own interface.

        Args:
            lifetime_s: total seconds for one question.
        """
        ...


class SystemResolver:
    """Asks the name servers of this machine, through dnspython.

    Args:
        lifetime_s: total seconds for one question.
    """

    def __init__(self, *, lifetime_s: float = 5.0) -> None:
        self._lifetime_s = lifetime_s
        self._resolver: dns.resolver.Resolver | None = None

    def addresses(self, host: str) -> Sequence[Address]:
        found: list[Address] = []
        failure: NameLookupFailed | None = None
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                found += [ip_address(record.address) for record in self._ask(host, kind)]
            except NameLookupFailed as error:
                failure = error
        if not found:
            raise failure or NameNotFound(host)
        return found

    def mx(self, domain: str) -> Sequence[MxHost]:
        records = self._ask(domain, dns.rdatatype.MX)
        return sorted(
            MxHost(record.preference, record.exchange.to_text(omit_final_dot=True).strip("."))
            for record in records
        )

    def questions(self, lifetime_s: float) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver()
        resolver.lifetime = lifetime_s
        resolver.timeout = min(2.0, lifetime_s)
        return resolver

    def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any]:
        try:
            if self._resolver is None:
                self._resolver = dns.resolver.Resolver()
                self._resolver.cache = dns.resolver.LRUCache(10_000)
            # The trailing dot keeps the machine's search list out of it.
            question = name if name.endswith(".") else name + "."
            answer = self._resolver.resolve(question, kind, lifetime=self._lifetime_s)
        except dns.resolver.NXDOMAIN as error:
            raise NameNotFound(name) from error
        except dns.resolver.NoAnswer:
            return []
        except _UNASKABLE as error:
            raise NameNotFound(name) from error
        except dns.exception.DNSException as error:
            raise NameLookupFailed(name, type(error).__name__) from error
        return list(answer)


class _ZoneMx(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host: str
    preference: int = 10
    port: int = 25


class _ZoneName(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: list[str] = []
    aaaa: list[str] = []
    mx: list[_ZoneMx] = []
    txt: list[str] = []
    ptr: list[str] = []
    alias: str = ""


class ZoneResolver:
    """Answers from a fixed zone and knows no other name.

    The zone maps each name to `{"a": [...], "aaaa": [...], "mx": [{"host": ..., "preference": ...,
    "port": ...}], "txt": [...], "ptr": [...], "alias": ...}`, all optional but an exchanger's host;
    `port` is where that exchanger's SMTP listens (default 25). An `alias` has the addresses of a
    host that this machine finds by its own means, such as a Service of the cluster.
    """

    def __init__(self, zone: Mapping[str, Mapping[str, Any]]) -> None:
        self._names: dict[str, _ZoneName] = {}
        for name, records in zone.items():
            try:
                parsed = _ZoneName.model_validate(records)
                for text in (*parsed.a, *parsed.aaaa):
                    ip_address(text)
            except (ValidationError, ValueError) as error:
                allowed = (
                    "a, aaaa (lists of addresses), mx (host, preference, port), txt, ptr, alias"
                )
                raise InvalidValue(f"zone entry {name}", records, allowed) from error
            self._names[_key(name)] = parsed

    @classmethod
    def from_file(cls, path: Path) -> ZoneResolver:
        """Reads the zone from a JSON file."""
        try:
            zone = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise InvalidValue("zone file", str(path), "JSON") from error
        if not isinstance(zone, dict):
            raise InvalidValue("zone file", str(path), "a JSON object of names")
        return cls(zone)

    def addresses(self, host: str) -> Sequence[Address]:
        records = self._name(host)
        found: list[Address] = [ip_address(text) for text in (*records.a, *records.aaaa)]
        found += _found_here(records.alias)
        if not found:
            raise NameNotFound(host)
        return found

    def mx(self, domain: str) -> Sequence[MxHost]:
        records = self._name(domain)
        return sorted(MxHost(r.preference, r.host.strip("."), r.port) for r in records.mx)

    def questions(self, lifetime_s: float) -> dns.resolver.Resolver:
        return _ZoneQuestions(self)

    def texts(self, name: str, kind: str) -> list[str]:
        """The records of a kind ("A", "TXT", ...) in a zone file's words; none of unknown kinds.

        Raises `NameNotFound`.
        """
        records = self._name(name)
        if kind == "MX":
            return [f"{r.preference} {r.host.rstrip('.')}." for r in records.mx]
        if kind == "TXT":
            return [_quoted(text) for text in records.txt]
        if kind == "PTR":
            return [f"{host.rstrip('.')}." for host in records.ptr]
        if kind not in ("A", "AAAA"):
            return []
        version = 4 if kind == "A" else 6
        found = [
            str(address) for address in _found_here(records.alias) if address.version == version
        ]
        return [*(records.a if kind == "A" else records.aaaa), *found]

    def _name(self, name: str) -> _ZoneName:
        try:
            return self._names[_key(name)]
        except KeyError as error:
            raise NameNotFound(name) from error


class _ZoneQuestions(dns.resolver.Resolver):
    """A fixed zone behind dnspython's interface, for libraries that take its resolver."""

    def __init__(self, zone: ZoneResolver) -> None:
        super().__init__(configure=False)
        self._zone = zone

    def resolve(
        self,
        qname: dns.name.Name | str,
        rdtype: dns.rdatatype.RdataType | str = dns.rdatatype.A,
        *_: Any,
        **options: Any,
    ) -> dns.resolver.Answer:
        name = dns.name.from_text(qname) if isinstance(qname, str) else qname
        kind = dns.rdatatype.RdataType.make(rdtype)
        query = dns.message.make_query(name, kind)
        response = cast(dns.message.QueryMessage, dns.message.make_response(query))
        try:
            texts = self._zone.texts(name.to_text(omit_final_dot=True), kind.name)
        except NameNotFound:
            response.set_rcode(dns.rcode.NXDOMAIN)
            nowhere: Callable[..., Exception] = dns.resolver.NXDOMAIN
            raise nowhere(qnames=[name], responses={name: response}) from None
        if texts:
            held = response.find_rrset(response.answer, name, dns.rdataclass.IN, kind, create=True)
            for item in dns.rrset.from_text_list(name, 300, "IN", kind, texts):
                held.add(item, 300)
        elif options.get("raise_on_no_answer", True):
            nothing: Callable[..., Exception] = dns.resolver.NoAnswer
            raise nothing(response=response)
        return dns.resolver.Answer(name, kind, dns.rdataclass.IN, response)


def _found_here(host: str) -> list[Address]:
    """Addresses as any program of this machine finds them, its search list and hosts file included.

    None for no host. Raises `NameNotFound` or `NameLookupFailed`.
    """
    if not host:
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            raise NameNotFound(host) from error
        raise NameLookupFailed(host, error.strerror or "no answer") from error
    # A link-local address may carry its interface after a %.
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _quoted(text: str) -> str:
    """A TXT record in a zone file's words: strings of at most 255 bytes."""
    pieces = [text[at : at + 200] for at in range(0, len(text), 200)] or [""]
    escaped = (piece.replace("\\", r"\\").replace('"', r"\"") for piece in pieces)
    return " ".join(f'"{piece}"' for piece in escaped)


def _key(name: str) -> str:
    return name.rstrip(".").lower()
