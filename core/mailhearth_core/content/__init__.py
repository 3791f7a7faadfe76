"""What warmup mail says: conversations made again at any time from seed and library version."""

from __future__ import annotations

from mailhearth_core.content.library import Library, Thread, builtin, parse_library, stored_library
from mailhearth_core.content.names import first_name
from mailhearth_core.content.source import InvalidContent

__all__ = [
    "InvalidContent",
    "Library",
    "Thread",
    "builtin",
    "first_name",
    "parse_library",
    "stored_library",
]
