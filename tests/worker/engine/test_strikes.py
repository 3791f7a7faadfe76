"""What a refused sign-in costs, what does not count as one, and how a mailbox heals."""

from __future__ import annotations

import socket
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from database import ACTOR
from engine import MONDAY, Engine
from mailhearth_core.mail.model import Endpoint, Login
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import mailboxes as verbs
from mailhearth_local.sandbox.accounts import DemoUser, write_users

Team = tuple[UUID, list[UUID]]


def _change_password(engine: Engine, address: str, password: str) -> None:
    changed = [
        DemoUser(address, Secret(password)) if user.address == address else user
        for user in engine.users
    ]
    write_users(engine.post, changed)
    engine.runtime.sessions.close()


def test_a_wrong_password_is_struck_excluded_and_healed_by_connecting_again(
    engine: Engine, team: Team, signins: Counter[str]
) -> None:
    workspace, _ = team
    lost = engine.run_until_bound(MONDAY + timedelta(hours=9))
    mailbox, address = lost["mailbox_id"], engine.row(workspace, lost["mailbox_id"])["address"]
    _change_password(engine, address, "changed by the owner")

    engine.run_until(MONDAY + timedelta(hours=20))
    row = engine.row(workspace, mailbox)
    assert (row["state"], row["auth_failures"] >= 3) == ("needs_reauth", True)
    assert "password" in row["last_error"].lower() or "sign" in row["last_error"].lower()
    assert engine.one("SELECT state FROM outbound WHERE id = %s", lost["id"])["state"] in {
        "skipped",
        "cancelled",
    }
    # Others still write to it the next day, it writes to nobody.
    engine.run_until(MONDAY + timedelta(hours=42))
    today = "SELECT count(*) AS n FROM outbound WHERE state = 'sent' AND day = '2026-03-03' AND "
    assert engine.one(today + "peer_ref = %s", str(mailbox))["n"] > 0
    assert engine.one(today + "mailbox_id = %s", mailbox)["n"] == 0

    # The tenth strike ends all sign-ins, on both sides of the planning.
    engine.rows("UPDATE mailboxes SET auth_failures = 9 WHERE id = %s", mailbox)
    engine.run_until(MONDAY + timedelta(hours=54))
    assert engine.row(workspace, mailbox)["auth_failures"] == 10
    signins.clear()
    engine.run_until(MONDAY + timedelta(hours=92))
    assert signins[address] == 0
    assert engine.row(workspace, mailbox)["auth_failures"] == 10
    later = "SELECT count(*) AS n FROM outbound WHERE state = 'sent' AND day >= '2026-03-05' AND "
    assert engine.one(later + "peer_ref = %s", str(mailbox))["n"] == 0
    assert engine.one(later + "true")["n"] > 0

    spec = engine.spec(address, "changed by the owner")
    verbs.reconnect(
        engine.installation.door, workspace, engine.row(workspace, mailbox), spec, ACTOR
    )
    engine.settle_down()
    row = engine.row(workspace, mailbox)
    assert (row["state"], row["auth_failures"], row["last_error"]) == ("active", 0, "")
    assert signins[address] > 0
    engine.run_until(MONDAY + timedelta(hours=115))
    friday = "SELECT count(*) AS n FROM outbound WHERE state = 'sent' AND day = '2026-03-06' AND "
    assert engine.one(friday + "mailbox_id = %s", mailbox)["n"] > 0
    assert engine.one(friday + "peer_ref = %s", str(mailbox))["n"] > 0


def test_a_password_that_only_the_sending_server_refuses_is_found_out(
    engine: Engine, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signing in for reading goes well all the time; that must not wipe the strikes out."""
    workspace, _ = team
    lost = engine.run_until_bound(MONDAY + timedelta(hours=9))
    mailbox, address = lost["mailbox_id"], engine.row(workspace, lost["mailbox_id"])["address"]
    engine.runtime.sessions.close()
    real = SmtpSession.open.__func__  # type: ignore[attr-defined]

    def refusing(cls: Any, endpoint: Endpoint, login: Login, *rest: Any, **more: Any) -> Any:
        if login.username == address:
            login = Login(login.username, Secret("not this one"))
        return real(cls, endpoint, login, *rest, **more)

    monkeypatch.setattr(SmtpSession, "open", classmethod(refusing))
    # Something is always expected in it, so it is looked into again and again.
    for hours in (1, 2, 3, 4, 5, 6, 7):
        engine.ask_poll(workspace, mailbox, engine.now + timedelta(minutes=1))
        engine.run_until(lost["due_at"] + timedelta(hours=hours))
        if engine.row(workspace, mailbox)["state"] == "needs_reauth":
            break
    assert engine.row(workspace, mailbox)["state"] == "needs_reauth"


def test_a_key_that_is_not_mounted_is_no_strike(engine: Engine, team: Team) -> None:
    workspace, _ = team
    engine.run_until(MONDAY + timedelta(hours=9))
    engine.runtime.sessions.close()
    keys = engine.installation.folder / "keys" / str(workspace)
    aside = keys.with_name("aside")
    keys.rename(aside)
    engine.run_until(MONDAY + timedelta(hours=12))
    rows = engine.rows("SELECT state, auth_failures, last_error FROM mailboxes")
    assert {(row["state"], row["auth_failures"]) for row in rows} == {("active", 0)}
    assert any("key" in row["last_error"].lower() for row in rows)
    before = engine.arrivals().total()
    aside.rename(keys)
    engine.run_until(MONDAY + timedelta(hours=18))
    assert engine.arrivals().total() > before
    assert {row["last_error"] for row in engine.rows("SELECT last_error FROM mailboxes")} == {""}


def test_a_password_is_not_sent_to_a_server_that_was_edited_in(engine: Engine, team: Team) -> None:
    workspace, mailboxes = team
    engine.run_until(MONDAY + timedelta(hours=8))
    engine.runtime.sessions.close()
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0)
        engine.rows(
            "UPDATE mailboxes SET smtp_port = %s, imap_port = %s, imap_tls = 'none', "
            "smtp_tls = 'none' WHERE id = %s",
            *(trap.getsockname()[1], trap.getsockname()[1], mailboxes[0]),
        )
        engine.run_until(MONDAY + timedelta(hours=18))
        with pytest.raises(BlockingIOError):
            trap.accept()
    row = engine.row(workspace, mailboxes[0])
    assert row["state"] == "needs_reauth"
    assert "Connect the mailbox again" in row["last_error"], row["last_error"]
    sent = engine.one(
        "SELECT count(*) AS n FROM outbound WHERE mailbox_id = %s AND sent_at IS NOT NULL",
        mailboxes[0],
    )
    assert sent["n"] == 0
