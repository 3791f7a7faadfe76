"""A domain's own settings in Mozilla's format (config-v1.1.xml), read with suspicion.

The text comes from whoever owns a domain, so a document type (and with it every entity) is refused,
depth and size are bounded, and what does not fit is no suggestion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from mailhearth_core.autoconfig.model import SignIn, Suggestion
from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.mail.model import Endpoint, TlsMode

MAX_DEPTH = 16
MAX_ELEMENTS = 2_000
_TLS = {"SSL": TlsMode.IMPLICIT, "STARTTLS": TlsMode.STARTTLS}
_PASSWORDS = {"password-cleartext", "plain", "password-encrypted", "secure"}


class NoConfiguration(MailhearthError):
    """The text is no configuration that can be used; the message says why."""

    code = "autoconfig_unusable"


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def all(self, name: str) -> list[_Element]:
        return [child for child in self.children if child.name == name]

    def first(self, name: str) -> str:
        return next((child.text.strip() for child in self.all(name)), "")


def parse(body: bytes) -> Suggestion:
    """The best of the servers that a configuration names.

    Raises:
        NoConfiguration: it is no such document, or names no encrypted IMAP and SMTP server that
            takes a password or OAuth.
    """
    root = _Reader().read(body)
    providers = root.all("emailProvider") if root.name == "clientConfig" else []
    if not providers:
        raise NoConfiguration("It is no clientConfig with an emailProvider.")
    provider = providers[0]
    imap, imap_user, imap_way = _server(provider, "incomingServer", "imap")
    smtp, _, smtp_way = _server(provider, "outgoingServer", "smtp")
    note_url = next((page.attributes.get("url", "") for page in provider.all("documentation")), "")
    return Suggestion(
        provider=_line(provider.first("displayShortName") or provider.first("displayName")),
        imap=imap,
        smtp=smtp,
        sign_in=SignIn.OAUTH if SignIn.OAUTH in (imap_way, smtp_way) else SignIn.PASSWORD,
        local_username=imap_user == "%EMAILLOCALPART%",
        note_url=note_url if note_url.startswith("https://") and note_url.isprintable() else "",
        source="autoconfig",
    )


def _server(provider: _Element, name: str, kind: str) -> tuple[Endpoint, str, SignIn]:
    """The first usable one: the format lists them by preference."""
    for server in provider.all(name):
        if server.attributes.get("type") != kind:
            continue
        ways = {way.text.strip() for way in server.all("authentication")}
        tls = _TLS.get(server.first("socketType"))
        if tls is None or not ways & (_PASSWORDS | {"OAuth2"}):
            continue
        try:
            endpoint = Endpoint(_host(server.first("hostname")), int(server.first("port")), tls)
        except (InvalidValue, ValueError):
            continue
        sign_in = SignIn.PASSWORD if ways & _PASSWORDS else SignIn.OAUTH
        return endpoint, server.first("username"), sign_in
    raise NoConfiguration(f"It names no {kind.upper()} server with encryption.")


def _host(text: str) -> str:
    host = text.lower().rstrip(".")
    if not host.isascii() or any(not (c.isalnum() or c in ".-") for c in host) or "." not in host:
        raise InvalidValue("hostname", text, "a full host name")
    return host


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:60].strip()


class _Reader:
    """Expat with everything refused that a configuration does not need."""

    def __init__(self) -> None:
        self._top = _Element("", {})
        self._stack = [self._top]
        self._count = 0

    def read(self, body: bytes) -> _Element:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(body, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise NoConfiguration(f"It is no XML ({error}).") from None
        return self._top.children[0]

    def _refuse(self, *_: Any) -> None:
        raise NoConfiguration("It has a document type, which no configuration needs.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._stack) > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise NoConfiguration("It is larger than any configuration.")
        element = _Element(name, attributes)
        self._stack[-1].children.append(element)
        self._stack.append(element)

    def _end(self, name: str) -> None:
        self._stack.pop()

    def _text(self, text: str) -> None:
        self._stack[-1].text += text
