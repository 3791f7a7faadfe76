"""The sandbox's DNS, as `mailhearth_core.mail.dns.ZoneResolver` reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mailhearth_core.storage.installation import SANDBOX_DOMAIN
from mailhearth_local.embedded.folder import LOOPBACK

HOSTS = ("mx", "smtp", "imap", "mail")
"""Names below each domain, and below `sandbox.test`, that lead to the sandbox, and stand in its
certificate."""


def zone(
    domains: Iterable[str], smtp_port: int, service: str = ""
) -> Mapping[str, Mapping[str, Any]]:
    """Each domain's mail goes to `mx.<domain>`, which listens at `smtp_port`.

    All names lead to this machine, or to where `service` leads.

    The domains publish what theirs should: SPF (RFC 7208) and DMARC (RFC 7489). There is no DKIM
    key, since the sandbox signs nothing.
    """
    domains = list(domains)
    names: dict[str, Mapping[str, Any]] = {}
    where: Mapping[str, Any] = {"alias": service} if service else {"a": [LOOPBACK]}
    for domain in domains:
        names[domain] = {
            **where,
            "mx": [{"preference": 10, "host": f"mx.{domain}", "port": smtp_port}],
            "txt": ["v=spf1 mx -all"],
        }
        names[f"_dmarc.{domain}"] = {
            "txt": [f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"]
        }
    for domain in (*domains, SANDBOX_DOMAIN):
        for host in HOSTS:
            names[f"{host}.{domain}"] = dict(where)
    return names
