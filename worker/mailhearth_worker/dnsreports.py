"""The daily look at a domain's DNS: MX, SPF, DKIM, DMARC, reverse names, block lists."""

from __future__ import annotations

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.dnsreport.model import Asked, to_json, worst
from mailhearth_core.dnsreport.report import look
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")


def report(work: Work, action: Action) -> None:
    """Handles one `check_dns` action, for the domain of the mailbox it was given to."""
    row, domain = work.row, work.row["domain"]
    keys = {"workspace_id": work.workspace_id, "domain": domain}
    with work.reading() as conn:
        asked = SQL.dns_asked(conn, **keys)
    selectors = tuple(asked["selectors"]) if asked else ()
    found = look(
        Asked(domain, row["smtp_host"], row["peer_provider"], selectors), work.runtime.resolver
    )
    with work.tx() as conn:
        work.finish(conn, action)
        SQL.save_dns_report(conn, report=Jsonb(to_json(found)), **keys)
    log.info("dns_reported", domain=domain, verdict=worst(found).value)
