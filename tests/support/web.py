"""The dashboard over a real Postgres and a real Valkey, and browsers of people with any role.

def test_x(web: Web) -> None:
    ann = web.member("owner")                 # a browser of an owner of `web.workspace`
    assert ann.get(f"/w/{web.workspace}/mailboxes").status_code == 200
    ann.submit("/workspaces/new", {"name": "south"})   # a POST with the CSRF token
    assert web.outsider().get(f"/w/{web.workspace}/mailboxes").status_code == 404
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from prometheus_client import CollectorRegistry
from werkzeug.test import TestResponse

from database import TestInstallation
from mailhearth_core.clock import FixedClock
from mailhearth_core.ids import uuid7
from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import sessions
from mailhearth_core.verbs.people import Person
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.app import create_app
from mailhearth_web.frame.redis_acl import acl_rules
from mailhearth_web.frame.services import Services, make_services
from mailhearth_web.frame.session import COOKIE, local_cookie, token_hash
from mailhearth_web.settings import WebSettings

ADDRESS = "https://dash.test"
LOCAL_ADDRESS = "http://127.0.0.1:8787"
ROLES = ("owner", "admin", "member", "readonly")


class Browser(FlaskClient):
    """A client that opens the public address and can send forms."""

    application: Flask
    address: str = ADDRESS
    csrf: str = ""
    person: Person | None = None

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        if args and isinstance(args[0], str):
            kwargs.setdefault("base_url", self.address)
        return super().open(*args, **kwargs)

    def submit(
        self, path: str, data: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> TestResponse:
        """A POST as the page's own form sends it."""
        fields = {"csrf_token": self.csrf, **(data or {})}
        return self.post(path, data=fields, headers={"Origin": self.address}, **kwargs)


@dataclass
class Web:
    """An application with its installation.

    Args:
        clock: machine time of the web process; set `clock.at` to let it pass.
    """

    installation: TestInstallation
    valkey: EmbeddedValkey
    address: str = ADDRESS
    changes: dict[str, str] = field(default_factory=dict)
    clock: FixedClock = field(default_factory=lambda: FixedClock(datetime.now(UTC)))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @cached_property
    def settings(self) -> WebSettings:
        redis = self.valkey.set_user("web", Secret("web-password"), acl_rules())
        return WebSettings.load(
            {
                "MAILHEARTH_DATABASE_URL": self.installation.url("web").reveal(),
                "MAILHEARTH_ADMIN_DATABASE_URL": self.installation.url("admin").reveal(),
                "MAILHEARTH_REDIS_URL": redis.reveal(),
                "MAILHEARTH_PUBLIC_URL": self.address,
                **self.changes,
            }
        )

    @cached_property
    def services(self) -> Services:
        return make_services(self.settings, Metrics(self.registry), self.clock)

    @cached_property
    def app(self) -> Flask:
        app = create_app(self.settings, self.services)
        app.test_client_class = Browser
        return app

    @cached_property
    def workspace(self) -> UUID:
        """An active workspace, `north`, that all of `member` belong to."""
        return self.installation.workspace("north")

    # -- people -----------------------------------------------------------------------------

    def person(self, name: str = "", *, admin: bool = False) -> Person:
        """Somebody with an account, in no workspace."""
        user_id = uuid7()
        name = name or f"p{secrets.token_hex(4)}"
        email = f"{name}@people.test"
        self.installation.rows(
            "INSERT INTO users (id, email, display_name, created_at) VALUES (%s, %s, %s, %s)",
            *(user_id, email, name, self.clock.now()),
        )
        if admin:
            self.installation.rows(
                "INSERT INTO platform_admins (user_id, granted_by, granted_at) "
                "VALUES (%s, 'tester', %s)",
                *(user_id, self.clock.now()),
            )
        return Person(user_id, email, name, admin)

    def join(self, person: Person, role: str, workspace: UUID | None = None) -> None:
        self.installation.rows(
            "INSERT INTO memberships (workspace_id, user_id, role, created_at) "
            "VALUES (%s, %s, %s, %s)",
            *(workspace or self.workspace, person.id, role, self.clock.now()),
        )

    # -- browsers ---------------------------------------------------------------------------

    def visitor(self) -> Browser:
        """Nobody: no session at all."""
        browser = self.app.test_client()
        assert isinstance(browser, Browser)
        browser.address = self.address
        return browser

    def browser(self, person: Person, **data: Any) -> Browser:
        """Signed in a moment ago; `data` is what the session holds besides."""
        browser = self.visitor()
        token, raw = secrets.token_urlsafe(32), secrets.token_hex(20)
        sessions.create(
            self.services.database,
            token_hash(token),
            person.id,
            {"csrf_token": raw, **data},
            now=self.clock.now(),
            expires_at=self.clock.now() + timedelta(hours=self.settings.session_hours),
            ip="192.0.2.1",
            agent="tests",
        )
        domain = self.address.partition("://")[2].partition(":")[0]
        name = COOKIE if self.address.startswith("https") else local_cookie(self.settings)
        browser.set_cookie(name, token, domain=domain, secure=name == COOKIE)
        key = self.app.secret_key
        assert key is not None
        signer = URLSafeTimedSerializer(key, salt="wtf-csrf-token")
        browser.csrf = str(signer.dumps(raw))
        browser.person = person
        return browser

    def member(self, role: str = "owner", workspace: UUID | None = None) -> Browser:
        """A new person with a role in `workspace` (by default `self.workspace`)."""
        person = self.person()
        self.join(person, role, workspace)
        return self.browser(person)

    def outsider(self) -> Browser:
        """Signed in, and an owner, but of another workspace."""
        other = self.installation.workspace(f"w{secrets.token_hex(4)}")
        return self.member("owner", other)

    def admin(self) -> Browser:
        """A platform admin, in no workspace."""
        return self.browser(self.person(admin=True))

    def close(self) -> None:
        if "services" in self.__dict__:
            self.services.close()


@contextmanager
def running_valkey(folder: Path) -> Iterator[EmbeddedValkey]:
    """The body of the session fixture `valkey`."""
    valkey = EmbeddedValkey(folder / "valkey")
    valkey.ensure_started()
    try:
        yield valkey
    finally:
        valkey.stop()


@contextmanager
def running_web(
    installation: TestInstallation,
    valkey: EmbeddedValkey,
    *,
    address: str = ADDRESS,
    **changes: str,
) -> Iterator[Web]:
    """The body of the fixture `web`; `changes` are MAILHEARTH_ variables."""
    web = Web(installation, valkey, address, changes)
    try:
        yield web
    finally:
        web.close()
