"""The sandbox's DNS, as `mailhearth_core.mail.dns.ZoneResolver` reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mailhearth_local.embedded.folder import LOOPBACK

HOSTS = ("mx", "smtp", "imap", "mail")
"""Names below each domain that lead to the sandbox, and stand in its certificate."""


def zone(domains: Iterable[str], smtp_port: int) -> Mapping[str, Mapping[str, Any]]:
    """Each domain's mail goes to `mx.<domain>`, which listens on loopback at `smtp_port`.

    The domains publish what theirs should: SPF (RFC 7208) and DMARC (RFC 7489). There is no DKIM
    key, since the sandbox signs nothing.
    """
    names: dict[str, Mapping[str, Any]] = {}
    for domain in domains:
        names[domain] = {
            "a": [LOOPBACK],
            "mx": [{"preference": 10, "host": f"mx.{domain}", "port": smtp_port}],
            "txt": ["v=spf1 mx -all"],
        }
        names[f"_dmarc.{domain}"] = {
            "txt": [f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"]
        }
        for host in HOSTS:
            names[f"{host}.{domain}"] = {"a": [LOOPBACK]}
    return names
