"""The installation's database roles.

Every role's name is prefixed by the installation (`mh` by default), so that several installations
may share one Postgres cluster, where roles are global.

* Processes log in as `web`, `cli`, `scheduler`, `operator`, `admin`, and, for each workspace's
  workers, as `<prefix>_w_<workspace as 32 hex digits>`, a member of `worker`.
* `planner`, `carrier`, `steward`, `warden`, `signin` cannot log in: they own the SECURITY DEFINER
  functions of one family each.
* Nobody is a superuser or has BYPASSRLS; `warden` alone may create roles (the workers' logins).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

import psycopg
from psycopg import sql

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret

LOGIN_ROLES = ("web", "cli", "scheduler", "operator", "admin")
FAMILIES = ("planner", "carrier", "steward", "warden", "signin")
GROUP_ROLES = ("worker", *FAMILIES)
PREFIX = re.compile(r"[a-z][a-z0-9]{0,14}")
LOCK = 0x726F6C65
"""\"role\": the advisory lock of everybody who makes the roles of one database."""
MIN_SERVER_VERSION = 160000
"""Postgres 16: the first with `GRANT role WITH SET`, which an owner that is no superuser needs."""


@dataclass(frozen=True)
class Roles:
    """The names of one installation's roles."""

    prefix: str = "mh"

    def __post_init__(self) -> None:
        if not PREFIX.fullmatch(self.prefix):
            raise InvalidValue("role prefix", self.prefix, "a-z, then up to 14 of a-z and 0-9")

    def name(self, role: str) -> str:
        return f"{self.prefix}_{role}"

    def worker_login(self, workspace_id: UUID) -> str:
        return f"{self.prefix}_w_{workspace_id.hex}"

    def render(self, text: str) -> str:
        """Replaces `@role@` and `@prefix@` in a migration by this installation's names."""
        known = {role: self.name(role) for role in (*LOGIN_ROLES, *GROUP_ROLES)}
        known["prefix"] = self.prefix
        return re.sub(r"@([a-z]+)@", lambda match: known[match.group(1)], text)


def new_password() -> Secret:
    """A database password of 256 random bits."""
    return Secret(secrets.token_urlsafe(32))


def scram_verifier(conn: psycopg.Connection[Any], password: Secret, login: str) -> str:
    """The SCRAM-SHA-256 verifier of a password, so that it never reaches the server in clear.

    The verifier does not depend on the login (RFC 5803); libpq's function asks for it all the same.
    """
    return conn.pgconn.encrypt_password(
        password.reveal().encode(), login.encode(), b"scram-sha-256"
    ).decode()


def ensure_roles(owner_url: str, roles: Roles, passwords: Mapping[str, Secret]) -> None:
    """Creates what is missing and sets the login roles' passwords; safe to run again.

    Args:
        owner_url: of a login with CREATEROLE that owns the schema; it need not be a superuser.
        passwords: for each of `LOGIN_ROLES`.
    Raises:
        MailhearthError: the server is too old, or the owner may not create roles.
    """
    with psycopg.connect(owner_url, autocommit=True) as conn:
        if conn.info.server_version < MIN_SERVER_VERSION:
            raise MailhearthError(
                f"Postgres {conn.info.server_version // 10000} is too old.",
                hint="Mailhearth needs Postgres 16 or newer.",
                code="postgres_too_old",
            )
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        existing = {row[0] for row in conn.execute("SELECT rolname FROM pg_roles")}
        try:
            for role in (*GROUP_ROLES, *LOGIN_ROLES):
                name = sql.Identifier(roles.name(role))
                if roles.name(role) not in existing:
                    kind = sql.SQL("LOGIN" if role in LOGIN_ROLES else "NOLOGIN")
                    more = sql.SQL("CREATEROLE" if role == "warden" else "NOCREATEROLE")
                    conn.execute(sql.SQL("CREATE ROLE {} {} {}").format(name, kind, more))
                if role in FAMILIES:
                    conn.execute(
                        sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(
                            name
                        )
                    )
                if role in LOGIN_ROLES:
                    verifier = scram_verifier(conn, passwords[role], roles.name(role))
                    conn.execute(
                        sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier))
                    )
            conn.execute(
                sql.SQL("GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE").format(
                    sql.Identifier(roles.name("worker")), sql.Identifier(roles.name("warden"))
                )
            )
        except psycopg.errors.InsufficientPrivilege as error:
            raise MailhearthError(
                f"The owner of DATABASE_URL may not create roles: {error.diag.message_primary}.",
                hint="Give it CREATEROLE: ALTER ROLE <owner> CREATEROLE.",
                code="owner_lacks_createrole",
            ) from None


def login_url(base_url: str, login: str, password: Secret) -> Secret:
    """The URL of another login on the same server and database, search path pinned."""
    parts = urlsplit(base_url)
    host = parts.hostname or "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    netloc = f"{quote(login)}:{quote(password.reveal(), safe='')}@{host}{port}"
    query = [item for item in parts.query.split("&") if item and not item.startswith("options=")]
    query.append("options=" + quote("-c search_path=mailhearth"))
    return Secret(urlunsplit((parts.scheme, netloc, parts.path, "&".join(query), "")))


def without_login(url: str) -> str:
    """A database URL without user and password: what may be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rsplit("@", 1)[-1]
    query = "&".join(i for i in parts.query.split("&") if i and not i.startswith("options="))
    return urlunsplit((parts.scheme, host, parts.path, query, ""))
