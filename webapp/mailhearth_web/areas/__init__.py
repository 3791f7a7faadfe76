"""The areas of the dashboard, each a slice of its own: views, forms and templates.

Each `areas/<area>/views.py` has a `blueprint`, and may have `LINKS` for the navigation.
"""

from __future__ import annotations

AREAS = (
    "health",
    "home",
    "signin",
    "account",
    "overview",
    "mailbox",
    "mailboxes",
    "imports",
    "pools",
    "dns",
    "simulate",
    "events",
    "workspaces",
    "members",
    "invitations",
    "audit",
    "admin",
)
"""Names of the packages here, in the order in which they are registered."""
