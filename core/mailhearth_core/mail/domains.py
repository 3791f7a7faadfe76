"""Can a domain receive mail at all? Asked of every domain before mail is sent to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.dns import MxHost, Resolver
from mailhearth_core.mail.wire import Wire
from mailhearth_core.net import Deadline, Dialer, NameLookupFailed, NameNotFound

MAX_HOSTS = 3
"""Exchangers tried before a domain counts as unreachable."""

_REPLY_LINE_BYTES = 4096
_MAX_BYTES = 65536


@dataclass(frozen=True, slots=True)
class DomainReachability:
    """What was found.

    `mx_ok` and `smtp_ok` are None when the question could not be answered now (the DNS is down):
    that is no evidence against the domain. `detail` says it in plain words.
    """

    mx_ok: bool | None
    smtp_ok: bool | None
    detail: str


def check_domain(
    domain: str, resolver: Resolver, dialer: Dialer, *, deadline_s: float = 10.0
) -> DomainReachability:
    """Looks up where mail for `domain` goes and reads that server's greeting.

    MX records, else the domain's own address (RFC 5321 section 5.1); a null MX (RFC 7505) says
    "no mail here". SMTP is good when one of the first `MAX_HOSTS` exchangers greets with 220
    within `deadline_s` seconds each.
    """
    try:
        hosts = _exchangers(domain, resolver)
    except NameLookupFailed as error:
        return DomainReachability(None, None, error.message)
    except NameNotFound:
        return DomainReachability(False, False, f"{domain} has neither MX nor address records.")
    if any(not host.host for host in hosts):
        return DomainReachability(False, False, f"{domain} declares that it takes no mail.")
    troubles = []
    for host in hosts[:MAX_HOSTS]:
        trouble = _greeting_trouble(host, dialer, deadline_s)
        if trouble is None:
            return DomainReachability(True, True, f"{host.host} greets on port {host.port}.")
        troubles.append(f"{host.host}: {trouble}")
    return DomainReachability(True, False, " ".join(troubles))


def _exchangers(domain: str, resolver: Resolver) -> Sequence[MxHost]:
    hosts = resolver.mx(domain)
    if hosts:
        return hosts
    resolver.addresses(domain)
    return [MxHost(0, domain)]


def _greeting_trouble(host: MxHost, dialer: Dialer, deadline_s: float) -> str | None:
    deadline = Deadline(deadline_s)
    try:
        wire = Wire(dialer, dialer.connect(host.host, host.port, deadline), None)
    except MailhearthError as error:
        return error.message
    try:
        wire.step(deadline, _MAX_BYTES)
        line = wire.read_line(_REPLY_LINE_BYTES)
        while line[3:4] == b"-":
            line = wire.read_line(_REPLY_LINE_BYTES)
        if line[:3] != b"220":
            return f"greeted with {line[:3].decode('ascii', 'replace')} instead of 220."
        wire.send(b"QUIT\r\n")
    except MailhearthError as error:
        return error.message
    finally:
        wire.close()
    return None
