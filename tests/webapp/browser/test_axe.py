"""No page of the dashboard has a serious fault for people with a disability: axe-core looks at each
of them with data in it, light and dark, on a wide and on a narrow screen.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from playwright.sync_api import Page
from psycopg.types.json import Jsonb

from axe import require_axe, violations
from database import TestInstallation, machine_now
from mailhearth_core.dnsreport.model import Asked, to_json
from mailhearth_core.dnsreport.report import look
from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_local.embedded.valkey import EmbeddedValkey
from messages import NOW, Messages
from opened import Opened, opened_web
from web import Browser, Web

NO_PAGE = {
    "static", "health.healthz", "health.readyz", "health.security_txt",
    "events.stream", "home.index", "imports.example", "imports.mistakes",
    "workspaces.export", "audit.export",
    "admin.audit_export", "signin.begin", "signin.callback", "mailboxes.answer",
    "simulate.result",  # a part of simulate.show, which is looked at when it has come
    *(f"{area}.{chart}" for area in ("overview", "mailbox", "simulate", "admin")
      for chart in ("ramp", "placement")),
}  # fmt: skip
"""GET routes that answer with a file, numbers, a redirect or a part of a page."""
SCREENS = tuple((colours, width) for colours in ("light", "dark") for width in (1280, 360))
SETTLED = """() => document.readyState === "complete"
  && !document.querySelector(".htmx-request, #result [hx-trigger='load']")
  && [...document.querySelectorAll("[data-chart] .chart-wait")]
     .every((wait) => wait.textContent !== "Loading the chart.")"""
OPEN_DETAILS = "document.querySelectorAll('details:not([data-menu])').forEach(d => d.open = true)"
OPEN_MENUS = "document.querySelectorAll('details[data-menu]').forEach(d => d.open = true)"


@dataclass
class Pages:
    """Where each page is, for whom; a page may have several states, each with an address."""

    owner: dict[str, list[str]] = field(default_factory=dict)
    admin: dict[str, list[str]] = field(default_factory=dict)
    visitor: dict[str, list[str]] = field(default_factory=dict)

    @property
    def endpoints(self) -> set[str]:
        return {*self.owner, *self.admin, *self.visitor}


def planted(web: Web) -> Messages:
    """Two workspaces with mail between them, troubles, a DNS report and a failed action."""
    made = Messages(web.installation)
    web.__dict__["workspace"] = made.north
    rows = web.installation.rows
    rows(
        "INSERT INTO business_clock (rate, business_at, ticked_at) "
        "VALUES (1, %s, clock_timestamp())",
        NOW + timedelta(hours=1),
    )
    outbound = made.bound(made.alice, made.bob)
    made.sent(made.alice)
    twin = made.twin(outbound)
    assert twin is not None
    made.observed(twin["id"], NOW + timedelta(hours=1), placement="junk")
    steps = Jsonb([{"code": "target", "text": "the ramp allows 1 on sending day 1", "value": 1}])
    rows("UPDATE day_sizes SET reasons = %s", steps)
    rows("UPDATE controller_rows SET reasons = %s", steps)
    pool = made.row("mailboxes", made.alice)["pool_id"]
    for name, state in (("carol", "paused"), ("dave", "needs_reauth"), ("eve", "active")):
        held = web.installation.mailbox(made.north, pool, f"{name}@north.test", connected=False)
        rows(
            "UPDATE mailboxes SET state = %s, last_error = 'refused', last_error_at = %s "
            "WHERE id = %s",
            *(state, machine_now(), held),
        )
    rows(
        "UPDATE action SET state = 'failed', finished_at = due_at "
        "WHERE id = (SELECT id FROM action WHERE workspace_id = %s AND state = 'pending' LIMIT 1)",
        made.north,
    )
    zone = ZoneResolver({"north.test": {"txt": ["v=spf1 +all"], "mx": [{"host": "mx.north.test"}]}})
    rows(
        "INSERT INTO dns_reports (workspace_id, domain, report, checked_at, next_check_at) "
        "VALUES (%s, 'north.test', %s, %s, %s)",
        made.north,
        Jsonb(to_json(look(Asked("north.test", "127.0.0.1", "other"), zone))),
        *(machine_now(), machine_now()),
    )
    made.scheduler("recompute_rollups", now=NOW + timedelta(hours=1))
    return made


def attempts(web: Web, owner: Browser, pool: UUID) -> list[str]:
    """The pages of a search for settings, of a test that waits, and of one that works."""
    root = f"/w/{web.workspace}/mailboxes/connect"
    found = [owner.submit(root, {"address": "new@unknown.test"}).headers["Location"]]
    form = {
        "address": "new@unknown.test", "timezone": "UTC", "password": "typed", "pool": str(pool),
        "imap_host": "imap.unknown.test", "imap_port": "993", "imap_tls": "implicit",
        "smtp_host": "smtp.unknown.test", "smtp_port": "465", "smtp_tls": "implicit",
    }  # fmt: skip
    for end in ("", "ok", "failed"):
        answer = owner.submit(f"{root}/servers", form)
        assert answer.status_code == 303, answer.text
        found.append(answer.headers["Location"])
        if end:
            web.installation.rows(
                "UPDATE connection_attempts SET state = %s, finished_at = clock_timestamp() "
                "WHERE id = %s",
                *(end, found[-1].rpartition("/")[2]),
            )
    return found


def written(web: Web, owner: Browser, admin: Browser, messages: Messages) -> Pages:
    """Every page with what makes it worth looking at."""
    rows, root = web.installation.rows, f"/w/{messages.north}"
    pool = messages.row("mailboxes", messages.alice)["pool_id"]
    carol = web.installation.one("SELECT id FROM mailboxes WHERE address = 'carol@north.test'")
    mailbox, paused = f"{root}/mailboxes/{messages.alice}", f"{root}/mailboxes/{carol['id']}"
    web.member("admin"), web.member("readonly")
    invited = owner.submit(f"{root}/members/invite", {"email": "new@x.test", "role": "member"})
    link = re.search(r"/invitations/[A-Za-z0-9_-]{43}", invited.text)
    assert link is not None
    csv = (
        b"address;password;imap;smtp;tls;name;consent\n"
        b"fay@one.test;x;127.0.0.1:1143;127.0.0.1:1587;none;;\n"
        b"nonsense;x;127.0.0.1:1143;127.0.0.1:1587;none;=1+1;\n"
    )
    held = owner.submit(
        f"{root}/imports",
        {"file": (io.BytesIO(csv), "list.csv"), "pool": str(pool), "consent": "y"},
    )
    assert held.status_code == 303, held.text
    empty = web.installation.workspace("empty")
    south = web.installation.workspace("south-two")
    assert owner.person is not None
    for workspace in (empty, south):
        web.join(owner.person, "owner", workspace)
    ending = web.installation.workspace("ending")
    web.join(owner.person, "owner", ending)
    rows("UPDATE workspaces SET state = 'deleting' WHERE workspace_id = %s", ending)
    admin.submit(f"/admin/workspaces/{south}/suspend", {"reason": "It sent to the unwilling."})
    tried = attempts(web, owner, pool)
    simulate = f"{root}/pools/{pool}/simulate"
    return Pages(
        owner={
            "home.choose": ["/workspaces"],
            "account.show": ["/account"],
            "account.delete": ["/account/delete"],
            "overview.show": [f"{root}/", *(f"/w/{each}/" for each in (empty, south, ending))],
            "mailbox.show": [mailbox, paused],
            "mailboxes.index": [f"{root}/mailboxes", f"/w/{empty}/mailboxes"],
            "mailboxes.connect": [f"{root}/mailboxes/connect", f"/w/{empty}/mailboxes/connect"],
            "mailboxes.servers": [f"{root}/mailboxes/connect/servers"],
            "mailboxes.attempt": tried,
            "mailboxes.settings": [f"{mailbox}/settings", f"{paused}/settings"],
            "mailboxes.ask": [f"{root}/mailboxes/consent/gmail"],
            "imports.upload": [f"{root}/imports"],
            "imports.look": [held.headers["Location"]],
            "pools.index": [f"{root}/pools"],
            "pools.create": [f"{root}/pools/new"],
            "pools.show": [f"{root}/pools/{pool}"],
            "dns.index": [f"{root}/dns"],
            "dns.show": [f"{root}/dns/north.test"],
            "simulate.show": [f"{simulate}?mailboxes=4&policy=aggressive&model=engagement&seed=3"],
            "workspaces.create": ["/workspaces/new"],
            "workspaces.settings": [f"{root}/settings"],
            "workspaces.delete": [f"{root}/delete", f"/w/{ending}/delete"],
            "members.index": [f"{root}/members"],
            "invitations.show": [link.group(0)],
            "audit.index": [f"{root}/audit"],
        },
        admin={
            "admin.network": ["/admin"],
            "admin.workspaces": ["/admin/workspaces"],
            "admin.workspace": [f"/admin/workspaces/{each}" for each in (messages.north, south)],
            "admin.pools": ["/admin/pools"],
            "admin.domains": ["/admin/domains"],
            "admin.people": ["/admin/people"],
            "admin.errors": ["/admin/errors"],
            "admin.work": ["/admin/work"],
            "admin.failed": ["/admin/failed"],
            "admin.audit": ["/admin/audit"],
        },
        visitor={
            "signin.choose": ["/sign-in"],
            "signin.link": ["/sign-in/link?token=x", "/sign-in/link"],
            "account.deleted": ["/account/deleted"],
            "invitations.show": [link.group(0)],
        },
    )


@pytest.fixture
def opened(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Opened]:
    require_axe()
    with opened_web(
        installation,
        valkey,
        MAILHEARTH_LOCAL_SIGN_IN="true",
        MAILHEARTH_GOOGLE_CLIENT_ID="a-client",
    ) as made:
        yield made


def faults(page: Page, where: str) -> list[str]:
    """What axe finds on the page as it stands, on every screen."""
    page.wait_for_function(SETTLED, timeout=60_000)
    page.evaluate(OPEN_DETAILS)
    found = []
    for colours, width in SCREENS:
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"{where}, {colours}, {width} px: {fault}" for fault in violations(page)]
    return found


def walked(page: Page, pages: dict[str, list[str]], who: str) -> list[str]:
    found = []
    for endpoint, paths in pages.items():
        for path in paths:
            answer = page.goto(path)
            assert answer is not None
            assert answer.status == 200, (endpoint, path, answer.status)
            assert page.url.endswith(path), f"{path} led to {page.url}"
            assert "text/html" in answer.headers["content-type"], path
            found += faults(page, f"{endpoint} as {who}")
    return found


def test_no_page_has_a_serious_fault(opened: Opened) -> None:
    web = opened.web
    messages = planted(web)
    owner, admin = web.member("owner"), web.admin()
    pages = written(web, owner, admin, messages)
    routes = {
        rule.endpoint for rule in web.app.url_map.iter_rules() if "GET" in (rule.methods or ())
    }
    assert pages.endpoints | NO_PAGE == routes, "a page is missing here"
    found = []
    for who, browser in (("owner", owner), ("admin", admin), ("visitor", None)):
        with opened.page(browser) as page:
            found += walked(page, getattr(pages, who), who)
    assert found == [], "\n".join(found)


def test_mistakes_menus_and_what_is_missing_have_no_serious_fault(opened: Opened) -> None:
    """States of a page that no address leads to."""
    web = opened.web
    web.installation.pool(web.workspace)
    root, found = f"/w/{web.workspace}", []
    with opened.page(web.member("owner"), refused=(422,)) as page:
        for path, typed, button in (
            ("/workspaces/new", "No Good", "Make it"),
            (f"{root}/settings", "No Good", "Rename"),
            (f"{root}/delete", "another", "Delete the workspace"),
        ):
            page.goto(path)
            page.locator("main input[type=text]").first.fill(typed)
            with page.expect_navigation():
                # Mistakes are told by the page whatever the browser says of them.
                page.evaluate("document.querySelectorAll('form').forEach(f => f.noValidate = true)")
                page.get_by_role("button", name=button).click()
            assert page.locator("[aria-invalid=true]").count() == 1, path
            found += faults(page, f"mistake at {path}")
        page.goto(f"{root}/members")
        page.get_by_label("E-mail address").fill("new@people.test")
        with page.expect_navigation():
            page.get_by_role("button", name="Make an invitation link").click()
        found += faults(page, "an invitation's link")
        page.set_viewport_size({"width": 360, "height": 900})
        page.goto(f"{root}/")
        page.get_by_role("button", name="Menu").click()
        page.evaluate(OPEN_MENUS)
        found += faults(page, "open menus")
    with opened.page(web.outsider(), refused=(404,)) as page:
        answer = page.goto(f"{root}/")
        assert answer is not None
        assert answer.status == 404
        found += faults(page, "nothing is here")
    assert found == [], "\n".join(found)
