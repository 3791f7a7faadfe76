"""What the command line prints: tables and lines for people, JSON for programs.

JSON goes to stdout as one document; its keys are stable, times are ISO 8601 in UTC ending in Z.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from mailhearth_core.errors import MailhearthError


def to_json(value: Any) -> str:
    return json.dumps(value, default=_plain, indent=2, ensure_ascii=False)


def emit_json(value: Any) -> None:
    click.echo(to_json(value))


def time_text(at: datetime | None) -> str:
    """A time as JSON gives it; empty for none."""
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def short_time(at: datetime | None) -> str:
    """A time as tables show it: UTC to the minute."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ") if at else "-"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Prints columns under their headings; with no rows the sentence `empty` instead."""
    cells = [[visible(str("-" if c is None else c)) for c in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    lines = [[column.upper() for column in columns], *cells]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        pairs = zip(line, widths, strict=True)
        padded = (cell + " " * (width - _width(cell)) for cell, width in pairs)
        click.echo("  ".join(padded).rstrip())


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Prints `name: value` lines, aligned; a value of None is left out."""
    shown = [(name, visible(str(value))) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name + ':':<{width + 1}} {value}")


def visible(text: str) -> str:
    """The text in one line, without what could move a cursor: it may come from a server."""
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)


def mailhearth_error(error: MailhearthError) -> dict[str, Any]:
    """The JSON form of an error."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def complain(message: str, hint: str, code: str, *, as_json: bool) -> None:
    """One error on stderr: `error: ...` and a line with what to do, or the JSON form."""
    if as_json:
        body = {"error": {"code": code, "message": message, "hint": hint}}
        print(to_json(body), file=sys.stderr)  # noqa: T201 - the one place that writes to stderr
        return
    lines = [f"error: {_lines(message)}"]
    if hint:
        lines.append(f"hint: {_lines(hint)}")
    print("\n".join(lines), file=sys.stderr)  # noqa: T201


def _lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.splitlines())


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
