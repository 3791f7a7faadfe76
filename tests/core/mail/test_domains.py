"""Whether a domain can receive mail, and the zone that answers for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dovecot import free_port
from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.dns import MxHost, SystemResolver, ZoneResolver
from mailhearth_core.mail.domains import check_domain
from mailhearth_core.net import LOOPBACK, Dialer, NameLookupFailed, NameNotFound
from postfix import PostfixServer


def check(domain: str, zone: dict[str, Any]) -> tuple[bool | None, bool | None]:
    resolver = ZoneResolver(zone)
    found = check_domain(domain, resolver, Dialer(resolver, allowed=LOOPBACK), deadline_s=5)
    assert found.detail
    return found.mx_ok, found.smtp_ok


def test_domains_are_reached_by_mx_in_order_of_preference(postfix: PostfixServer) -> None:
    host = {"a": ["127.0.0.1"]}
    good = {"host": "mx.test", "preference": 20, "port": postfix.mx_port}
    dead = {"host": "mx.test", "preference": 10, "port": free_port()}
    assert check("a.test", {"a.test": {"mx": [good]}, "mx.test": host}) == (True, True)
    assert check("a.test", {"a.test": {"mx": [good, dead]}, "mx.test": host}) == (True, True)
    assert check("a.test", {"a.test": {"mx": [dead]}, "mx.test": host}) == (True, False)
    assert check("a.test", {"a.test": {"mx": [good]}}) == (True, False)


def test_domains_without_mail() -> None:
    assert check("a.test", {}) == (False, False)
    assert check("a.test", {"a.test": {}}) == (False, False)
    assert check("a.test", {"a.test": {"mx": [{"host": ".", "preference": 0}]}}) == (False, False)


def test_a_refusing_greeting_is_not_good(scripted: Any) -> None:
    server = scripted(lambda c: c.sendall(b"554-no\r\n554 service\r\n"))
    mx = {"host": "mx.test", "port": server.port}
    zone = {"a.test": {"mx": [mx]}, "mx.test": {"a": ["127.0.0.1"]}}
    assert check("a.test", zone) == (True, False)


def test_a_dns_failure_is_no_evidence() -> None:
    class Down:
        def addresses(self, host: str) -> Sequence[Any]:
            raise NameLookupFailed(host, "SERVFAIL")

        def mx(self, domain: str) -> Sequence[MxHost]:
            raise NameLookupFailed(domain, "SERVFAIL")

        def questions(self, lifetime_s: float) -> Any:
            raise NameLookupFailed("a.test", "SERVFAIL")

    found = check_domain("a.test", Down(), Dialer(Down()))
    assert (found.mx_ok, found.smtp_ok) == (None, None)


def test_a_zone_comes_from_a_file_and_its_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "zone.json"
    path.write_text(json.dumps({"A.test.": {"mx": [{"host": "mx.a.test."}]}}))
    assert ZoneResolver.from_file(path).mx("a.TEST") == [MxHost(10, "mx.a.test", 25)]
    with pytest.raises(NameNotFound):
        ZoneResolver.from_file(path).addresses("mx.a.test")
    mistakes: list[object] = [{"a": ["not an address"]}, {"mxx": []}, {"mx": [{"port": 25}]}]
    for bad in mistakes:
        path.write_text(json.dumps({"b.test": bad}))
        with pytest.raises(InvalidValue, match=r"b\.test"):
            ZoneResolver.from_file(path)


def test_names_the_system_cannot_ask_for_are_not_found() -> None:
    with pytest.raises(NameNotFound):
        SystemResolver(lifetime_s=1).mx("a" * 64 + ".test")
