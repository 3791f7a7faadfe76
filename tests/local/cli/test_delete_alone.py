"""`workspace delete` where nothing runs: a worker of its own takes the mail away first."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
from imapclient import IMAPClient

from mailhearth_local.services.attach import attach

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]
Post = Any
RAW = "From: {sender}\r\nMessage-ID: {id}\r\nSubject: Lunch\r\n\r\nAt noon?\r\n"
RECEIVED = """
INSERT INTO inbound (workspace_id, mailbox_id, day, pair_id, state, correlation_id, peer_ref,
  sender_address, message_id, subject, seed, library, thread_id, turn, due_at, sent_at, observed_at,
  placement, folder)
SELECT workspace_id, id, '2026-03-02', uuid7(), 'observed', uuid7(), 'p', 'peer@x.test',
  '<ours@x.test>', 'Lunch', 1, 'builtin/1', uuid7(), 0, created_at, created_at, created_at, 'inbox',
  'INBOX' FROM mailboxes
"""


def test_the_mail_is_taken_out_and_what_cannot_be_reached_holds_nothing_up(
    alone: Path, post: Post
) -> None:
    """One mailbox works, the other's password is wrong; both have a message of ours."""
    user = post.users[0]
    servers = dict(zip(post.servers[::2], post.servers[1::2], strict=True))
    context = ssl.create_default_context(cafile=servers["--ca"])
    port = int(servers["--imap"].rpartition(":")[2])
    environ = {"PATH": os.environ["PATH"], "HOME": str(alone), "MAILHEARTH_DATA": str(alone)}
    with IMAPClient("127.0.0.1", port, ssl=True, ssl_context=context) as client:
        client.login(user.address, user.password.reveal())
        for message_id, sender in (
            ("<ours@x.test>", "peer@x.test"),
            ("<ours@x.test>", "forger@y.test"),
            ("<theirs@y.test>", "friend@y.test"),
        ):
            client.append("INBOX", RAW.format(id=message_id, sender=sender).encode())
        with attach(alone, environ) as attached:
            postgres = attached.stack.postgres
            assert postgres is not None
            url = postgres.superuser_url.reveal().rpartition("/")[0] + "/mailhearth"
            with psycopg.connect(url, options="-c search_path=mailhearth") as conn:
                conn.execute("UPDATE mailboxes SET connected_at = created_at")
                conn.execute(RECEIVED)
        done = subprocess.run(
            [*PROGRAM, "workspace", "delete", "acme", "--yes"],
            capture_output=True, text=True, env=environ, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "is deleted, its keys too" in done.stdout
        client.select_folder("INBOX", readonly=True)
        left = client.fetch(client.search("ALL"), ["BODY.PEEK[HEADER.FIELDS (FROM)]"])
    senders = b"".join(item[b"BODY[HEADER.FIELDS (FROM)]"] for item in left.values())
    assert b"peer@x.test" not in senders
    assert b"forger@y.test" in senders
    assert b"friend@y.test" in senders
    assert list((alone / "keys").rglob("1")) == []
