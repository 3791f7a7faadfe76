"""Names of workspaces and pools: those that the definitions of their custom resources take too.

A name of the dashboard may become that of a resource, whose rules stand in `crds/`.
"""

from __future__ import annotations

import re

from mailhearth_core.errors import InvalidValue

LONGEST = 50
"""Below a DNS label's 63 (RFC 1123): names of what belongs to a pool are made of its own."""
RESERVED = ("admin", "default", "local", "mailhearth", "platform", "system")
RESERVED_BEGINNINGS = ("kube-", "mailhearth-")
_SHAPE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def why_not(name: str) -> str | None:
    """What is wrong with a name, as a sentence; None when nothing is."""
    if not _SHAPE.fullmatch(name):
        return "Use a-z, 0-9 and hyphens between them, as in team-north."
    if len(name) > LONGEST:
        return f"At most {LONGEST} characters."
    if name in RESERVED:
        return f"This name is reserved ({', '.join(RESERVED)})."
    if name.startswith(RESERVED_BEGINNINGS):
        return f"Names that begin with {' or '.join(RESERVED_BEGINNINGS)} are reserved."
    return None


def check_name(field: str, name: str) -> str:
    """Raises InvalidValue."""
    if why_not(name) is not None:
        expected = (
            f"a-z, 0-9 and inner hyphens, 1 to {LONGEST} characters, as in 'team-north'; not "
            f"{', '.join(RESERVED)}, nor beginning with {' or '.join(RESERVED_BEGINNINGS)}"
        )
        raise InvalidValue(field, name, expected)
    return name
