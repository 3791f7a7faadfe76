"""Mail through the sandbox's real ports: who may send, where it goes, what IMAP can do with it."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import stat
from collections import Counter
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from mailhearth_core.mail.dns import MxHost, ZoneResolver
from mailhearth_local.sandbox.accounts import DemoUser, write_users
from mailhearth_local.sandbox.arrivals import Arrivals
from mailhearth_local.sandbox.demo import demo_users
from mailhearth_local.sandbox.scan import placements, scan
from mailhearth_local.sandbox.store import MailStore

# `post` is the fixture of conftest.py.


@pytest.mark.parametrize("implicit", [False, True])
def test_a_letter_arrives_unchanged_with_its_trace(
    post: Any, write_letter: Callable[[DemoUser, DemoUser, int], EmailMessage], implicit: bool
) -> None:
    sender, recipient = post.user("harbour.test"), post.user("harbour.test", 1)
    message = write_letter(sender, recipient, 1)
    with post.smtp(sender, implicit=implicit) as client:
        client.send_message(message)
    [(address, folder, message_id)] = scan(post.data)
    assert (address, message_id) == (recipient.address, message["Message-ID"])
    with post.imap(recipient) as imap:
        imap.select_folder(folder, readonly=True)
        raw = imap.fetch([1], ["BODY.PEEK[]"])[1][b"BODY[]"]
    head, _, rest = raw.partition(b"From: ")
    assert head.startswith(f"Return-Path: <{sender.address}>\r\nReceived: from ".encode())
    assert f"for <{recipient.address}>; ".encode() in head
    assert b"From: " + rest == message.as_bytes().replace(b"\n", b"\r\n")


def test_every_refusal_has_its_own_reply(post: Any) -> None:
    sender, other = post.user("harbour.test"), post.user("meadow.test")
    info = post.sandbox.info
    with smtplib.SMTP("localhost", info.smtp_port) as client:
        client.ehlo()
        assert not client.has_extn("auth"), "no password before TLS"
        client.starttls(context=post.tls())
        client.ehlo()
        assert client.mail(sender.address) == (530, b"5.7.0 Authentication required")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(sender.address, "wrong")
    with post.smtp(sender) as client:
        assert client.mail(other.address)[0] == 553
        client.rset()
        client.mail(sender.address)
        assert client.rcpt("nobody@meadow.test") == (550, b"5.1.1 No such mailbox here")
        code, text = client.rcpt("someone@example.com")
        assert (code, text[:5]) == (550, b"5.7.1")
        assert client.rcpt(other.address.upper())[0] == 250
    with pytest.raises(ssl.SSLCertVerificationError):
        IMAPClient("localhost", info.imap_port, ssl_context=ssl.create_default_context())
    imap = IMAPClient("localhost", info.imap_port, ssl_context=post.tls())
    with imap, pytest.raises(LoginError):
        imap.login(sender.address, other.password.reveal())
    assert list(scan(post.data)) == []


def test_one_message_to_many_is_stored_once_for_each(post: Any) -> None:
    sender = post.user("harbour.test")
    others = [user for user in post.users if user != sender]
    with post.smtp(sender) as client:
        client.sendmail(
            sender.address,
            [user.address for user in others] * 2,
            b"Message-ID: <many@harbour.test>\r\n\r\nHello\r\n",
        )
    found = Counter(address for address, _, _ in scan(post.data))
    assert found == Counter({user.address: 1 for user in others})


def test_folders_flags_moves_and_expunges(post: Any) -> None:
    sender, reader = post.user("harbour.test"), post.user("harbour.test", 1)
    with post.imap(reader) as imap:
        special = {name: flags for flags, _, name in imap.list_folders()}
        assert b"\\Junk" in special["Junk"]
        assert b"\\Sent" in special["Sent"]
        imap.select_folder("INBOX")
        imap.append("INBOX", b"Message-ID: <a@x.test>\r\nSubject: one\r\n\r\n1\r\n", ["\\Flagged"])
        imap.append("INBOX", b"Message-ID: <b@x.test>\r\nSubject: two\r\n\r\n2\r\n")
        assert imap.search(["HEADER", "Message-ID", "<b@x.test>"]) == [2]
        assert imap.search(["UNFLAGGED"]) == [2]
        imap.add_flags([1], ["\\Seen", "$Kept"])
        imap.create_folder("Mailhearth")
        imap.move([1], "Mailhearth")
        imap.copy([2], "Mailhearth")
        imap.delete_messages([2])
        imap.uid_expunge([2])
        assert imap.search() == []
        imap.select_folder("Mailhearth")
        flags = imap.get_flags([1, 2])
        assert {b"\\Flagged", b"\\Seen", b"$Kept"} <= set(flags[1])
        assert b"$Kept" not in flags[2]
        imap.select_folder("INBOX")
        imap.rename_folder("Mailhearth", "Kept/Here")
        assert imap.folder_status("Kept/Here", ["MESSAGES", "UIDNEXT"]) == {
            b"MESSAGES": 2,
            b"UIDNEXT": 3,
        }
        before = imap.folder_status("Kept/Here", ["UIDVALIDITY"])[b"UIDVALIDITY"]
        imap.delete_folder("Kept/Here")
        imap.create_folder("Kept/Here")
        after = imap.folder_status("Kept/Here", ["UIDVALIDITY"])[b"UIDVALIDITY"]
        assert after > before, "a folder made anew must not look like the old one"
    assert [row for row in scan(post.data) if row[0] != sender.address] == []


def test_an_idle_session_hears_of_a_delivery(post: Any) -> None:
    sender, reader = post.user("meadow.test"), post.user("harbour.test")
    with post.imap(reader) as inbox, post.imap(reader) as junk:
        for client, folder in ((inbox, "INBOX"), (junk, "Junk")):
            client.select_folder(folder)
            client.idle()
        post.send(sender, reader, range(1))
        [(_, folder, _)] = scan(post.data)
        client = inbox if folder == "INBOX" else junk
        told = client.idle_check(timeout=10)
        assert (1, b"EXISTS") in told
        for each in (inbox, junk):
            each.idle_done()


def test_rescue_reading_and_replies_earn_a_sender_its_place(post: Any) -> None:
    sender, reader = post.user("meadow.test"), post.user("summit.test")
    post.send(sender, reader, range(4))
    post.send(sender, reader, range(4, 60))  # a burst nobody opens: mostly junk
    burst = [junked for _, _, _, junked in placements(post.data)]
    assert sum(burst[4:]) > 40
    with post.imap(reader) as imap:
        imap.select_folder("Junk")
        half = imap.search()
        imap.move(half[::2], "INBOX")
        imap.copy(half[1::2], "INBOX")
        imap.delete_messages(half[1::2])
        imap.uid_expunge(half[1::2])
        imap.select_folder("INBOX")
        imap.add_flags(imap.search(), ["\\Seen"])
    post.send(sender, reader, range(60, 100))
    later = [junked for _, _, _, junked in placements(post.data)][60:]
    assert sum(later) <= 6, "the same domain now trusts the sender"
    stranger = post.user("meadow.test", 1)
    post.send(stranger, reader, range(60))
    others = [j for _, who, _, j in placements(post.data) if who == stranger.address]
    assert sum(others) > 20, "but not its neighbour"


def test_a_complaint_costs_trust_and_a_reply_earns_it(post: Any) -> None:
    sender, reader = post.user("harbour.test"), post.user("harbour.test", 1)
    post.send(sender, reader, range(1))
    reply = EmailMessage()
    reply["From"], reply["To"] = reader.address, sender.address
    reply["Message-ID"] = "<reply@harbour.test>"
    reply["In-Reply-To"] = f"<0.{sender.address}>"
    with post.smtp(reader) as client:
        client.send_message(reply)
    with post.imap(sender) as imap:
        [folder] = [f for a, f, _ in scan(post.data) if a == sender.address]
        imap.select_folder(folder)
        imap.create_folder("Archive")
        imap.move([1], "Archive")
        imap.select_folder("Archive")
        imap.move([1], "Junk")
    store = MailStore(post.data)
    try:
        arrivals = Arrivals(store)
        assert arrivals.evidence("harbour.test", sender.address).replied == 1
        assert arrivals.evidence("harbour.test", reader.address).complained == 1
    finally:
        store.close()


def test_the_zone_leads_to_the_smtp_port_under_a_name_the_certificate_has(post: Any) -> None:
    info = post.sandbox.info
    resolver = ZoneResolver.from_file(Path(info.zone_file))
    for domain in info.domains:
        [exchanger] = resolver.mx(domain)
        assert exchanger == MxHost(10, f"mx.{domain}", info.smtp_port)
        [address] = resolver.addresses(exchanger.host)
        with socket.create_connection((str(address), info.imap_port)) as plain:
            context = post.tls()
            with context.wrap_socket(plain, server_hostname=f"imap.{domain}") as tls:
                assert tls.recv(100).startswith(b"* OK")


def test_users_may_come_and_go_while_it_runs(post: Any) -> None:
    sender = post.user("harbour.test")
    newcomer = DemoUser("new.one@lake.test", demo_users()[0].password)
    write_users(post.data, [*post.users, newcomer], {"lake.test": "strict"})
    post.send(sender, newcomer, range(1))
    with post.imap(newcomer) as imap:
        assert imap.folder_status("INBOX", ["UIDVALIDITY"])
    (post.data / "users.json").write_text("{")  # a slip while editing: the last good one holds
    post.send(sender, newcomer, range(1, 2))
    write_users(post.data, post.users)
    with post.smtp(sender) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail(sender.address, [newcomer.address], b"\r\n")


def test_nothing_secret_is_open_to_others_or_named_where_it_need_not_be(post: Any) -> None:
    post.send(post.user("harbour.test"), post.user("meadow.test"), range(1))
    passwords = [user.password.reveal() for user in post.users]
    for path in post.data.rglob("*"):
        if path.name in ("users.json", "ca.key", "server.key"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        elif path.is_file():
            content = path.read_bytes()
            assert not any(password.encode() in content for password in passwords)
    assert all(password not in repr(post.users) for password in passwords)
    assert json.loads((post.data / "sandbox.json").read_text())["users"] == sorted(
        user.address for user in post.users
    )
