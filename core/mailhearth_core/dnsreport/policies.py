"""The parts on SPF and DMARC, as checkdmarc reads them.

It takes long to load (it brings a HTTP client and the list of public suffixes), so only the one job
that reports on a domain does it, when it does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mailhearth_core.dnsreport.lookup import Lookup
from mailhearth_core.dnsreport.model import Asked, Part, Record, Verdict

if TYPE_CHECKING:
    import dns.resolver

MOST_LOOKUPS, MOST_VOID = 10, 2
"""RFC 7208 section 4.6.4: beyond them receivers answer permerror."""
P_NONE = "A p tag value of none"
"""A warning of checkdmarc's that ours says better: p=none is where everybody begins."""
INCLUDES = {"gmail": "include:_spf.google.com", "outlook": "include:spf.protection.outlook.com"}


def spf(asked: Asked, lookup: Lookup) -> Part:
    """Who may send for the domain, and what it costs to find out."""
    domain = asked.domain
    lookup.ask(domain, "TXT")  # the DNS must answer; a library's error would not tell the two apart
    found = _checked("spf", domain, lookup.resolver)
    record = found.get("record")
    records = (Record(domain, "TXT", record),) if record else ()
    problems = [str(text) for text in found.get("warnings") or ()]
    error = found.get("error")
    if not record:
        text = "There is no SPF record." if "does not" in str(error) else "SPF cannot be read."
        if error:
            problems.insert(0, str(error))
        return Part("spf", Verdict.BAD, text, records, tuple(problems), (_spf_record(asked),))
    lookups, void = found.get("dns_lookups"), found.get("void_dns_lookups")
    stopped = re.search(r"requires (\d+)/\d+ maximum (void )?DNS", str(error or ""))
    if stopped and stopped[2]:
        void = int(stopped[1])
    elif stopped:
        lookups = int(stopped[1])  # where the counting ended: there may be more
    least = "at least " if stopped else ""
    cost = f"{least}{lookups} of {MOST_LOOKUPS} lookups, {void or 0} of {MOST_VOID} void"
    verdict = Verdict.WARNING if problems else Verdict.GOOD
    if lookups is not None and lookups > MOST_LOOKUPS:
        error = (
            error or f"It takes {lookups} lookups; receivers stop at {MOST_LOOKUPS} and fail it."
        )
    elif void is not None and void > MOST_VOID:
        error = error or f"{void} of its lookups find nothing; receivers stop at {MOST_VOID}."
    ends = (found.get("parsed") or {}).get("all")
    if ends == "pass":
        error = error or "It ends in +all: anybody in the world may send for this domain."
    elif ends in ("neutral", None):
        verdict = Verdict.WARNING
        problems.append("It ends without ~all or -all, so it says nothing about other senders.")
    needed = INCLUDES.get(asked.provider)
    if needed and needed not in record and "redirect=" not in record:
        verdict = Verdict.WARNING
        problems.append(f"It does not name your mail provider: add {needed}.")
    if error:
        problems.insert(0, str(error))
        text = f"The record fails ({cost})." if lookups is not None else "The record fails."
        return Part("spf", Verdict.BAD, text, records, tuple(problems), (_spf_record(asked),))
    return Part("spf", verdict, f"The record holds ({cost}).", records, tuple(problems))


def dmarc(asked: Asked, lookup: Lookup) -> Part:
    """What receivers shall do with mail that fails, at the domain or its organisation's."""
    domain = asked.domain
    lookup.ask(f"_dmarc.{domain}", "TXT")
    found = _checked("dmarc", domain, lookup.resolver)
    record, location = found.get("record"), found.get("location")
    problems = [
        str(text) for text in found.get("warnings") or () if not str(text).startswith(P_NONE)
    ]
    publish = (
        Record(f"_dmarc.{domain}", "TXT", f"v=DMARC1; p=none; rua=mailto:<reports@{domain}>"),
    )
    if not record:
        if found.get("error"):
            problems.insert(0, str(found["error"]))
        text = "There is no DMARC record; large receivers ask for one."
        return Part("dmarc", Verdict.BAD, text, (), tuple(problems), publish)
    records = (Record(f"_dmarc.{location}", "TXT", record),)
    if not found.get("valid"):
        problems.insert(0, str(found.get("error")))
        return Part("dmarc", Verdict.BAD, "The record fails.", records, tuple(problems), publish)
    tags = found["tags"]
    policy = str(tags["p"]["value"])
    where = "" if location == domain else f", inherited from {location}"
    if location != domain and "sp" in tags:
        policy = str(tags["sp"]["value"])
    verdict = Verdict.WARNING if problems else Verdict.GOOD
    if policy == "none":
        problems.append(
            "The policy p=none only asks for reports. Once they show that your own mail passes, "
            "p=quarantine protects the name."
        )
    return Part("dmarc", verdict, f"The policy is {policy}{where}.", records, tuple(problems))


def _checked(kind: str, domain: str, resolver: dns.resolver.Resolver) -> dict[str, Any]:
    from checkdmarc import utils
    from checkdmarc.dmarc import check_dmarc
    from checkdmarc.spf import check_spf

    utils.DNS_CACHE.clear()  # it does not know which resolver an answer came from
    check: Any = check_spf if kind == "spf" else check_dmarc
    found: dict[str, Any] = check(domain, resolver=resolver, timeout=resolver.lifetime, retries=0)
    return found


def _spf_record(asked: Asked) -> Record:
    senders = INCLUDES.get(asked.provider, f"mx a:{asked.smtp_host}")
    return Record(asked.domain, "TXT", f"v=spf1 {senders} ~all")
