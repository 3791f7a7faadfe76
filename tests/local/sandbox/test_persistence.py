"""What the sandbox has taken, it keeps: across kill -9, restarts, and under concurrent senders."""

from __future__ import annotations

import os
import signal
import smtplib
import threading
from pathlib import Path
from typing import Any

import pytest

from mailhearth_core.errors import InvalidValue, NotFound
from mailhearth_local.embedded.process import ServiceFailed
from mailhearth_local.sandbox.accounts import parse
from mailhearth_local.sandbox.scan import scan
from mailhearth_local.sandbox.service import MailSandbox


def view(post: Any, user: Any) -> dict[str, Any]:
    """All a client can see of a mailbox."""
    seen: dict[str, Any] = {}
    with post.imap(user) as imap:
        for _, _, name in imap.list_folders():
            status = imap.select_folder(name, readonly=True)
            messages = imap.fetch(imap.search(), ["FLAGS", "INTERNALDATE", "BODY.PEEK[]"])
            seen[name] = (
                status[b"UIDVALIDITY"],
                status[b"UIDNEXT"],
                {
                    uid: (
                        set(m[b"FLAGS"]) - {b"\\Recent"},
                        m[b"INTERNALDATE"],
                        m[b"BODY[]"],
                    )
                    for uid, m in messages.items()
                },
            )
    return seen


def test_a_killed_sandbox_comes_back_with_everything(post: Any) -> None:
    sender, reader = post.user("harbour.test"), post.user("meadow.test")
    post.send(sender, reader, range(12))
    with post.imap(reader) as imap:
        imap.create_folder("Mailhearth")
        imap.select_folder("INBOX")
        uids = imap.search()
        imap.add_flags(uids[:2], ["\\Seen", "\\Answered", "$Word"])
        imap.move(uids[2:3], "Mailhearth")
        imap.delete_messages(uids[3:4])
        imap.uid_expunge(uids[3:4])
    before, info = view(post, reader), post.sandbox.info
    os.kill(info.pid, signal.SIGKILL)
    again = post.sandbox.ensure_started()
    assert again.pid != info.pid
    assert (again.imap_port, again.smtp_port, again.smtps_port, again.ca_file) == (
        *(info.imap_port, info.smtp_port, info.smtps_port),
        info.ca_file,
    )
    assert view(post, reader) == before
    post.send(sender, reader, range(12, 13))
    after = view(post, reader)
    for name, (validity, next_uid, messages) in before.items():
        assert after[name][0] == validity
        assert set(after[name][2]) - set(messages) <= {next_uid}


def test_what_was_acknowledged_before_a_kill_is_there_once(post: Any) -> None:
    sender, reader = post.user("harbour.test"), post.user("summit.test")
    acknowledged: list[str] = []
    enough = threading.Event()

    def keep_sending() -> None:
        try:
            with post.smtp(sender) as client:
                for number in range(100_000):
                    client.sendmail(
                        sender.address,
                        [reader.address],
                        f"Message-ID: <{number}@kill.test>\r\n\r\nx\r\n".encode(),
                    )
                    acknowledged.append(f"<{number}@kill.test>")
                    if number == 40:
                        enough.set()
        except (smtplib.SMTPException, OSError):
            return  # the kill

    thread = threading.Thread(target=keep_sending)
    thread.start()
    assert enough.wait(30)
    os.kill(post.sandbox.info.pid, signal.SIGKILL)
    thread.join(30)
    assert not thread.is_alive()
    found = [message_id for _, _, message_id in scan(post.data)]
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 1, "at most the one whose 250 was lost"
    post.sandbox.ensure_started()


def test_senders_side_by_side_lose_and_double_nothing(post: Any) -> None:
    reader = post.user("summit.test")
    senders = [user for user in post.users if user != reader][:6]
    threads = [
        threading.Thread(target=post.send, args=(sender, reader, range(20))) for sender in senders
    ]
    for thread in threads:
        thread.start()
    running = len(list(scan(post.data)))
    for thread in threads:
        thread.join(60)
    found = sorted(message_id for _, _, message_id in scan(post.data))
    assert running <= len(found)
    assert found == sorted(f"<{n}.{sender.address}>" for sender in senders for n in range(20))


def test_a_second_sandbox_on_the_same_folder_is_refused(post: Any) -> None:
    second = MailSandbox(post.data)
    with pytest.raises(ServiceFailed, match="in use by another"):
        second.ensure_started()
    assert post.sandbox.is_alive()
    with post.imap(post.user("harbour.test")) as imap:
        imap.noop()


def test_a_folder_without_a_sandbox_cannot_be_scanned(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(scan(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"users": [{"address": "a@b.test"}]}',
        '{"users": [{"address": "nowhere", "password": "pw-in-clear"}]}',
        '{"users": [], "domains": {"a.test": "kind"}}',
    ],
)
def test_a_bad_users_file_is_named_without_its_passwords(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(text)
    assert "pw-in-clear" not in str(caught.value)
