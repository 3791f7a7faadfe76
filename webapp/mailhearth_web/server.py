"""The process `mailhearth web`: gunicorn's threaded worker around the application, alone.

One process with many threads. gunicorn's arbiter would only watch over its single worker, which the
supervisor or the orchestrator does already, by /healthz.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client import CollectorRegistry

from mailhearth_core import logs, metrics
from mailhearth_core.errors import MailhearthError
from mailhearth_web.app import create_app
from mailhearth_web.frame.headers import complete
from mailhearth_web.frame.readiness import Endpoint
from mailhearth_web.frame.services import make_services
from mailhearth_web.settings import WebSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = structlog.get_logger()

BACKLOG = 512
KEEPALIVE_SECONDS = 15
SLACK_SECONDS = 2.0
"""After the time to finish: then the process ends whatever hangs."""
IDLE_CONNECTIONS = 1_000
"""Kept alive without a request; they cost no thread."""


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's own lines by the road of all others; the access line is `Outermost`'s."""

    def setup(self, cfg: Config) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)


class _Response(wsgi.Response):  # type: ignore[misc]
    """Without the header `Server`: it tells nobody anything useful."""

    def default_headers(self) -> list[str]:
        lines: list[str] = super().default_headers()
        return [line for line in lines if not line.lower().startswith("server:")]


class _Application:
    """What gunicorn's worker asks for its WSGI application."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def wsgi(self) -> WSGIApplication:
        return self._app


class Server(ThreadWorker):  # type: ignore[misc]
    """One threaded server without an arbiter above it.

    Args:
        on_stop: called once when the stop signal arrives, so that open streams end.
    """

    def __init__(
        self,
        app: WSGIApplication,
        listener: socket.socket,
        cfg: Config,
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(0, 0, [listener], _Application(app), cfg.timeout, cfg, _Log(cfg))
        wsgi.Response = _Response  # gunicorn has no setting for it
        self._on_stop = on_stop
        self._deadline_s = cfg.graceful_timeout + SLACK_SECONDS

    def is_parent_alive(self) -> bool:
        return True  # whoever started this process ends it by a signal

    def notify(self) -> None:
        """There is no arbiter to tell."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGINT, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: no new connections; what is in hand finishes, streams end."""
        if self.alive:
            timer = threading.Timer(self._deadline_s, _give_up)
            timer.daemon = True
            timer.start()
            self._on_stop()
        super().handle_exit(sig, frame)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """What is no HTTP gets a plain answer with the headers of all others."""
        request_id = uuid4().hex
        log.warning(
            "request_unreadable",
            request_id=request_id,
            reason=type(exc).__name__,
            ip=addr[0] if addr else "",
        )
        body = b"This is no request that this server understands.\n"
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in complete(headers, request_id))
        try:
            client.sendall(f"HTTP/1.1 400 Bad Request\r\n{head}\r\n".encode("latin-1") + body)
        except OSError:
            log.debug("client_gone", request_id=request_id)


def _give_up() -> None:
    log.error("stop_deadline_passed")
    os._exit(1)


def configuration(settings: WebSettings) -> Config:
    cfg = Config()
    for name, value in {
        "worker_class": "gthread",
        "threads": settings.threads,
        "worker_connections": settings.threads + IDLE_CONNECTIONS,
        "keepalive": KEEPALIVE_SECONDS,
        "graceful_timeout": settings.stop_seconds,
        "limit_request_line": 8190,
        "accesslog": None,
        # Forwarded headers are `Outermost`'s to judge.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
    }.items():
        cfg.set(name, value)
    if settings.web_tls_certificate and settings.web_tls_key:
        _check_pair(settings.web_tls_certificate, settings.web_tls_key)
        # Read anew for each connection: a renewed certificate is taken up by itself.
        cfg.set("certfile", str(settings.web_tls_certificate))
        cfg.set("keyfile", str(settings.web_tls_key))
        cfg.set("ssl_context", _context)
    return cfg


def _check_pair(certificate: Path, key: Path) -> None:
    """Raises MailhearthError: better now than at each connection."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise MailhearthError(
            f"{certificate} and {key} are no certificate with its key ({error}).",
            hint="See MAILHEARTH_WEB_TLS_CERTIFICATE and MAILHEARTH_WEB_TLS_KEY.",
            code="tls_unusable",
        ) from None


def _context(_: Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Certificate and key as gunicorn loads them; TLS 1.2 at least (RFC 9325)."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it; without it an answer in two parts waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def serve(settings: WebSettings) -> int:
    """Runs until a signal; 0 after a clean stop."""
    registry = CollectorRegistry()
    services = make_services(settings, metrics.Metrics(registry))
    cfg = configuration(settings)
    endpoint = Endpoint(services)
    listener = listen(settings.web_host, settings.web_port)
    probes = [
        metrics.serve(port, registry, list, endpoint.reasons_not_ready, settings.listen_host)
        for port in dict.fromkeys((settings.metrics_port, settings.health_port))
    ]
    app = create_app(settings, services)
    server = Server(app, listener, cfg, services.stopping.set)
    log.info("web_started", url=settings.public_url, port=listener.getsockname()[1])
    try:
        server.init_process()  # ends at a signal
    finally:
        services.close()
        for probe in probes:
            probe.close()
    log.info("web_stopped")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. 0 after a clean stop, 1 when it could not work, 2 for wrong settings."""
    argparse.ArgumentParser(prog="mailhearth web", description=__doc__).parse_args(arguments)
    try:
        settings = WebSettings.load()
    except MailhearthError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure("web", settings.log_level)
    try:
        return serve(settings)
    except (MailhearthError, OSError) as error:
        log.error("web_failed", reason=str(error))
        return 1
