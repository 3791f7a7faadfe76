"""A simulation as one HTML file that needs no network: charts, and the same numbers as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

DAY_COLUMNS = (
    ("day", "day"), ("weekday", ""), ("target", "target"), ("planned", "planned"), ("sent", "sent"),
    ("inbox", "inbox"), ("junk", "junk"), ("missing", "missing"), ("bounced", "bounced"),
    ("replies", "replies"), ("skipped", "skipped"), ("sending", "sending"), ("resting", "resting"),
    ("blocked", "blocked"),
)  # fmt: skip
MAILBOX_COLUMNS = (
    ("address", "mailbox"), ("provider", "provider"), ("sent", "sent"), ("inbox", "inbox"),
    ("junk", "junk"), ("missing", "missing"), ("bounced", "bounced"),
    ("resting_days", "days resting"), ("full_on", "full on day"),
)  # fmt: skip
_TEXT_COLUMNS = {"weekday", "address", "provider"}


def page(result: Mapping[str, Any]) -> str:
    """The page for the JSON form of a result."""
    scenario, totals = result["scenario"], result["totals"]
    return Template(_file("template.html")).substitute(
        css=_vendored("uPlot.min.css"),
        script=_vendored("uPlot.iife.min.js").replace("</script", r"<\/script"),
        charts=_file("charts.js"),
        # `<` cannot end the element that the data stand in.
        data=json.dumps(result["days"]).replace("<", r"\u003c"),
        summary=escape(_summary(scenario)),
        facts="".join(
            f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in _facts(totals)
        ),
        days=_table(DAY_COLUMNS, result["days"]),
        mailboxes=_table(MAILBOX_COLUMNS, result["mailboxes"]),
        parameters=escape(json.dumps(scenario, indent=2)),
    )


def _summary(scenario: Mapping[str, Any]) -> str:
    faults = ", ".join(scenario["faults"]) or "none"
    return (
        f"{scenario['mailboxes']} mailboxes, {scenario['days']} days, seed {scenario['seed']}; "
        f"receivers: {scenario['receivers']['name']}; faults: {faults}; rule: {scenario['rule']}. "
        "Simulated: no mail was sent."
    )


def _facts(totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    rate = "-"
    if totals["inbox_rate"] is not None:
        point, low, high = (
            f"{100 * totals[name]:.1f}"
            for name in ("inbox_rate", "inbox_rate_low", "inbox_rate_high")
        )
        rate = f"{point} % ({low} to {high})"
    full = totals["days_to_full"]
    return [
        ("mail per mailbox and day", f"{totals['mail_per_mailbox_day']:.2f}"),
        ("inbox rate", rate),
        ("into the inbox, per mailbox and day", f"{totals['inboxed_per_mailbox_day']:.2f}"),
        ("mailbox-days in quarantine", str(totals["quarantine_mailbox_days"])),
        ("full volume with 90 % inbox", f"day {full}" if full else "not reached"),
    ]


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for _, title in columns)
    body = "".join(
        "<tr>" + "".join(_cell(name, row[name]) for name, _ in columns) + "</tr>\n" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def _cell(name: str, value: object) -> str:
    kind = ' class="text"' if name in _TEXT_COLUMNS else ""
    return f"<td{kind}>{'-' if value is None else escape(str(value))}</td>"


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _vendored(name: str) -> str:
    """The dashboard's copy of a file of others."""
    folder = resources.files("mailhearth_web") / "static" / "vendor"
    return folder.joinpath(name).read_text("utf-8")
