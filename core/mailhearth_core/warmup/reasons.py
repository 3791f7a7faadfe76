"""Why a number is what it is: stored beside it, shown by `why`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """One step of a decision.

    Attributes:
        code: stable, for machines and translations.
        text: a sentence for a person.
        value: the number that this step led to (mails a day), or None.
    """

    code: str
    text: str
    value: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "text": self.text, "value": self.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reason:
        return cls(data["code"], data["text"], data["value"])
