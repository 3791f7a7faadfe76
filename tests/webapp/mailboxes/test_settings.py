"""A mailbox's settings page and the list: who may do what, and what is never shown."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from database import PASSWORD
from mailhearth_core.verbs import mailbox_list
from web import Web

DEEDS: dict[str, tuple[str, dict[str, str]]] = {
    "pause": ("member", {}),
    "resume": ("member", {}),
    "test": ("member", {}),
    "describe": ("member", {"name": "Ann", "timezone": "Asia/Tokyo"}),
    "consent": ("member", {"warmup": "no"}),
    "servers": ("member", {"password": "another"}),
    "move": ("admin", {}),
    "delete": ("admin", {"confirmation": "ann@one.test"}),
}
"""The weakest role that may, and what its form sends."""


@pytest.fixture
def mailbox(web: Web) -> UUID:
    pool = web.installation.pool(web.workspace)
    return web.installation.mailbox(web.workspace, pool, "ann@one.test", name="Ann")


def row(web: Web, mailbox: UUID) -> dict[str, Any]:
    return mailbox_list.find(web.installation.web_door, web.workspace, mailbox)


def at(web: Web, mailbox: UUID, deed: str = "settings") -> str:
    return f"/w/{web.workspace}/mailboxes/{mailbox}/{deed}"


def test_each_deed_asks_for_its_role_and_an_outsider_finds_nothing(web: Web, mailbox: UUID) -> None:
    people = {role: web.member(role) for role in ("readonly", "member", "admin")}
    outsider = web.outsider()
    before = row(web, mailbox)
    for deed, (weakest, data) in DEEDS.items():
        url = at(web, mailbox, deed)
        assert outsider.submit(url, data).status_code == 404, deed
        assert web.visitor().post(url, data=data).status_code in (303, 400), deed
        weaker = {"member": "readonly", "admin": "member"}[weakest]
        assert people[weaker].submit(url, data).status_code == 403, deed
    assert row(web, mailbox) == before
    assert outsider.get(at(web, mailbox)).status_code == 404
    looked = people["readonly"].get(at(web, mailbox)).text
    assert "shown to nobody" in looked
    assert "<form" not in looked.partition("<main")[2]
    south = web.installation.workspace("south")
    both = web.member("owner", south)
    assert both.get(f"/w/{south}/mailboxes/{mailbox}/settings").status_code == 404
    assert both.submit(f"/w/{south}/mailboxes/{mailbox}/pause").status_code == 404


def test_a_member_pauses_resumes_renames_and_answers_for_the_owner(web: Web, mailbox: UUID) -> None:
    ann = web.member("member")
    assert ann.submit(at(web, mailbox, "pause")).status_code == 303
    paused = row(web, mailbox)
    assert ann.person is not None
    assert (paused["state"], paused["state_reason"]) == ("paused", f"paused by {ann.person.email}")
    assert "Resume" in ann.get(at(web, mailbox)).text
    ann.submit(at(web, mailbox, "resume"))
    assert row(web, mailbox)["state"] == "active"
    wrong = ann.submit(at(web, mailbox, "describe"), {"name": "Bo", "timezone": "Mars/Base"})
    assert (wrong.status_code, 'id="timezone-error"' in wrong.text) == (422, True)
    assert 'value="Bo"' in wrong.text
    ann.submit(at(web, mailbox, "describe"), {"name": "Bo", "timezone": "Asia/Tokyo"})
    assert (row(web, mailbox)["display_name"], row(web, mailbox)["timezone"]) == (
        "Bo", "Asia/Tokyo",
    )  # fmt: skip
    network = ann.submit(at(web, mailbox, "consent"), {"warmup": "yes", "network": "y"})
    assert network.status_code == 403
    ann.submit(at(web, mailbox, "consent"), {"warmup": "no"})
    admin = web.member("admin")
    admin.submit(at(web, mailbox, "consent"), {"warmup": "yes", "network": "y"})
    assert row(web, mailbox)["consent"] == "network"
    ann.submit(at(web, mailbox, "consent"), {"warmup": "yes"})  # the box is not on their page
    assert row(web, mailbox)["consent"] == "network"
    ledger = web.installation.rows("SELECT scope, via FROM consent_ledger ORDER BY id")
    assert [(entry["scope"], entry["via"]) for entry in ledger] == [
        ("workspace", "cli"), ("none", "web"), ("network", "web"),
    ]  # fmt: skip


def test_a_stored_credential_is_on_no_page_and_other_servers_ask_for_it_again(
    web: Web, mailbox: UUID
) -> None:
    admin = web.member("admin")
    page = admin.get(at(web, mailbox)).text
    sealed = web.installation.one("SELECT encode(sealed, 'base64') AS s FROM sealed_credentials "
                                  "WHERE field = 'imap_password'")["s"]  # fmt: skip
    assert PASSWORD not in page
    assert sealed[:20] not in page
    servers = {
        "username": "ann@one.test", "imap_host": "127.0.0.1", "imap_port": "1143",
        "imap_tls": "none", "smtp_host": "localhost", "smtp_port": "1587", "smtp_tls": "none",
        "ca_pem": "", "password": "",
    }  # fmt: skip
    url = at(web, mailbox, "servers")
    refused = admin.submit(url, servers)
    assert (refused.status_code, 'id="password-error"' in refused.text) == (422, True)
    assert 'value="localhost"' in refused.text
    begun = admin.submit(url, servers | {"password": "typed again"})
    assert begun.status_code == 303
    attempt = web.installation.one("SELECT mailbox_id, settings, sealed FROM connection_attempts")
    assert attempt["mailbox_id"] == mailbox
    assert attempt["settings"]["smtp_host"] == "localhost"
    assert row(web, mailbox)["smtp_host"] == "127.0.0.1"  # nothing is saved before the test
    web.installation.rows("UPDATE connection_attempts SET state = 'ok'")
    member = web.member("member")
    saving = begun.headers["Location"] + "/save"
    assert member.submit(saving).status_code == 409  # other servers are not theirs to save
    assert admin.submit(saving).status_code == 303
    assert row(web, mailbox)["smtp_host"] == "localhost"

    # A member may give a new password to the servers there are, whatever the form says.
    begun = member.submit(url, servers | {"password": "newest", "imap_host": "evil.test"})
    attempt = web.installation.one("SELECT settings FROM connection_attempts")
    assert attempt["settings"]["imap_host"] == "127.0.0.1"
    web.installation.rows("UPDATE connection_attempts SET state = 'ok'")
    web.installation.rows("UPDATE mailboxes SET state = 'needs_reauth', auth_failures = 9")
    assert member.submit(begun.headers["Location"] + "/save").status_code == 303
    assert (row(web, mailbox)["state"], row(web, mailbox)["auth_failures"]) == ("active", 0)


def test_moving_and_deleting_are_an_admins(web: Web, mailbox: UUID) -> None:
    admin = web.member("admin")
    other = web.installation.pool(web.workspace, "other")
    south = web.installation.workspace("south")
    theirs = web.installation.pool(south)
    assert admin.submit(at(web, mailbox, "move"), {"pool": str(theirs)}).status_code == 404
    assert admin.submit(at(web, mailbox, "move"), {"pool": str(other)}).status_code == 303
    assert row(web, mailbox)["pool"] == "other"
    admin.submit(at(web, mailbox, "delete"), {"confirmation": "bob@one.test"})
    assert row(web, mailbox)["state"] == "active"
    admin.submit(at(web, mailbox, "delete"), {"confirmation": "Ann@one.test "})
    assert admin.get(at(web, mailbox)).status_code == 404
    left = web.installation.one("SELECT count(*) AS n FROM sealed_credentials")
    assert left["n"] == 0


def test_the_list_filters_sorts_and_pages_and_takes_nonsense_calmly(
    web: Web, mailbox: UUID
) -> None:
    reader = web.member("readonly")
    pool = row(web, mailbox)["pool_id"]
    for number in range(60):
        address = f"m{number:02}@two.test"
        web.installation.mailbox(web.workspace, pool, address)
    url = f"/w/{web.workspace}/mailboxes"
    first = reader.get(url).text
    assert "page 1 of 2" in first.replace("\n", " ")
    assert "m48@two.test" in first
    assert "m49@two.test" not in first
    assert "Connect a mailbox" not in first.partition("<main")[2]  # a reader cannot
    last = reader.get(f"{url}?sort=address&dir=desc&page=2").text
    assert "ann@one.test" in last
    one = reader.get(f"{url}?q=one.test&state=warming&pool={pool}").text
    assert ("ann@one.test" in one, "m00@two.test" in one) == (True, False)
    assert "No mailbox matches" in reader.get(f"{url}?q=nobody").text
    for nonsense in ("sort=password", "state=x", "pool=x", "page=-3", "page=x", "q=%00%25_"):
        assert reader.get(f"{url}?{nonsense}").status_code == 200, nonsense
    part = reader.get(url, headers={"HX-Request": "true"}).text
    assert "<html" not in part
