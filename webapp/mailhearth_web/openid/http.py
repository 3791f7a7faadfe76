"""Requests to OpenID providers, by `requests` sessions whose every byte goes over the one dialer.

So each answer has a total deadline and a largest size, TLS is verified, plain http reaches loopback
addresses alone, redirects are not followed, and neither proxies nor a .netrc of the environment
play a part. Private networks are reachable here, unlike for mail servers: the issuers are the
operator's choice, never a customer's, and many an operator's Keycloak has a private address.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import requests
from requests.adapters import BaseAdapter

from mailhearth_core.errors import MailhearthError
from mailhearth_core.net import Address, Dialer, NameLookupFailed, NameNotFound
from mailhearth_core.oauth.http import exchange

SECONDS = 6.0
"""For one request, from looking up the name to the last byte."""
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_SENT = {"accept", "authorization", "content-type"}


class HostResolver:
    """Asks this machine's own resolver, so that /etc/hosts and a cluster's names count."""

    def addresses(self, host: str) -> Sequence[Address]:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)):
                raise NameNotFound(host) from None
            raise NameLookupFailed(host, error.strerror or "no answer") from None
        except UnicodeError:
            raise NameNotFound(host) from None
        return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))


class Redirected(MailhearthError):
    """A provider's own endpoint sent the request elsewhere, where a code or secret must not go."""

    code = "provider_redirects"


class DialerAdapter(BaseAdapter):
    """What `requests` sends by."""

    def __init__(self, dialer: Dialer) -> None:
        super().__init__()
        self._dialer = dialer

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """One request; raises `MailhearthError` where the network or the server fails."""
        assert request.url is not None
        assert request.method is not None
        headers = {
            name: value if isinstance(value, str) else value.decode("latin-1")
            for name, value in request.headers.items()
            if name.lower() in _SENT
        }
        body = request.body or b""
        answer = exchange(
            request.method,
            request.url,
            self._dialer,
            headers=headers,
            body=body.encode() if isinstance(body, str) else bytes(body),  # type: ignore[arg-type]
            deadline_s=SECONDS,
        )
        if 300 <= answer.status < 400:
            raise Redirected(f"{request.url.partition('?')[0]} answers with a redirect.")
        response = requests.Response()
        response.status_code = answer.status
        response._content = answer.body
        response.encoding = "utf-8"
        response.url = request.url
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is kept open."""


def issuer_dialer() -> Dialer:
    """A dialer that may go wherever the operator's issuers are."""
    return Dialer(HostResolver(), allowed=_ANYWHERE)


def prepare(session: requests.Session, dialer: Dialer) -> None:
    """Makes a session send over the dialer alone."""
    session.trust_env = False
    session.adapters.clear()
    session.mount("https://", DialerAdapter(dialer))
    session.mount("http://", DialerAdapter(dialer))


def get_json(url: str, dialer: Dialer) -> dict[str, Any]:
    """A JSON object from a provider.

    Raises:
        MailhearthError: no such answer came.
    """
    answer = exchange(
        "GET", url, dialer, headers={"Accept": "application/json"}, deadline_s=SECONDS
    )
    try:
        told = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise NoDocument(f"{url} answers with status {answer.status} and no JSON object.")
    return told


class NoDocument(MailhearthError):
    """A provider's document is not there, or is not JSON."""

    code = "provider_document"
    permanent = False
