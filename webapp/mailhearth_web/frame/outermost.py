"""The outermost layer: what happens to a request before Flask sees it, and to each response after.

It gives the request its id, believes forwarded headers of configured proxies only, answers allowed
hosts only, puts the security headers on every response and writes the access line.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import structlog

from mailhearth_core import logs
from mailhearth_core.metrics import Metrics
from mailhearth_core.settings import is_loopback
from mailhearth_web.frame.headers import complete
from mailhearth_web.settings import WebSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

REQUEST_ID = "mailhearth.request_id"
ABOUT = "mailhearth.about"
"""Key of the environ: a dict in which the application writes what the access line shows."""
PROBES = ("/healthz", "/readyz")
"""Asked by orchestrators at the pod's own address: they say nothing of anybody, to any host."""
_GIVEN_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}")
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST",
              "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_PORT", "HTTP_FORWARDED",
              "HTTP_X_REAL_IP", "HTTP_X_REQUEST_ID")  # fmt: skip


class Outermost:
    """Wraps a WSGI application."""

    def __init__(self, app: WSGIApplication, settings: WebSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._hosts = allowed_hosts(settings)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        forwarded = self._take_forwarded(environ)
        request_id = forwarded.get("HTTP_X_REQUEST_ID", "")
        if not _GIVEN_ID.fullmatch(request_id):
            request_id = uuid4().hex
        about: dict[str, Any] = {}
        environ[REQUEST_ID] = request_id
        environ[ABOUT] = about
        environ["wsgi.url_scheme"] = "https" if self._settings.is_https else "http"
        sent: dict[str, Any] = {"status": 0}

        def start_complete(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            sent["status"] = int(status[:3])
            return start(status, complete(headers, request_id), exc_info)

        with logs.bound(request_id=request_id):
            body = self._answer(environ, start_complete, forwarded)
        return _Watched(body, lambda size: self._line(environ, about, sent["status"], began, size))

    def _answer(
        self, environ: WSGIEnvironment, start: StartResponse, forwarded: dict[str, str]
    ) -> Iterable[bytes]:
        if environ.get("PATH_INFO") not in PROBES:
            if environ.get("HTTP_HOST", "").lower() not in self._hosts:
                return _plain(start, "421 Misdirected Request", "This host is not served here.")
            scheme = forwarded.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip()
            if self._settings.is_https and scheme == "http":
                return self._to_https(environ, start)
        return self._app(environ, start)

    def _to_https(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """By the configured address, whatever the request says; nothing sent in clear is used."""
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _plain(start, "403 Forbidden", "Use https.")
        path = environ.get("RAW_URI") or environ.get("PATH_INFO", "/")
        target = self._settings.public_url + "/" + _ascii(str(path)).lstrip("/")
        return _plain(start, "308 Permanent Redirect", "Use https.", ("Location", target))

    def _take_forwarded(self, environ: WSGIEnvironment) -> dict[str, str]:
        """Removes every forwarding header; returns them, and believes them, if a proxy of ours
        sent them: then `REMOTE_ADDR` is the last address in X-Forwarded-For that is none of ours.
        """
        given = {name: str(environ.pop(name)) for name in _FORWARDED if name in environ}
        if not is_within(environ.get("REMOTE_ADDR", ""), self._settings.trusted_proxies):
            return {}
        chain = [part.strip() for part in given.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        for address in reversed([part for part in chain if part]):
            try:
                environ["REMOTE_ADDR"] = str(ip_address(address))
            except ValueError:
                break
            if not is_within(address, self._settings.trusted_proxies):
                break
        return given

    def _line(
        self, environ: WSGIEnvironment, about: dict[str, Any], status: int, began: float, size: int
    ) -> None:
        seconds = time.perf_counter() - began
        route = about.get("route", "")
        method = environ.get("REQUEST_METHOD", "")
        if method not in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            method = "other"
        self._metrics.web_requests.labels(
            route=route or "none", method=method, status=str(status)
        ).inc()
        if not about.get("stream"):
            self._metrics.web_seconds.observe(seconds)
        if environ.get("PATH_INFO") in PROBES and status < 400:
            return
        log.info(
            "request",
            request_id=environ[REQUEST_ID],
            method=method,
            # The route, not the path: an address may hold an invitation's or a sign-in's token.
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            bytes=size,
            ip=environ.get("REMOTE_ADDR", ""),
            **{key: value for key, value in about.items() if key not in ("route", "stream")},
        )


class _Watched:
    """A response body that tells its size when it was sent, or broken off."""

    def __init__(self, body: Iterable[bytes], done: Callable[[int], None]) -> None:
        self._body = body
        self._done: Callable[[int], None] | None = done
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._size += len(chunk)
            yield chunk

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            done, self._done = self._done, None
            if done is not None:
                done(self._size)


def allowed_hosts(settings: WebSettings) -> frozenset[str]:
    """Values of `Host` that are answered, in lower case. For a local address all its names."""
    hosts = {settings.public_host, *settings.allowed_hosts}
    url = urlsplit(settings.public_url)
    if is_loopback(url.hostname):
        port = f":{url.port}" if url.port else ""
        hosts |= {f"{name}{port}" for name in ("localhost", "127.0.0.1", "[::1]")}
    return frozenset(hosts)


def is_within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip.version == network.version and ip in network for network in networks)


def _plain(
    start: StartResponse, status: str, text: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = (text + "\n").encode()
    start(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            *headers,
        ],
    )
    return [body]


def _ascii(text: str) -> str:
    return "".join(c for c in text if " " < c < "\x7f")
