"""What a run did: every message counted once, from rows to numbers. `summarise` is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.installation import DAY_SECONDS, read_installation

COUNTS = (
    "planned", "sent", "delivered", "inbox", "junk", "other", "missing", "unobservable", "rescued",
    "replied", "duplicates", "lost", "skipped", "uncertain",
)  # fmt: skip
"""The numbers of every section; `pending` and `seconds` stand beside them in the whole report."""
MORE_COUNTS = ("bounced", "failed", "unsent")
DEEDS = ("rescue", "read", "flag", "file", "expunge", "evidence", "expunge_sent")
SEEN = ("inbox", "tab", "junk", "other")


@dataclass(frozen=True)
class Message:
    """One message that was to be sent, with both its halves.

    Args:
        sender: address of the sending mailbox.
        domain, provider: of the recipient; empty while no peer was bound.
        placement: the first observation; None when there was none.
        copies: most copies ever seen of it in the recipient's mailbox at once.
    """

    kind: str
    state: str
    reason: str
    sender: str
    domain: str
    provider: str
    sent_at: datetime | None
    placement: str | None
    rescued: bool
    copies: int

    @property
    def is_sent(self) -> bool:
        """The server took it, or there is other evidence that it left."""
        return self.state == "sent" or (self.state == "bounced" and self.sent_at is not None)

    @property
    def first_observation(self) -> str:
        if self.placement == "tab":
            return "inbox"
        return self.placement or "unobservable"

    @property
    def is_lost(self) -> bool:
        return self.is_sent and self.placement not in SEEN and self.copies == 0


def count(messages: Iterable[Message]) -> dict[str, int]:
    """The numbers of a set of messages. inbox + junk + other + missing + unobservable == sent."""
    totals: Counter[str] = Counter()
    for message in messages:
        if message.state == "cancelled":
            continue
        totals["planned"] += 1
        totals["duplicates"] += max(message.copies - 1, 0)
        if message.is_sent:
            totals["sent"] += 1
            totals[message.first_observation] += 1
            totals["rescued"] += message.rescued
            totals["replied"] += message.kind == "reply"
            totals["lost"] += message.is_lost
        match message.state:
            case "skipped" | "bounced" | "failed" as state:
                totals[state] += 1
            case "uncertain" | "unconfirmed":
                totals["uncertain"] += 1
            case "planned" | "bound" | "sending":
                totals["unsent"] += 1
    totals["delivered"] = totals["sent"] - totals["lost"]
    return {name: totals[name] for name in (*COUNTS, *MORE_COUNTS)}


def summarise(
    messages: Iterable[Message], *, pending: int, seconds: float, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole report.

    Args:
        pending: deeds that are due later.
        seconds: machine seconds of the run.
        about: what is said of the installation and the run.
    """
    rows = [message for message in messages if message.state != "cancelled"]
    return {
        **count(rows),
        "pending": pending,
        "seconds": round(seconds, 1),
        "reasons": _reasons(rows),
        "per_mailbox": _sections(rows, "sender"),
        "per_domain": _sections(rows, "domain"),
        "per_provider": _sections(rows, "provider"),
        "run": dict(about),
    }


def is_clean(report: Mapping[str, Any]) -> bool:
    """Whether every mailbox was looked into, nothing was doubled and nothing was lost."""
    unscanned = report["run"].get("mailboxes_not_scanned", 0)
    return bool(report["duplicates"] == report["lost"] == unscanned == 0)


def _reasons(rows: Iterable[Message]) -> dict[str, dict[str, int]]:
    """Why messages ended otherwise than sent: by outcome, then by reason."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.state in ("skipped", "failed", "bounced", "uncertain", "unconfirmed"):
            found.setdefault(row.state, Counter())[row.reason or "no reason given"] += 1
    return {state: dict(counter.most_common()) for state, counter in sorted(found.items())}


def _sections(rows: Iterable[Message], by: str) -> dict[str, dict[str, int]]:
    groups: dict[str, list[Message]] = {}
    for row in rows:
        groups.setdefault(getattr(row, by) or "not chosen", []).append(row)
    return {name: count(group) for name, group in sorted(groups.items())}


# -- from the database ------------------------------------------------------------------------

_MESSAGES = """
SELECT m.kind, m.state, m.reason, coalesce(b.address, m.mailbox_id::text) AS sender,
  coalesce(m.peer_domain, '') AS domain, coalesce(m.placement_provider, '') AS provider, m.sent_at,
  coalesce(m.first_placement, m.placement) AS placement, m.rescued_at IS NOT NULL AS rescued,
  coalesce(m.copies, 0) AS copies
FROM admin.messages m LEFT JOIN admin.mailboxes b ON b.mailbox_id = m.mailbox_id
WHERE (m.due_at >= %(start)s OR m.sent_at >= %(start)s) AND m.due_at < %(end)s
"""
_PENDING = """
SELECT (SELECT count(*) FROM admin.actions WHERE state IN ('pending', 'leased') AND kind = ANY (%s))
  + (SELECT count(*) FROM admin.messages WHERE reply_state = 'wished') AS n
"""


def collect(
    conn: Connection, start: datetime, end: datetime, seconds: float, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The report of what was due in [start, end), business time."""
    rows = conn.execute(_MESSAGES, {"start": start, "end": end}).fetchall()
    pending = conn.execute(_PENDING, [list(DEEDS)]).fetchone()
    assert pending is not None
    found = read_installation(conn)
    clock = conn.execute("SELECT business_at, rate FROM business_clock").fetchone()
    facts: dict[str, Any] = {
        "installation": str(found.id),
        "environment": found.environment,
        "sandbox": found.sandbox,
        "started": start.isoformat(),
        "sending_ended": end.isoformat(),
    }
    if clock is not None:
        facts["counted"] = clock["business_at"].isoformat()
        facts["day_seconds"] = DAY_SECONDS / clock["rate"]
    return summarise(
        [Message(**row) for row in rows],
        pending=pending["n"],
        seconds=seconds,
        about=facts | dict(about),
    )
