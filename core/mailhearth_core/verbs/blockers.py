"""Why a mailbox is not sending: what stands in its way, the most telling first, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.window import day_start, local_date, sending_window


@dataclass(frozen=True)
class Blocker:
    """One thing in the way.

    Attributes:
        code: stable, for programs.
        text: what it is; `hint`: what to do, or empty when time alone mends it.
    """

    code: str
    text: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "text": self.text, "hint": self.hint}


def blocked_domains(conn: Connection, workspace_id: UUID, now: datetime) -> dict[str, str]:
    """The domains of a workspace's mailboxes that are no peers now, with the reason."""
    rows = named("reports").blocked_domains(conn, workspace_id=workspace_id, now=now)
    return {row["domain"]: row["reason"] for row in rows}


def of_mailbox(row: Mapping[str, Any], domains: Mapping[str, str], policy: Policy) -> list[Blocker]:
    """What is wrong with a mailbox itself: needs somebody's doing, or a server's.

    Args:
        row: of `mailboxes.listing`.
        domains: of `blocked_domains`.
    """
    address = row["address"]
    found = []
    if row["consent"] == "none":
        found.append(
            Blocker(
                "no_consent",
                "nobody has agreed to warmup for this mailbox: no sign-in happens at all",
                f"mailhearth mailbox consent {address}",
            )
        )
    if row["state"] == "paused":
        text = f"paused ({row['state_reason']})" if row["state_reason"] else "paused"
        found.append(Blocker("paused", text, f"mailhearth mailbox resume {address}"))
    if row.get("phase") in ("quarantined", "blocked"):
        found.append(_resting(row))
    reconnect = f"mailhearth mailbox test {address} --password-stdin --save"
    if row["auth_failures"] >= policy.exclude_after_failures:
        text = (
            f"signing in failed {row['auth_failures']} times in a row: nobody writes to it either"
        )
        found.append(Blocker("excluded", _with(text, row["last_error"]), reconnect))
    elif row["state"] == "needs_reauth":
        text = f"the server refuses the sign-in ({row['auth_failures']} times in a row)"
        told = _with(text, row["last_error"]) if row["auth_failures"] else row["state_reason"]
        found.append(Blocker("needs_reauth", told or text, reconnect))
    elif row["last_error"]:
        found.append(Blocker("last_error", row["last_error"], f"mailhearth mailbox test {address}"))
    if row["connected_at"] is None and row["consent"] != "none":
        found.append(
            Blocker("not_connected", "the first sign-in has not happened yet", "wait for a worker")
        )
    if row["domain"] in domains:
        text = f"the domain {row['domain']} is blocked as a peer: {domains[row['domain']]}"
        found.append(Blocker("domain_blocked", text, "repair the domain's MX and mail server"))
    return found


def _resting(row: Mapping[str, Any]) -> Blocker:
    """What the placements of its mail have led to."""
    since, until = row["phase_since"], row["phase_until"]
    if row["phase"] == "quarantined":
        text = f"in quarantine since {since}, until {until}"
        return Blocker("quarantined", _with(text, row["phase_cause"]))
    text = f"blocked since {since}, at least until {until}, and until it is reviewed"
    hint = f"find out why, then: mailhearth mailbox resume {row['address']}"
    return Blocker("blocked", _with(text, row["phase_cause"]), hint)


def of_window(policy: Policy, timezone: str, now: datetime) -> Blocker | None:
    """The sending window, when it is closed at `now`."""
    today = local_date(now, timezone)
    opens, closes = sending_window(today, policy.window_start, policy.window_end, timezone)
    hours = f"{policy.window_start} to {policy.window_end} ({timezone})"
    if not policy.sends_on(today):
        days = ",".join(policy.weekdays)
        return Blocker("rest_day", f"today is no sending weekday (those are {days})")
    if now < opens:
        return Blocker("window_not_open", f"the sending window is not open yet: {hours}")
    if now >= closes:
        return Blocker("window_closed", f"the sending window is over for today: {hours}")
    return None


def first_day_pending(row: Mapping[str, Any], now: datetime) -> Blocker:
    """No day is sized: it happens soon after the local midnight, or the first sign-in."""
    starts = max(row["next_size_at"], day_start(local_date(now, row["timezone"]), row["timezone"]))
    return Blocker("not_sized", f"today is not sized yet (due since {starts:%Y-%m-%d %H:%M} UTC)")


def _with(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text
