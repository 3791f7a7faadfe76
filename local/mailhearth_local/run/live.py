"""The live view of `up --demo` at a terminal: what each mailbox does, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.warmup.health import inbox_rate
from mailhearth_local.run.days import Progress

DRAW_SECONDS = 0.5
EVENTS = 6

_MAILBOXES = """
WITH today AS (
  SELECT DISTINCT ON (mailbox_id) mailbox_id, day, volume, reasons FROM admin.day_sizes
  ORDER BY mailbox_id, day DESC),
mail AS (
  SELECT m.mailbox_id,
    count(*) FILTER (WHERE m.state = 'sent' AND m.day = t.day) AS sent_today,
    count(*) FILTER (WHERE m.placement IN ('inbox', 'tab')) AS inbox,
    count(*) FILTER (WHERE m.placement IS NOT NULL AND m.placement <> 'unobservable') AS seen,
    count(*) FILTER (WHERE m.rescued_at IS NOT NULL) AS rescued,
    count(*) FILTER (WHERE m.state = 'sent' AND m.kind = 'reply') AS replied,
    count(*) FILTER (WHERE m.state = 'skipped' AND m.day = t.day) AS skipped_today,
    max(m.reason) FILTER (WHERE m.state IN ('skipped', 'cancelled') AND m.day = t.day)
      AS skip_reason
  FROM admin.messages m LEFT JOIN today t ON t.mailbox_id = m.mailbox_id GROUP BY m.mailbox_id),
next AS (
  SELECT mailbox_id, min(due_at) AS due_at FROM admin.actions
  WHERE kind = 'send' AND state IN ('waiting', 'pending', 'leased', 'sending') GROUP BY mailbox_id)
SELECT b.address, b.state, b.state_reason, b.consent, b.last_error, b.connected_at,
  t.day, t.volume, t.reasons,
  coalesce(mail.sent_today, 0) AS sent_today,
  coalesce(mail.inbox, 0) AS inbox, coalesce(mail.seen, 0) AS seen,
  coalesce(mail.rescued, 0) AS rescued, coalesce(mail.replied, 0) AS replied,
  coalesce(mail.skipped_today, 0) AS skipped_today, coalesce(mail.skip_reason, '') AS skip_reason,
  next.due_at AS next_send_at
FROM admin.mailboxes b
LEFT JOIN today t ON t.mailbox_id = b.mailbox_id
LEFT JOIN mail ON mail.mailbox_id = b.mailbox_id
LEFT JOIN next ON next.mailbox_id = b.mailbox_id
ORDER BY b.domain, b.address
"""
_EVENTS = """
SELECT e.at, e.what, s.address AS sender, r.address AS recipient
FROM (
  SELECT sent_at AS at, CASE kind WHEN 'reply' THEN 'replied to' ELSE 'wrote to' END AS what,
    mailbox_id, recipient_id
  FROM admin.messages WHERE sent_at IS NOT NULL
  UNION ALL
  SELECT observed_at, 'reached the ' || first_placement || ' of', mailbox_id, recipient_id
  FROM admin.messages WHERE observed_at IS NOT NULL
  UNION ALL
  SELECT rescued_at, 'was rescued from junk by', mailbox_id, recipient_id
  FROM admin.messages WHERE rescued_at IS NOT NULL) e
