"""A running sandbox with its twelve users, and the two kinds of client."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from imapclient import IMAPClient

from mailhearth_local.sandbox.accounts import DemoUser
from mailhearth_local.sandbox.demo import ensure_demo_users
from mailhearth_local.sandbox.service import MailSandbox


class Post:
    """A sandbox in `data`, driven through its ports only."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.users = ensure_demo_users(data)
        self.sandbox = MailSandbox(data)
        self.sandbox.ensure_started()

    def user(self, domain: str, number: int = 0) -> DemoUser:
        return [user for user in self.users if user.address.endswith(f"@{domain}")][number]

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.sandbox.info.ca_file)

    def smtp(self, user: DemoUser, *, implicit: bool = False) -> smtplib.SMTP:
        info = self.sandbox.info
        client: smtplib.SMTP
        if implicit:
            client = smtplib.SMTP_SSL("localhost", info.smtps_port, context=self.tls())
        else:
            client = smtplib.SMTP("localhost", info.smtp_port)
            client.starttls(context=self.tls())
        client.login(user.address, user.password.reveal())
        return client

    def imap(self, user: DemoUser) -> IMAPClient:
        client = IMAPClient("localhost", self.sandbox.info.imap_port, ssl_context=self.tls())
        client.login(user.address, user.password.reveal())
        return client

    def send(self, sender: DemoUser, recipient: DemoUser, numbers: range) -> None:
        with self.smtp(sender) as client:
            for number in numbers:
                client.send_message(letter(sender, recipient, number))


def letter(sender: DemoUser, recipient: DemoUser, number: int) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = sender.address, recipient.address
    message["Subject"] = f"Note {number}"
    message["Message-ID"] = f"<{number}.{sender.address}>"
    message.set_content(f"Line one of {number}\n.a dot begins this line\n")
    return message


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    running = Post(tmp_path / "sandbox")
    try:
        yield running
    finally:
        running.sandbox.stop()


@pytest.fixture
def write_letter() -> Callable[[DemoUser, DemoUser, int], EmailMessage]:
    return letter
