"""The dialer: which addresses are reached, and how TLS is checked."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import pytest

from dovecot import Authority, DovecotServer
from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_core.net import (
    LOOPBACK,
    Address,
    AddressRefused,
    ConnectionFailed,
    Deadline,
    DeadlinePassed,
    Dialer,
    NameNotFound,
    TlsFailed,
    is_public,
)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::8.8.8.8"])
def test_public_addresses(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("host", ["inside.test", "127.0.0.1", "[::1]"])
def test_private_addresses_are_refused_before_any_connection(host: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0)
    dialer = Dialer(ZoneResolver({"inside.test": {"a": ["127.0.0.1"], "aaaa": ["::1"]}}))
    with pytest.raises(AddressRefused), listener:
        dialer.connect(host, listener.getsockname()[1], Deadline(2))
    listener.close()


def test_the_name_is_resolved_once_and_the_vetted_address_is_dialed() -> None:
    class Rebinding:
        asked = 0

        def addresses(self, host: str) -> Sequence[Address]:
            self.asked += 1
            return [ip_address("10.9.9.9"), ip_address("127.0.0.1")]

    resolver = Rebinding()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialed = Dialer(resolver, allowed=LOOPBACK).connect(
            "mixed.test", listener.getsockname()[1], Deadline(2)
        )
        peer = dialed.sock.getpeername()[0]
        dialed.sock.close()
    assert (resolver.asked, str(dialed.address), peer) == (1, "127.0.0.1", "127.0.0.1")


def test_localhost_is_this_machine_without_a_question_to_the_dns() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialed = Dialer(ZoneResolver({}), allowed=LOOPBACK).connect(
            "LocalHost.", listener.getsockname()[1], Deadline(2)
        )
        dialed.sock.close()
    assert str(dialed.address) == "127.0.0.1"


def test_without_encryption_only_loopback_is_reached() -> None:
    dialer = Dialer(ZoneResolver({"far.test": {"a": ["8.8.8.8"]}}), allowed=LOOPBACK)
    with pytest.raises(ConnectionFailed) as caught:
        dialer.connect("far.test", 143, Deadline(2), plaintext_secrets=True)
    assert caught.value.code == "plaintext_refused"


def test_unknown_names_and_closed_ports_say_so(dialer: Dialer) -> None:
    with pytest.raises(NameNotFound):
        dialer.connect("nowhere.test", 25, Deadline(2))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed) as caught:
        dialer.connect("127.0.0.1", port, Deadline(2))
    assert (caught.value.stage, caught.value.permanent) == ("connect", False)


@pytest.mark.parametrize("problem", ["wrong authority", "wrong name", "system authorities"])
def test_certificates_are_verified(dovecot: DovecotServer, problem: str) -> None:
    zone = {"mail.test": {"a": ["127.0.0.1"]}, "other.test": {"a": ["127.0.0.1"]}}
    dialer = Dialer(ZoneResolver(zone), allowed=LOOPBACK)
    host = "other.test" if problem == "wrong name" else "mail.test"
    authorities = {
        "wrong authority": Authority("another CA").pem,
        "wrong name": dovecot.ca_pem,
        "system authorities": None,
    }
    dialed = dialer.connect(host, dovecot.imaps_port, Deadline(5))
    with pytest.raises(TlsFailed) as caught:
        dialer.start_tls(dialed, Deadline(5), ca_pem=authorities[problem])
    assert (caught.value.code, caught.value.permanent) == ("tls_certificate", True)


def test_a_tls_session_is_taken_up_again_where_its_certificate_was_verified(
    dovecot: DovecotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = {name: {"a": ["127.0.0.1"]} for name in ("mail.test", "other.test")}
    dialer = Dialer(ZoneResolver(zone), allowed=LOOPBACK)

    def is_resumed(host: str = "mail.test", ca_pem: str | None = dovecot.ca_pem) -> bool | None:
        dialed = dialer.connect(host, dovecot.imaps_port, Deadline(5))
        with dialer.start_tls(dialed, Deadline(5), ca_pem=ca_pem) as sock:
            assert sock.recv(1)  # the server's tickets come before what it says
            dialer.remember(dialed, sock, ca_pem=ca_pem)
            return sock.session_reused

    assert [is_resumed() for _ in range(3)] == [False, True, True]
    for host, ca_pem in (
        ("other.test", dovecot.ca_pem),
        ("mail.test", Authority("another CA").pem),
        ("mail.test", None),
    ):
        with pytest.raises(TlsFailed) as caught:
            is_resumed(host, ca_pem)
        assert caught.value.code == "tls_certificate"
    assert is_resumed()
    monkeypatch.setattr("mailhearth_core.net.RESUMED_S", -1.0)
    assert not is_resumed()
    monkeypatch.undo()
    assert is_resumed()


def test_a_handshake_that_drags_on_ends_at_the_deadline(
    dialer: Dialer, scripted: Callable[..., object]
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"\x16\x03\x03\x00\x7a\x02" + b"\0" * 200:
            connection.sendall(bytes([byte]))
            if connection_closed(connection, 0.05):
                return

    server = scripted(drip)
    dialed = dialer.connect("127.0.0.1", server.port, Deadline(2))  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(DeadlinePassed):
        dialer.start_tls(dialed, Deadline(0.4))
    assert time.monotonic() - began < 3


def connection_closed(connection: socket.socket, wait_s: float) -> bool:
    """Waits up to `wait_s` for the client to close; its data is thrown away."""
    connection.settimeout(wait_s)
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
