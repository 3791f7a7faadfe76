"""Sessions on the server: the browser holds an opaque token, Postgres its SHA-256 and the data.

One SessionInterface serves authlib, CSRF, flashed messages and sign-in. A row is looked up when a
view first touches `flask.session`, and made when there is first something to store: a visitor who
only looks gets neither row nor cookie. Signing in always makes a new token and a new row.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import flask
from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin

from mailhearth_core.settings import is_loopback
from mailhearth_core.verbs import sessions
from mailhearth_core.verbs.sessions import Session
from mailhearth_web.frame.services import Services
from mailhearth_web.frame.visit import forget_visit
from mailhearth_web.settings import WebSettings

COOKIE = "__Host-mailhearth"
LOCAL_COOKIE = "mailhearth-local"
"""On http://localhost alone, where Safari drops Secure cookies. The port is added to it."""
VISITOR_LIFE = timedelta(hours=1)
"""Of the session of somebody who has not signed in: long enough to do so."""
MAX_AGENT = 200


def cookie_name(settings: WebSettings, request: Request) -> str:
    """The weaker name only where the address is this machine's own over plain http."""
    plain = not settings.is_https and is_loopback(_hostname(request.host))
    return local_cookie(settings) if plain else COOKIE


def local_cookie(settings: WebSettings) -> str:
    """The weaker name, with the port of the address: a browser keeps one jar for all ports of a
    host, and a machine may have several installations.
    """
    return f"{LOCAL_COOKIE}-{urlsplit(settings.public_url).port or 80}"


def _hostname(host: str) -> str:
    return host.rpartition("]")[0].removeprefix("[") if "]" in host else host.partition(":")[0]


def token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class StoredSession(SessionMixin):
    """A session that is looked up at its first use."""

    def __init__(self, services: Services, token: str | None) -> None:
        self._services = services
        self._token = token
        self._looked = token is None
        self._stored: Session | None = None
        self._data: dict[str, Any] = {}
        self._original: dict[str, Any] = {}
        self.person_id: UUID | None = None
        self.signing_in = False
        self.signing_out = False

    # -- what is stored ---------------------------------------------------------------------

    @property
    def stored(self) -> Session | None:
        """The row; None for a visitor without one, or whose session has ended."""
        self._look()
        return self._stored

    @property
    def touched(self) -> bool:
        """Whether anything has asked for it in this request."""
        return self._looked and (self._token is not None or bool(self._data))

    @property
    def changed(self) -> bool:
        return self._data != self._original

    @property
    def data(self) -> dict[str, Any]:
        return dict(self._data)

    @property
    def stale(self) -> bool:
        """The browser sent a token that is worth nothing."""
        return self._token is not None and self._looked and self._stored is None

    def _look(self) -> None:
        if self._looked:
            return
        assert self._token is not None
        settings = self._services.settings
        self._stored = sessions.find(
            self._services.database,
            token_hash(self._token),
            now=self._services.clock.now(),
            idle=timedelta(minutes=settings.session_idle_minutes),
        )
        self._looked = True
        if self._stored is not None:
            self._data = dict(self._stored.data)
            self._original = dict(self._data)

    # -- a mapping --------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        self._look()
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._look()
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        self._look()
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._data)

    def __len__(self) -> int:
        self._look()
        return len(self._data)

    def __bool__(self) -> bool:
        return True  # without looking: Flask and its extensions ask for its truth

    def replace(self, data: dict[str, Any]) -> None:
        self._look()
        self._data = data


class StoredSessions(SessionInterface):
    """The SessionInterface over `core.verbs.sessions`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def open_session(self, app: Flask, request: Request) -> StoredSession:
        name = cookie_name(self._services.settings, request)
        return StoredSession(self._services, request.cookies.get(name) or None)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        kept = cast(StoredSession, session)
        request = flask.request
        if kept.signing_in:
            self._create(kept, request, response)
        elif kept.signing_out:
            self._end(kept)
            self._delete_cookie(request, response)
        elif not kept.touched:
            return
        elif kept.stored is not None:
            if kept.changed:
                sessions.save(self._services.database, kept.stored.id, kept.data)
        elif kept.data:
            self._create(kept, request, response)
        elif kept.stale:
            self._delete_cookie(request, response)
        if kept.touched:
            response.vary.add("Cookie")

    def _create(self, kept: StoredSession, request: Request, response: Response) -> None:
        self._end(kept)
        token = secrets.token_urlsafe(32)
        now = self._services.clock.now()
        expires = now + self._life(signed_in=kept.person_id is not None)
        sessions.create(
            self._services.database,
            token_hash(token),
            kept.person_id,
            kept.data,
            now=now,
            expires_at=expires,
            ip=request.remote_addr or "",
            agent=request.user_agent.string[:MAX_AGENT],
        )
        self._set_cookie(request, response, token, expires)

    def _end(self, kept: StoredSession) -> None:
        if kept.stored is not None:
            sessions.end(self._services.database, kept.stored.id)

    def _life(self, *, signed_in: bool) -> timedelta:
        if not signed_in:
            return VISITOR_LIFE
        return timedelta(hours=self._services.settings.session_hours)

    def _set_cookie(
        self, request: Request, response: Response, token: str, expires: datetime
    ) -> None:
        name = cookie_name(self._services.settings, request)
        response.set_cookie(
            name,
            token,
            expires=expires,
            path="/",
            secure=name == COOKIE,
            httponly=True,
            samesite="Lax",
        )

    def _delete_cookie(self, request: Request, response: Response) -> None:
        name = cookie_name(self._services.settings, request)
        response.delete_cookie(name, path="/", secure=name == COOKIE, httponly=True, samesite="Lax")


def begin(person_id: UUID, *, keep: dict[str, Any] | None = None) -> None:
    """Makes the rest of this request, and the browser from now on, this person's.

    The session before it ends, with all it held but `keep`; the token is new. What is put into
    `flask.session` after this call, such as a flashed message, goes into the new session.
    """
    session = current()
    session.replace(dict(keep or {}))
    session.person_id = person_id
    session.signing_in = True
    forget_visit()


def finish() -> None:
    """Ends this session, here and in the database."""
    session = current()
    session.replace({})
    session.signing_out = True
    forget_visit()


def current() -> StoredSession:
    """The current request's `flask.session`, as what it is."""
    return cast(StoredSession, flask.session._get_current_object())  # type: ignore[attr-defined]