JOIN admin.mailboxes s ON s.mailbox_id = e.mailbox_id
JOIN admin.mailboxes r ON r.mailbox_id = e.recipient_id
ORDER BY e.at DESC LIMIT %s
"""


@dataclass(frozen=True)
class Picture:
    """All that one drawing shows."""

    now: datetime
    mailboxes: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    progress: Progress | None = None


def look(conn: Connection, progress: Progress | None) -> Picture:
    return Picture(
        business_now(conn),
        conn.execute(_MAILBOXES).fetchall(),
        conn.execute(_EVENTS, (EVENTS,)).fetchall(),
        progress,
    )


class LiveView:
    """A `Watcher` that draws."""

    def __init__(self, database: Callable[[], Database], console: Console | None = None) -> None:
        self._database = database
        self._console = console or Console()
        self._live: Live | None = None
        self._drawn = 0.0
        self._progress: Progress | None = None

    def begin(self) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        """Of a run of days, shown in the heading."""
        self._progress = progress

    def step(self) -> int | None:
        if time.monotonic() - self._drawn < DRAW_SECONDS:
            return None
        with self._database().tx() as conn:
            picture = look(conn, self._progress)
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(draw(picture), refresh=True)
        self._drawn = time.monotonic()
        return None

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def draw(picture: Picture) -> RenderableType:
    """Pure: the heading, a line for each mailbox, the last events."""
    return Group(_heading(picture), _table(picture), *_events(picture))


def why_not_sending(row: Mapping[str, Any], now: datetime) -> str:
    """What a mailbox waits for, in a few words; empty only when it is sending just now."""
    if row["consent"] == "none":
        return "off: no consent"
    if row["state"] != "active":
        return f"{row['state'].replace('_', ' ')}: {row['state_reason'] or row['last_error']}"
    if row["connected_at"] is None:
        return f"not connected yet: {row['last_error']}" if row["last_error"] else "signs in first"
    if row["volume"] is None:
        return "waits for its first day to be sized"
    if row["next_send_at"] is not None:
        local = f"next mail {row['next_send_at']:%a %H:%M}"
        return local if row["next_send_at"] > now else "sending"
    if row["volume"] == 0:
        reasons = row["reasons"] or [{"text": "no volume today"}]
        return str(reasons[-1]["text"])
    if row["skipped_today"]:
        return f"{row['skipped_today']} skipped: {row['skip_reason']}"
    if row["sent_today"] >= row["volume"]:
        return "done for today"
    return str(row["skip_reason"] or "nothing is planned for the rest of the day")


def _heading(picture: Picture) -> Text:
    text = Text.assemble(("Mailhearth  ", "bold"), (f"{picture.now:%A %d %b %H:%M} UTC", "cyan"))
    run = picture.progress
    if run is not None:
        text.append(f"\n{run.line()}", style="dim")
    return text


def _table(picture: Picture) -> Table:
    table = Table(expand=True, pad_edge=False, box=None, header_style="bold", padding=(0, 1))
    table.add_column("mailbox", no_wrap=True, overflow="ellipsis", ratio=3)
    for name in ("today", "inbox", "95 % range", "rescued", "replies"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("now", no_wrap=True, overflow="ellipsis", ratio=4)
    for row in picture.mailboxes:
        today = "-" if row["volume"] is None else f"{row['sent_today']}/{row['volume']}"
        table.add_row(
            escape(row["address"]),
            today,
            *_rate(row["inbox"], row["seen"]),
            str(row["rescued"]),
            str(row["replied"]),
            escape(why_not_sending(row, picture.now)),
        )
    totals = {
        name: sum(row[name] or 0 for row in picture.mailboxes)
        for name in ("sent_today", "volume", "inbox", "seen", "rescued", "replied")
    }
    table.add_row(
        "all",
        f"{totals['sent_today']}/{totals['volume']}",
        *_rate(totals["inbox"], totals["seen"]),
        str(totals["rescued"]),
        str(totals["replied"]),
        "",
        style="bold",
    )
    return table


def _rate(inbox: int, seen: int) -> tuple[str, str]:
    """The rate with its sample size, and the bounds within which it surely is."""
    rate = inbox_rate(inbox, seen)
    if rate is None:
        return "- of 0", ""
    return f"{100 * rate.point:.0f} % of {rate.n}", f"{100 * rate.low:.0f}-{100 * rate.high:.0f}"


def _events(picture: Picture) -> list[Text]:
    lines = [
        Text(
            f"{event['at']:%a %H:%M}  {_event_text(event)}",
            style="dim",
            no_wrap=True,
            overflow="ellipsis",
        )
        for event in picture.events
    ]
    lines += [Text("")] * (EVENTS - len(lines))  # so that the picture keeps its height
    return [Text(""), *lines]


def _event_text(event: Mapping[str, Any]) -> str:
    sender, recipient = event["sender"], event["recipient"]
    if event["what"].startswith(("wrote", "replied")):
        return f"{sender} {event['what']} {recipient}"
    return f"mail from {sender} {event['what']} {recipient}"
