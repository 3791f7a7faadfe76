"""Asking a domain for its mail settings: where its mail goes, what it publishes, what names it has.

The domain alone is told to others, never the address. Mozilla's central directory is not asked: it
would learn which domains an installation warms up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from mailhearth_core.autoconfig.model import Suggestion
from mailhearth_core.autoconfig.published import NoConfiguration, parse
from mailhearth_core.autoconfig.table import by_exchanger, known
from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.dns import MxHost, Resolver
from mailhearth_core.mail.model import Endpoint, TlsMode
from mailhearth_core.mail.probe import Step
from mailhearth_core.net import Deadline, Dialer, NameLookupFailed
from mailhearth_core.oauth.http import fetch

FETCH_S = 4.0
TOTAL_S = 15.0
_IMAP_NAMES = ("imap", "mail")
_SMTP_NAMES = ("smtp", "mail")


def discover(
    domain: str,
    resolver: Resolver,
    dialer: Dialer,
    on_step: Callable[[Step], None] = lambda step: None,
    *,
    https_port: int = 443,
) -> tuple[Suggestion, ...]:
    """Settings that may fit the addresses of `domain`, the likeliest first; perhaps none.

    Takes at most about `TOTAL_S` seconds. What goes wrong on the way becomes a step, not an error.

    Args:
        https_port: where the domain's web server listens (the tests' own is elsewhere).
    """
    deadline = Deadline(TOTAL_S)
    found = known(f"@{domain}")
    if found is not None:
        return (found,)
    hosts = _exchangers(domain, resolver, on_step)
    found = by_exchanger(hosts)
    if found is not None:
        on_step(Step("find.mx", True, f"Mail for {domain} goes to {found.provider}."))
        return (found,)
    for url in _addresses(domain, hosts, https_port):
        found = _published(url, dialer, deadline, on_step)
        if found is not None:
            return (found,)
    found = _guessed(domain, resolver)
    if found is None:
        on_step(Step("find.names", False, f"No settings for {domain} were found.", _BY_HAND))
        return ()
    on_step(Step("find.names", True, f"{domain} publishes no settings; these names exist.", _LOOK))
    return (found,)


_BY_HAND = "Ask the provider for its IMAP and SMTP servers and fill them in."
_LOOK = "They are a guess: compare them with the provider's own page."


def _exchangers(
    domain: str, resolver: Resolver, on_step: Callable[[Step], None]
) -> Sequence[MxHost]:
    try:
        hosts = resolver.mx(domain)
    except NameLookupFailed as error:
        on_step(Step("find.mx", False, error.message, error.hint, error.code))
        return ()
    except MailhearthError as error:
        on_step(Step("find.mx", False, error.message, "Check the address's spelling.", error.code))
        return ()
    hosts = [host for host in hosts if host.host]
    if not hosts:
        detail = f"{domain} names no server that takes its mail."
        on_step(Step("find.mx", False, detail, "Check the address's spelling.", "no_mx"))
    return hosts


def _addresses(domain: str, hosts: Sequence[MxHost], https_port: int) -> list[str]:
    """Where a configuration may be, by the domain itself or by who takes its mail."""
    port = "" if https_port == 443 else f":{https_port}"
    paths = [
        f"https://autoconfig.{domain}{port}/mail/config-v1.1.xml",
        f"https://{domain}{port}/.well-known/autoconfig/mail/config-v1.1.xml",
    ]
    if hosts:
        labels = min(hosts).host.lower().split(".")
        operators = [".".join(labels[start:]) for start in (1, 2) if len(labels) - start >= 2]
        paths += [
            f"https://autoconfig.{operator}{port}/mail/config-v1.1.xml"
            for operator in operators
            if operator != domain
        ]
    return paths


def _published(
    url: str, dialer: Dialer, deadline: Deadline, on_step: Callable[[Step], None]
) -> Suggestion | None:
    host = urlsplit(url).hostname
    try:
        answer = fetch(url, dialer, deadline_s=min(FETCH_S, deadline.left()))
        if answer.status != 200:
            raise NoConfiguration(f"It answers with HTTP {answer.status}.")
        found = parse(answer.body)
    except MailhearthError as error:
        detail = f"{host} publishes no settings. {error.message}"
        on_step(Step("find.autoconfig", False, detail, "", error.code))
        return None
    on_step(Step("find.autoconfig", True, f"{host} publishes settings."))
    return found


def _guessed(domain: str, resolver: Resolver) -> Suggestion | None:
    imap = _first_name(domain, _IMAP_NAMES, resolver)
    smtp = _first_name(domain, _SMTP_NAMES, resolver)
    if imap is None or smtp is None:
        return None
    return Suggestion(
        domain,
        Endpoint(imap, 993, TlsMode.IMPLICIT),
        Endpoint(smtp, 465, TlsMode.IMPLICIT),
        note=f"{domain} publishes no settings; these are a guess.",
        source="guess",
    )


def _first_name(domain: str, names: Sequence[str], resolver: Resolver) -> str | None:
    for name in names:
        try:
            if resolver.addresses(f"{name}.{domain}"):
                return f"{name}.{domain}"
        except MailhearthError:
            continue
    return None
