"""One HTTPS request over the product's own dialer: vetted address, verified certificate, deadline.

The standard library parses the answer; bytes come from a `Wire`, whose total deadline and byte
budget hold against a server that sends a byte a second. Redirects are not followed: what is posted
is a secret, and goes to one address only.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import SplitResult, urlencode, urlsplit

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.mail.model import Endpoint, TlsMode
from mailhearth_core.mail.wire import Wire
from mailhearth_core.net import Deadline, Dialer

MAX_BODY = 64 * 1024
_MAX_BYTES = MAX_BODY + 32 * 1024


class NoHttp(MailhearthError):
    """What came back is no HTTP answer, or a longer one than any honest endpoint sends."""

    code = "bad_server_reply"
    permanent = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and body of an answer."""

    status: int
    body: bytes


def split_endpoint(url: str) -> SplitResult:
    """The parts of an endpoint's address.

    Raises:
        InvalidValue: it is no https:// address (http:// is for loopback, which the dialer checks),
            or carries a login or a fragment.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue("token endpoint", url, "an https:// address") from None
    wrong = parts.scheme not in ("https", "http") or not parts.hostname or port == 0
    if wrong or "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
        raise InvalidValue("token endpoint", url, "an https:// address")
    return parts


def post_form(url: str, fields: dict[str, str], dialer: Dialer, *, deadline_s: float) -> HttpAnswer:
    """Posts `fields` as a form and returns whatever the server answers.

    Raises:
        InvalidValue: see `split_endpoint`.
        ConnectionFailed, DeadlinePassed, ConnectionLost, TooMuchData: the network failed;
            `deadline_s` covers everything together.
        NoHttp: the answer cannot be understood.
    """
    return exchange(
        "POST",
        url,
        dialer,
        headers={
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        },
        body=urlencode(fields).encode(),
        deadline_s=deadline_s,
    )


def fetch(url: str, dialer: Dialer, *, deadline_s: float) -> HttpAnswer:
    """What is at a public address; raises as `post_form`."""
    return exchange("GET", url, dialer, deadline_s=deadline_s)


def exchange(
    method: str,
    url: str,
    dialer: Dialer,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
    deadline_s: float,
) -> HttpAnswer:
    """One request and its answer; raises as `post_form`."""
    parts = split_endpoint(url)
    secure = parts.scheme == "https"
    endpoint = Endpoint(
        parts.hostname or "",
        parts.port or (443 if secure else 80),
        TlsMode.IMPLICIT if secure else TlsMode.NONE,
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "User-Agent: Mailhearth\r\nConnection: close\r\n"
    )
    sent = dict(headers)
    if body or method == "POST":
        sent["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    deadline = Deadline(deadline_s)
    wire = Wire.open(dialer, endpoint, deadline)
    try:
        wire.step(deadline, _MAX_BYTES)
        wire.send(f"{head}{lines}\r\n".encode() + body)
        return _read_answer(wire, method)
    finally:
        wire.close()


def _read_answer(wire: Wire, method: str) -> HttpAnswer:
    response = http.client.HTTPResponse(cast(Any, _AsSocket(wire)), method=method)
    try:
        response.begin()
        body = response.read(MAX_BODY + 1)
    except (http.client.HTTPException, ValueError) as error:
        raise NoHttp(f"The answer is not HTTP ({type(error).__name__}).") from None
    finally:
        response.close()
    if len(body) > MAX_BODY:
        raise NoHttp(f"The answer is longer than {MAX_BODY} bytes.")
    return HttpAnswer(response.status, body)


class _AsSocket:
    """As much of a socket as `HTTPResponse` asks of one."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._wire))


class _Incoming(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._wire.read_some(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)
