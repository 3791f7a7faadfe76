"""Reports on the DNS of a workspace's domains: read here, asked for here, made by a worker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mailhearth_core.dnsreport.model import Part, Verdict, from_json, worst
from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.wishes import Actor, audit

SQL = named("dashboard")
MOST_SELECTORS = 10
SELECTOR = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
EVERY = timedelta(days=1)


@dataclass(frozen=True)
class DomainReport:
    """A domain of the workspace's mailboxes.

    Attributes:
        parts: empty while there is no report yet.
        checked_at: machine time of the report.
        asked: a look is due or under way.
        can_ask: some mailbox of it may be worked on; without, nothing looks at the domain.
    """

    domain: str
    mailboxes: int
    parts: tuple[Part, ...]
    selectors: tuple[str, ...]
    checked_at: datetime | None
    asked: bool
    can_ask: bool

    @property
    def verdict(self) -> Verdict:
        return worst(self.parts) if self.parts else Verdict.UNKNOWN


def listing(door: TenantDoor, workspace_id: UUID, *, limit: int = 200) -> list[DomainReport]:
    """The domains, those that need somebody first."""
    order = (Verdict.BAD, Verdict.WARNING, Verdict.UNKNOWN, Verdict.GOOD)
    with door.tenant_tx(workspace_id) as conn:
        rows = list(SQL.dns_reports(conn, domain=None, limit=limit))
    return sorted((_report(row) for row in rows), key=lambda r: (order.index(r.verdict), r.domain))


def find(door: TenantDoor, workspace_id: UUID, domain: str) -> DomainReport:
    """One domain.

    Raises:
        NotFound: no mailbox of this workspace is at that domain.
    """
    with door.tenant_tx(workspace_id) as conn:
        return _find(conn, domain)


def ask(
    door: TenantDoor,
    workspace_id: UUID,
    domain: str,
    actor: Actor,
    *,
    selectors: Sequence[str] | None = None,
) -> None:
    """Asks a worker to look at a domain now.

    Args:
        selectors: of DKIM, to look at besides the common ones from now on; None leaves them.

    Raises:
        InvalidValue: a selector is no DNS label.
        Conflict: no mailbox of the domain has agreed to warmup, so nobody works for it.
    """
    named_ones = None if selectors is None else _checked(selectors)
    with door.tenant_tx(workspace_id) as conn:
        if not _find(conn, domain).can_ask:
            raise Conflict(
                f"Nothing may be done for {domain}: none of its mailboxes has agreed to warmup.",
                hint="Agree for one of them, or resume it.",
            )
        SQL.ask_dns(
            conn,
            workspace_id=workspace_id,
            domain=domain,
            selectors=named_ones,
            now=business_now(conn),
            next_at=business_now(conn) + EVERY,
        )
        audit(conn, workspace_id, "dns.asked", actor, domain, selectors=named_ones)


def _find(conn: Connection, domain: str) -> DomainReport:
    for row in SQL.dns_reports(conn, domain=domain, limit=1):
        return _report(row)
    raise NotFound(f"No mailbox of this workspace is at {domain!r}.")


def _report(row: dict[str, Any]) -> DomainReport:
    return DomainReport(
        domain=row["domain"],
        mailboxes=row["mailboxes"],
        parts=from_json(row["report"]) if row["report"] else (),
        selectors=tuple(row["selectors"] or ()),
        checked_at=row["checked_at"],
        asked=row["asked"],
        can_ask=row["can_ask"],
    )


def _checked(selectors: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(name.strip().lower() for name in selectors if name.strip()))
    for name in wanted:
        if not SELECTOR.fullmatch(name):
            allowed = "letters, digits, dots and dashes, as in selector1"
            raise InvalidValue("selectors", name, allowed)
    if len(wanted) > MOST_SELECTORS:
        raise InvalidValue("selectors", len(wanted), f"at most {MOST_SELECTORS}")
    return wanted
