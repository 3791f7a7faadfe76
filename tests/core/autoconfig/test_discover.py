"""A mailbox's servers from its address: the table, and what a domain says of itself."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dovecot import Authority
from mailhearth_core.autoconfig import SignIn, Suggestion, known
from mailhearth_core.autoconfig.discover import discover
from mailhearth_core.autoconfig.published import NoConfiguration, parse
from mailhearth_core.autoconfig.table import PROVIDERS
from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_core.mail.model import TlsMode
from mailhearth_core.mail.probe import Step
from mailhearth_core.net import LOOPBACK, Dialer, is_public
from mailhearth_core.providers import oauth_owner

CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="one.test">
    <domain>one.test</domain>
    <displayName>One Mail</displayName>
    <incomingServer type="pop3"><hostname>pop.one.test</hostname><port>995</port>
      <socketType>SSL</socketType><authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username></incomingServer>
    <incomingServer type="imap"><hostname>plain.one.test</hostname><port>143</port>
      <socketType>plain</socketType><authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username></incomingServer>
    <incomingServer type="imap"><hostname>Imap.One.test</hostname><port>993</port>
      <socketType>SSL</socketType><authentication>password-cleartext</authentication>
      <username>%EMAILLOCALPART%</username></incomingServer>
    <outgoingServer type="smtp"><hostname>smtp.one.test</hostname><port>587</port>
      <socketType>STARTTLS</socketType><authentication>password-cleartext</authentication>
      <username>%EMAILLOCALPART%</username></outgoingServer>
    <documentation url="https://one.test/help"><descr>Help</descr></documentation>
  </emailProvider>
</clientConfig>"""


def test_the_table_knows_twenty_providers_and_each_entry_can_be_used() -> None:
    names = {provider.settings.provider for provider in PROVIDERS}
    assert len(names) >= 20
    every = [domain for provider in PROVIDERS for domain in provider.domains]
    every += [suffix for provider in PROVIDERS for suffix in provider.exchangers]
    assert all(name == name.lower().strip(".") for name in every)
    for kind in ("domains", "exchangers"):
        listed = [name for provider in PROVIDERS for name in getattr(provider, kind)]
        assert len(listed) == len(set(listed)), f"{kind}: there twice"
    for provider in PROVIDERS:
        for settings in filter(None, (provider.settings, provider.hosted)):
            assert provider.domains or provider.exchangers, settings.provider
            assert (settings.sign_in is SignIn.NONE) == (settings.imap is None)
            assert settings.note or settings.sign_in is SignIn.PASSWORD, settings.provider
            assert bool(settings.note) == bool(settings.note_url), settings.provider
            for server in filter(None, (settings.imap, settings.smtp)):
                assert server.tls is not TlsMode.NONE
                wants_oauth = oauth_owner(server.host) is not None
                assert wants_oauth == (settings.sign_in is SignIn.OAUTH), settings.provider


def test_an_address_of_a_common_provider_asks_nobody() -> None:
    gmx = known("Ann@GMX.de")
    assert gmx is not None
    assert gmx.imap is not None
    assert (gmx.imap.host, gmx.imap.port, gmx.username("ann@gmx.de")) == (
        "imap.gmx.net", 993, "ann@gmx.de",
    )  # fmt: skip
    assert known("ann@one.test") is None


def test_a_document_that_is_published_is_read_with_suspicion() -> None:
    found = parse(CONFIG.encode())
    assert (found.provider, found.note_url) == ("One Mail", "https://one.test/help")
    assert (found.imap and found.imap.host, found.smtp and found.smtp.tls) == (
        "imap.one.test", TlsMode.STARTTLS,
    )  # fmt: skip
    assert found.username("ann@one.test") == "ann"
    bomb = '<!DOCTYPE c [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + CONFIG.split("?>")[1]
    refused = {
        "document type": bomb,
        "no XML": CONFIG[:-20],
        "larger": "<a>" * 20 + "</a>" * 20,
        "no clientConfig": "<html><body>Not found</body></html>",
        "no IMAP": CONFIG.replace("SSL", "plain"),
        "no SMTP": CONFIG.replace("smtp.one.test", "smtp one test"),
        "no IMAP server": CONFIG.replace("993", "99999"),
    }
    for reason, text in refused.items():
        with pytest.raises(NoConfiguration, match=reason):
            parse(text.encode())


