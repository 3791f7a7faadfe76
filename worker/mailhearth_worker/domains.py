"""The two-hourly look at whether a domain of this workspace takes mail: its MX and their SMTP."""

from __future__ import annotations

import structlog

from mailhearth_core.mail.domains import check_domain
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")


def check(work: Work, action: Action) -> None:
    """Handles one `check_domain` action, for the domain of the mailbox it was given to."""
    domain = work.row["domain"]
    found = check_domain(domain, work.runtime.resolver, work.runtime.dialer)
    with work.tx() as conn:
        work.finish(conn, action)
        SQL.save_domain_health(
            conn,
            workspace_id=work.workspace_id,
            domain=domain,
            mx_ok=found.mx_ok,
            smtp_ok=found.smtp_ok,
            detail=found.detail,
            now=business_now(conn),
        )
    if not (found.mx_ok and found.smtp_ok):
        log.warning("domain_unreachable", domain=domain, detail=found.detail)
