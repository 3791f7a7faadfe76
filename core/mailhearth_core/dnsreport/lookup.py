"""Questions to the DNS, with what each answer means."""

from __future__ import annotations

import time
from ipaddress import ip_address

import dns.exception
import dns.name
import dns.resolver
import dns.reversename

from mailhearth_core.errors import MailhearthError


class NoAnswerNow(MailhearthError):
    """The DNS did not answer: no evidence of anything."""

    code = "dns_unavailable"
    permanent = False


class Lookup:
    """Answers as text.

    Args:
        resolver: where to ask.
        deadline_s: after so many seconds nothing more is asked.
    """

    def __init__(self, resolver: dns.resolver.Resolver, deadline_s: float) -> None:
        self.resolver = resolver
        self._ends = time.monotonic() + deadline_s

    def ask(self, name: str, kind: str) -> list[str] | None:
        """The records' values; empty where there is none of the kind, None for no such name.

        Raises:
            NoAnswerNow: the servers did not answer, or the time is over.
        """
        if time.monotonic() > self._ends:
            raise NoAnswerNow(f"There was no time left to ask for {name}.")
        try:
            answer = self.resolver.resolve(name.rstrip(".") + ".", kind)
        except dns.resolver.NXDOMAIN:
            return None
        except dns.resolver.NoAnswer:
            return []
        except (dns.exception.DNSException, UnicodeError, OSError) as error:
            text = f"{name} cannot be looked up now ({type(error).__name__})."
            raise NoAnswerNow(text) from error
        if kind == "TXT":
            return [b"".join(item.strings).decode("utf-8", "replace") for item in answer]
        return [item.to_text().rstrip(".") for item in answer]

    def addresses(self, host: str) -> list[str]:
        """IPv4 first."""
        return [text for kind in ("A", "AAAA") for text in self.ask(host, kind) or ()]

    def names_of(self, address: str) -> list[str]:
        """Reverse names."""
        return self.ask(dns.reversename.from_address(address).to_text(), "PTR") or []


def is_public(address: str) -> bool:
    return ip_address(address).is_global
