"""What a look at a domain's DNS found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a part stands; `unknown` when the DNS did not answer, or there was nothing to ask."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"


TITLES = {
    "mx": "MX",
    "spf": "SPF",
    "dkim": "DKIM",
    "dmarc": "DMARC",
    "ptr": "PTR",
    "blocklists": "Block lists",
}
"""What the parts of a report are called, in their order."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record, found or to be published."""

    name: str
    kind: str
    value: str

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "kind": self.kind, "value": self.value}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a report.

    Attributes:
        code: mx, spf, dkim, dmarc, ptr or blocklists.
        summary: one sentence on how it stands.
        found: the records there are.
        problems: what is wrong, or might be better; each a sentence.
        publish: records that would mend it. Words in <angle brackets> are to be filled in.
    """

    code: str
    verdict: Verdict
    summary: str
    found: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()
    publish: tuple[Record, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "verdict": self.verdict.value,
            "summary": self.summary,
            "found": [record.to_json() for record in self.found],
            "problems": list(self.problems),
            "publish": [record.to_json() for record in self.publish],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Part:
        return cls(
            data["code"],
            Verdict(data["verdict"]),
            data["summary"],
            tuple(Record(**record) for record in data["found"]),
            tuple(data["problems"]),
            tuple(Record(**record) for record in data["publish"]),
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be looked at.

    Attributes:
        smtp_host: the server that the domain's mail is handed to; its addresses send it, as far as
            can be known from here.
        provider: gmail, outlook or other.
        selectors: of DKIM, named by a person, besides the common ones.
    """

    domain: str
    smtp_host: str
    provider: str
    selectors: tuple[str, ...] = ()


def to_json(parts: tuple[Part, ...]) -> dict[str, Any]:
    return {"parts": [part.to_json() for part in parts]}


def from_json(data: dict[str, Any]) -> tuple[Part, ...]:
    return tuple(Part.from_json(part) for part in data["parts"])


def worst(parts: tuple[Part, ...]) -> Verdict:
    """How a domain stands in one word."""
    for verdict in (Verdict.BAD, Verdict.WARNING, Verdict.UNKNOWN):
        if any(part.verdict is verdict for part in parts):
            return verdict
    return Verdict.GOOD