@contextmanager
def serving(
    folder: Path, hosts: tuple[str, ...], pages: dict[str, Any]
) -> Iterator[tuple[int, str]]:
    """A web server with a certificate for `hosts`; the port and the authority's PEM."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(f"{self.headers['Host'].split(':')[0]}{self.path}", (404, ""))
            self.send_response(status)
            self.send_header("Location", "https://elsewhere.test/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(folder, hosts))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port, authority.pem
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


HERE = {"a": ["127.0.0.1"]}


def search(
    domain: str, zone: dict[str, Any], port: int, pem: str
) -> tuple[tuple[Suggestion, ...], list[Step]]:
    steps: list[Step] = []
    resolver = ZoneResolver(zone)
    dialer = Dialer(resolver, allowed=LOOPBACK, ca_pem=pem)
    return discover(domain, resolver, dialer, steps.append, https_port=port), steps


def test_a_domain_is_asked_by_its_mx_then_by_its_web_servers_then_by_its_names(
    tmp_path: Path,
) -> None:
    hosts = ("autoconfig.one.test", "two.test", "autoconfig.hoster.test", "autoconfig.four.test")
    pages = {
        "autoconfig.one.test/mail/config-v1.1.xml": (200, CONFIG),
        "two.test/.well-known/autoconfig/mail/config-v1.1.xml": (200, CONFIG),
        "autoconfig.hoster.test/mail/config-v1.1.xml": (200, CONFIG),
        "autoconfig.four.test/mail/config-v1.1.xml": (302, ""),
    }
    zone = {
        **dict.fromkeys(hosts, HERE),
        "one.test": {"mx": [{"host": "mx.one.test"}]},
        "two.test": HERE | {"mx": [{"host": "mx.two.test"}]},
        "three.test": {"mx": [{"host": "mx1.hoster.test"}]},
        "four.test": {"mx": [{"host": "mx.four.test"}]},
        "imap.four.test": HERE,
        "mail.four.test": HERE,
        "five.test": {"mx": [{"host": "aspmx.l.google.com"}]},
        "six.test": {"mx": [{"host": ""}]},
    }
    with serving(tmp_path, hosts, pages) as (port, pem):
        told = {domain: search(domain, zone, port, pem) for domain in (
            "one.test", "two.test", "three.test", "four.test", "five.test", "six.test", "gone.test",
            "gmx.de",
        )}  # fmt: skip
    for domain in ("one.test", "two.test", "three.test"):
        ((found,), steps) = told[domain]
        assert (found.source, found.imap and found.imap.host) == ("autoconfig", "imap.one.test")
        assert steps[-1].ok
    ((guess,), steps) = told["four.test"]  # a redirect is not followed
    assert [endpoint and endpoint.host for endpoint in (guess.imap, guess.smtp)] == [
        "imap.four.test", "mail.four.test",
    ]  # fmt: skip
    assert (guess.source, "HTTP 302" in steps[0].detail) == ("guess", True)
    ((google,), steps) = told["five.test"]
    assert (google.provider, google.source, google.sign_in) == ("Gmail", "mx", SignIn.OAUTH)
    for domain in ("six.test", "gone.test"):
        found_none, steps = told[domain]
        assert found_none == ()
        assert (steps[0].ok, steps[0].name) == (False, "find.mx")
        assert "fill them in" in steps[-1].hint
    assert told["gmx.de"][1] == []


def test_a_domain_cannot_send_the_worker_into_a_private_network(tmp_path: Path) -> None:
    zone: dict[str, Any] = {
        "evil.test": {"mx": [{"host": "mx.evil.test"}]},
        "autoconfig.evil.test": HERE,
    }
    resolver = ZoneResolver(zone)
    steps: list[Step] = []
    pages = {"autoconfig.evil.test/mail/config-v1.1.xml": (200, CONFIG)}
    with serving(tmp_path, ("autoconfig.evil.test",), pages) as (port, pem):
        dialer = Dialer(resolver, ca_pem=pem)  # nothing but public addresses is allowed
        assert discover("evil.test", resolver, dialer, steps.append, https_port=port) == ()
    assert not is_public(resolver.addresses("autoconfig.evil.test")[0])
    assert "address_refused" in [step.code for step in steps]
