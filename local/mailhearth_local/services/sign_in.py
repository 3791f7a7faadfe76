"""The local sign-in of one machine: one-time links, made by whoever has its command line."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import is_loopback
from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs import people
from mailhearth_core.verbs.wishes import Actor
from mailhearth_local.services.attach import ELSEWHERE

DEFAULT_URL = "http://127.0.0.1:8787"
"""Of the dashboard that `mailhearth up` runs."""
PATH = "/sign-in/link"
LIFE = timedelta(minutes=15)


@dataclass(frozen=True)
class Link:
    """Args:
    url: opens the dashboard as the person, once; it is a credential until then.
    """

    url: Secret
    person_id: UUID
    expires_at: datetime


def dashboard_url(environ: Mapping[str, str]) -> str:
    """Where people open the dashboard, if links may be used there.

    Raises:
        Conflict: people sign in with OpenID providers, or the dashboard is neither this machine's
            own nor a sandbox's.
        InvalidValue: MAILHEARTH_PUBLIC_URL is no address.
    """
    hint = "Sign in with a provider; `mailhearth admin grant` makes administrators."
    if any(environ.get(f"MAILHEARTH_OIDC_PROVIDERS{end}") for end in ("", "_FILE")):
        raise Conflict(
            "One-time links are refused where OpenID providers are configured.",
            hint=hint,
            code="local_sign_in_refused",
        )
    if environ.get(ELSEWHERE) and environ.get("MAILHEARTH_LOCAL_SIGN_IN") != "true":
        raise Conflict(
            "One-time links are for one machine, and for a sandbox in a cluster.",
            hint=hint,
            code="local_sign_in_refused",
        )
    url = environ.get("MAILHEARTH_PUBLIC_URL") or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue("MAILHEARTH_PUBLIC_URL", url, "an address, as in https://mail.test")
    if not is_loopback(parts.hostname):
        raise Conflict(
            f"One-time links are refused where others can reach the dashboard ({parts.hostname}).",
            hint=hint,
            code="local_sign_in_refused",
        )
    return f"{parts.scheme}://{parts.netloc}"


def make_link(
    cli: Database,
    url: str,
    actor: Actor,
    *,
    person_id: UUID | None = None,
    life: timedelta = LIFE,
) -> Link:
    """A link for a person, by the login `cli`; for this machine's own person when none is named.

    Args:
        url: of the dashboard, from `dashboard_url`.
    """
    token = secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    made = people.local_link(
        cli,
        person_id,
        hashlib.sha256(token.encode()).digest(),
        actor=actor,
        now=now,
        expires_at=now + life,
    )
    return Link(Secret(f"{url}{PATH}?token={token}"), made, now + life)
