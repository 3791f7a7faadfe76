"""One look at a domain's DNS."""

from __future__ import annotations

from collections.abc import Callable

from mailhearth_core.dnsreport import dkim, hosts, policies
from mailhearth_core.dnsreport.lookup import Lookup, NoAnswerNow
from mailhearth_core.dnsreport.model import Asked, Part, Verdict
from mailhearth_core.mail.dns import Resolver

QUESTION_S = 3.0
LOOK_S = 40.0
"""For the whole look: a worker's slice is longer."""

PARTS: dict[str, Callable[[Asked, Lookup], Part]] = {
    "mx": hosts.mx,
    "spf": policies.spf,
    "dkim": dkim.dkim,
    "dmarc": policies.dmarc,
    "ptr": hosts.ptr,
    "blocklists": hosts.blocklists,
}


def look(asked: Asked, resolver: Resolver, *, deadline_s: float = LOOK_S) -> tuple[Part, ...]:
    """Every part; one that the DNS gave no answer to is `unknown`, and says so."""
    lookup = Lookup(resolver.questions(QUESTION_S), deadline_s)
    return tuple(_part(code, asked, lookup) for code in PARTS)


def _part(code: str, asked: Asked, lookup: Lookup) -> Part:
    try:
        return PARTS[code](asked, lookup)
    except NoAnswerNow as error:
        return Part(code, Verdict.UNKNOWN, error.message)
