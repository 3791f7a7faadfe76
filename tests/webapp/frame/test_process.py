"""`python -m mailhearth_web` as a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest

from dovecot import Authority
from mailhearth_local.services.environment import web_environment
from mailhearth_web.frame.headers import SECURITY_HEADERS
from mailhearth_web.frame.session import COOKIE, LOCAL_COOKIE
from waiting import wait_for
from web import Web


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One web process with the environment that `up` gives it."""

    def __init__(self, web: Web, log: Path, **settings: str) -> None:
        self.port, self.probe_port = free_port(), free_port()
        self.log = log
        environ = web_environment(
            {"MAILHEARTH_STOP_SECONDS": "5"},
            environment="development",
            database_url=web.settings.database_url,
            admin_database_url=web.settings.admin_database_url,
            redis_url=web.settings.redis_url,
            port=self.probe_port,
            web_port=self.port,
            local_sign_in=True,
        )
        environ |= settings
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mailhearth_web"], env=environ, stderr=stream
            )

    def get(self, path: str, port: int | None = None) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/readyz", self.probe_port)[0] == 200
        except OSError:
            return False

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def running(web: Web, log: Path, **settings: str) -> Iterator[Process]:
    process = Process(web, log, **settings)
    try:
        wait_for(process.is_ready, 60)
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@contextmanager
def live_page(web: Web, process: Process) -> Iterator[BinaryIO]:
    """An open stream of events, as bytes."""
    cookie = web.browser(web.person()).get_cookie(COOKIE, domain="dash.test")
    assert cookie is not None
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as connection:
        host = f"127.0.0.1:{process.port}"
        connection.sendall(
            f"GET /events HTTP/1.1\r\nHost: {host}\r\n"
            f"Cookie: {LOCAL_COOKIE}-{process.port}={cookie.value}\r\n\r\n".encode()
        )
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 200 ")
            while not stream.readline().startswith(b"retry:"):
                pass
            yield stream


def test_it_serves_is_ready_and_stops_in_time(web: Web, tmp_path: Path) -> None:
    with running(web, tmp_path / "log") as process:
        status, headers, _ = process.get("/")
        assert status == 303
        assert headers["Location"].startswith("/sign-in?")
        status, headers, _ = process.get("/sign-in")
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        for name, value in SECURITY_HEADERS:
            assert headers.get_all(name) == [value], name
        assert "Server" not in headers
        for path in ("/healthz", "/readyz"):
            assert process.get(path)[0] == 200
            assert process.get(path, process.probe_port)[0] == 200
        _, _, metrics = process.get("/metrics", process.probe_port)
        assert 'mailhearth_web_requests_total{method="GET",route="/sign-in",status="200"} 1.0' in (
            metrics
        )
        assert process.get("/metrics")[0] == 404  # not where people come
        # None of these holds the end up: a live page, a kept-alive connection, a silent one.
        with (
            live_page(web, process) as live,
            socket.create_connection(("127.0.0.1", process.port)) as idle,
            socket.create_connection(("127.0.0.1", process.port)),
        ):
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(timeout=20) == 0
            assert live.read().endswith(b"0\r\n\r\n")  # ended, not cut off
        lines = process.lines()
        assert {line["process"] for line in lines} == {"web"}
        assert [lines[0]["event"], lines[-1]["event"]] == ["web_started", "web_stopped"]
        asked = [line for line in lines if line["event"] == "request"]
        assert [line["route"] for line in asked] == ["/", "/sign-in", "", "/events"]
        assert asked[1]["request_id"] == headers["X-Request-ID"]


def test_it_serves_tls_and_takes_a_renewed_certificate_up(web: Web, tmp_path: Path) -> None:
    first, second = Authority(), Authority()
    certificate, key = first.issue(tmp_path, ["localhost"])
    files = {
        "MAILHEARTH_WEB_TLS_CERTIFICATE": str(certificate),
        "MAILHEARTH_WEB_TLS_KEY": str(key),
    }
    with running(web, tmp_path / "log", **files) as process:

        def status(trusted: Authority) -> int:
            context = ssl.create_default_context(cadata=trusted.pem)
            connection = http.client.HTTPSConnection(
                "localhost", process.port, timeout=10, context=context
            )
            with contextlib.closing(connection):
                connection.request("GET", "/healthz")
                return connection.getresponse().status

        assert status(first) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            status(second)
        with socket.create_connection(("127.0.0.1", process.port), timeout=10) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in plain.recv(65536)
        second.issue(tmp_path, ["localhost"])
        assert status(second) == 200
    key.write_text("nothing")
    broken = Process(web, tmp_path / "log2", **files)
    assert broken.process.wait(60) == 1
    assert "no certificate with its key" in (tmp_path / "log2").read_text()


def test_what_is_no_http_gets_the_headers_too(web: Web, tmp_path: Path) -> None:
    with running(web, tmp_path / "log") as process:
        for bad in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", process.port), timeout=10) as connection:
                connection.sendall(bad)
                response = http.client.HTTPResponse(connection)
                response.begin()
                assert response.status == 400
                for name, value in SECURITY_HEADERS:
                    assert response.headers.get_all(name) == [value], name
                assert response.headers["X-Request-ID"]
                assert "Server" not in response.headers


def test_wrong_settings_are_told_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mailhearth_web"],
        env={"PATH": os.defpath, "MAILHEARTH_PUBLIC_URL": "http://mail.example.org"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    for variable in ("DATABASE_URL", "REDIS_URL", "PUBLIC_URL"):
        assert f"MAILHEARTH_{variable}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said_and_ends_the_process(web: Web) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environ = web_environment(
            {},
            environment="development",
            database_url=web.settings.database_url,
            admin_database_url=web.settings.admin_database_url,
            redis_url=web.settings.redis_url,
            port=0,
            web_port=taken.getsockname()[1],
            local_sign_in=False,
        )
        done = subprocess.run(
            [sys.executable, "-m", "mailhearth_web"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "web_failed"


def test_its_settings_never_show_a_secret(web: Web) -> None:
    for name in ("database_url", "admin_database_url", "redis_url"):
        password = urlsplit(getattr(web.settings, name).reveal()).password
        assert password
        assert password not in repr(web.settings)
        assert password not in repr(web.services)
