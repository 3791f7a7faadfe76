"""The parts on servers: MX, reverse names, block lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from mailhearth_core.dnsreport.lookup import Lookup, is_public
from mailhearth_core.dnsreport.model import Asked, Part, Record, Verdict

MOST_ADDRESSES = 4
"""Of a host, that are looked at: the large providers have many, all alike."""


@dataclass(frozen=True)
class Blocklist:
    """A list asked over the DNS (RFC 5782).

    Attributes:
        of: what it lists, addresses or domains.
        url: where to look up a listing and ask to be taken off.
    """

    zone: str
    name: str
    of: str
    url: str


BLOCKLISTS = (
    Blocklist("zen.spamhaus.org", "Spamhaus ZEN", "address", "https://check.spamhaus.org/"),
    Blocklist("bl.spamcop.net", "SpamCop", "address", "https://www.spamcop.net/bl.shtml"),
    Blocklist("psbl.surriel.com", "PSBL", "address", "https://psbl.org/"),
    Blocklist("dbl.spamhaus.org", "Spamhaus DBL", "domain", "https://check.spamhaus.org/"),
)
REFUSED = "127.255.255."
"""Answers by which Spamhaus says that it does not serve who asks (public resolvers, volume)."""


def mx(asked: Asked, lookup: Lookup) -> Part:
    """Where mail to the domain goes: answers and bounces come back this way."""
    domain = asked.domain
    values = lookup.ask(domain, "MX")
    found = tuple(Record(domain, "MX", value) for value in values or ())
    publish = (Record(domain, "MX", "10 <the name of your mail server>"),)
    if values is None:
        text = f"The domain {domain} does not exist in the DNS."
        return Part("mx", Verdict.BAD, text, found, ("Register it, or look for a typing mistake.",))
    if not values:
        return Part(
            "mx", Verdict.BAD, "There is no MX record: nobody can answer.", found,
            ("Receivers distrust senders to whom nothing can be returned.",), publish,
        )  # fmt: skip
    hosts = [value.split()[-1].rstrip(".") for value in values]
    if hosts == [""]:
        return Part(
            "mx", Verdict.BAD, "The domain says that it takes no mail (null MX).", found,
            ("Replies and bounces cannot come back.",), publish,
        )  # fmt: skip
    problems = []
    for host in hosts:
        if _is_address(host):
            problems.append(f"{host} is an address; an MX record must name a host.")
        elif not lookup.addresses(host):
            problems.append(f"{host} has no address.")
    if len(problems) == len(hosts):
        return Part("mx", Verdict.BAD, "No mail server can be reached.", found, tuple(problems))
    verdict = Verdict.WARNING if problems else Verdict.GOOD
    count = f"{len(hosts)} mail server{'s' * (len(hosts) != 1)}"
    return Part("mx", verdict, f"Mail comes in by {count}.", found, tuple(problems))


def ptr(asked: Asked, lookup: Lookup) -> Part:
    """Reverse names of the sending host: they must lead back to the address."""
    host = asked.smtp_host
    addresses = _addresses(host, lookup)
    public = [address for address in addresses if is_public(address)]
    if not public:
        text = f"{host} has no public address, so there is no reverse name to look at."
        return Part("ptr", Verdict.UNKNOWN, text)
    found, problems, publish = [], [], []
    for address in public[:MOST_ADDRESSES]:
        names = lookup.names_of(address)
        found += [Record(address, "PTR", name) for name in names]
        if not names:
            problems.append(f"{address} has no reverse name; many receivers refuse such a sender.")
            publish.append(Record(address, "PTR", host))
        elif not any(address in lookup.addresses(name) for name in names):
            problems.append(f"{address} is named {names[0]}, which does not lead back to it.")
            publish.append(Record(address, "PTR", host))
    if problems:
        hint = "Whoever gave you the address publishes its reverse name: your hosting provider."
        return Part(
            "ptr", Verdict.BAD, f"{host} is not named properly in reverse.",
            tuple(found), (*problems, hint), tuple(publish),
        )  # fmt: skip
    return Part(
        "ptr", Verdict.GOOD, f"{host} is named, and its name leads back to it.", tuple(found)
    )


def blocklists(asked: Asked, lookup: Lookup) -> Part:
    """Whether the domain or its sending host is on a list that many receivers ask."""
    subjects: list[tuple[str, str]] = [("domain", asked.domain)]
    for address in _addresses(asked.smtp_host, lookup)[:MOST_ADDRESSES]:
        if is_public(address) and isinstance(ip_address(address), IPv4Address):
            subjects.append(("address", address))
    found, problems, silent, asked_for = [], [], [], 0
    for kind, subject in subjects:
        for blocklist in BLOCKLISTS:
            if blocklist.of != kind:
                continue
            name = f"{_reversed(subject) if kind == 'address' else subject}.{blocklist.zone}"
            answers = [a for a in lookup.ask(name, "A") or () if a.startswith("127.")]
            if any(answer.startswith(REFUSED) for answer in answers):
                silent.append(blocklist.name)
                continue
            asked_for += 1
            if answers:
                found.append(Record(name, "A", ", ".join(answers)))
                problems.append(f"{subject} is on {blocklist.name}: look it up at {blocklist.url}")
    if silent:
        names = ", ".join(sorted(set(silent)))
        problems.append(
            f"{names} does not answer this installation's resolver: use one of its own."
        )
    if found:
        text = f"Listed {len(found)} time{'s' * (len(found) != 1)}."
        return Part("blocklists", Verdict.BAD, text, tuple(found), tuple(problems))
    if not asked_for:
        return Part("blocklists", Verdict.UNKNOWN, "No list answered.", (), tuple(problems))
    what = ", ".join(subject for _, subject in subjects)
    text = f"Not listed ({what}; {asked_for} question{'s' * (asked_for != 1)})."
    return Part("blocklists", Verdict.GOOD, text, (), tuple(problems))


def _addresses(host: str, lookup: Lookup) -> Sequence[str]:
    return [host] if _is_address(host) else lookup.addresses(host)


def _reversed(address: str) -> str:
    return ".".join(reversed(address.split(".")))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
