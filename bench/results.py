"""What the parts of a run found: shown as they come, and kept in bench/results.json."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")


class Missing(Exception):
    """A program that a part needs is not installed; the message says which, and how to get it."""


def machine() -> dict[str, Any]:
    """What the figures of a run depend on; names no host and no path."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        memory = int(next(lines).split()[1])
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory // 1024,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def keep(part: str, found: Mapping[str, Any], file: Path = FILE) -> None:
    """Writes one part's figures; what other parts found before stays, each with its own date."""
    kept: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    stamp = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    kept[part] = {**stamp, **found}
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def lines_of(found: Mapping[str, Any], indent: str = "  ") -> list[str]:
    """A part's figures as lines to read: names as they are, nested ones beneath."""
    lines: list[str] = []
    for name, value in found.items():
        title = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{title}:", *lines_of(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            lines.append(f"{indent}{title}:")
            for item in value:
                shown = ", ".join(f"{k.replace('_', ' ')} {_shown(v)}" for k, v in item.items())
                lines.append(f"{indent}  {shown}")
        else:
            lines.append(f"{indent}{title}: {_shown(value)}")
    return lines


def goal(wanted: float, found: float, *, at_most: bool = False) -> dict[str, Any]:
    """A goal beside what was measured."""
    met = found <= wanted if at_most else found >= wanted
    return {("at_most" if at_most else "at_least"): wanted, "measured": found, "met": met}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
