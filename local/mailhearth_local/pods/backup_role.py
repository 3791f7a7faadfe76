"""The role that a backup reads as.

Every tenant's table is closed to its owner too, so the owner's own dump would fail.
`<prefix>_backup` cannot log in; the owner alone may become it. It reads every table, and sees every
row as a member of the family `warden`, whose policies let it.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from mailhearth_core.errors import MailhearthError
from mailhearth_core.storage.roles import FAMILIES, LOCK, Roles

ROLE = "backup"
HIDDEN = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relnamespace = 'mailhearth'::regnamespace AND c.relrowsecurity
  AND NOT EXISTS (
    SELECT 1 FROM pg_policy p
    WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
      AND pg_get_expr(p.polqual, p.polrelid) = 'true'
      AND (SELECT oid FROM pg_roles WHERE rolname = %(warden)s) = ANY (p.polroles))
  OR c.relnamespace = 'mailhearth'::regnamespace AND EXISTS (
    SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive)
"""


def ensure_role(owner_url: str, roles: Roles) -> None:
    """Makes the role, which reads nothing yet; safe to run again. The other roles must exist."""
    name = sql.Identifier(roles.name(ROLE))
    with psycopg.connect(owner_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        found = conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (roles.name(ROLE),))
        if not found.rowcount:
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
        conn.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(name))
        conn.execute(
            sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE").format(
                sql.Identifier(roles.name("warden")), name
            )
        )


def ensure_backup_role(owner_url: str, roles: Roles) -> None:
    """Makes the role and lets it read all that this version of the schema has.

    Raises:
        MailhearthError: it would not see every row of a table.
    """
    ensure_role(owner_url, roles)
    name = sql.Identifier(roles.name(ROLE))
    with psycopg.connect(owner_url) as conn:
        conn.execute("SET LOCAL lock_timeout = '20s'")
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA mailhearth TO {}").format(name))
        for kind in ("TABLES", "SEQUENCES"):
            conn.execute(
                sql.SQL("GRANT SELECT ON ALL {} IN SCHEMA mailhearth TO {}").format(
                    sql.SQL(kind), name
                )
            )
        hidden = [row[0] for row in conn.execute(HIDDEN, {"warden": roles.name("warden")})]
    if hidden:
        raise MailhearthError(
            f"A backup would not hold every row of {', '.join(sorted(hidden))}.",
            hint="Their row policies lack one for the role warden; please report it.",
            code="backup_incomplete",
        )


def inherit_families(roles: Roles, *, inherit: bool) -> str:
    """SQL by which the owner acts with the rights of the functions' owners, or no longer does.

    A restore needs them: what it makes is another role's from the first moment on.
    """
    option = "TRUE" if inherit else "FALSE"
    return "".join(
        f"GRANT {roles.name(family)} TO CURRENT_USER WITH INHERIT {option};\n"
        for family in FAMILIES
    )
