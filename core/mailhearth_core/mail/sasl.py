"""What a login says to a server, for each mechanism; the same bytes for SMTP and IMAP.

PLAIN is RFC 4616, OAUTHBEARER RFC 7628, XOAUTH2 Google's and Microsoft's published protocol; LOGIN
(an expired draft) is spoken only where a server offers no PLAIN.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence

from mailhearth_core.mail.model import FailureKind, Login, MailError, Mechanism, Stage

PREFERENCE: dict[Mechanism, tuple[str, ...]] = {
    Mechanism.PASSWORD: ("PLAIN", "LOGIN"),
    Mechanism.OAUTH: ("XOAUTH2", "OAUTHBEARER"),
}


def choose(login: Login, offered: Iterable[str], allowed: Sequence[str] | None) -> str:
    """The first of our mechanisms that the server offers (and `allowed` permits, when given)."""
    on_offer = {name.upper() for name in offered}
    wanted = [n for n in PREFERENCE[login.mechanism] if allowed is None or n in allowed]
    for name in wanted:
        if name in on_offer:
            return name
    needs = " or ".join(PREFERENCE[login.mechanism])
    raise MailError(
        f"The server offers no way to sign in that fits: it lists "
        f"{', '.join(sorted(on_offer)) or 'none'}, this login needs {needs}.",
        kind=FailureKind.PERMANENT,
        stage=Stage.LOGIN,
        code="mechanism_unsupported",
        hint="Check host, port and TLS mode; some providers need OAuth.",
    )


def first_response(mechanism: str, login: Login) -> bytes:
    """The initial response, not yet in base64."""
    user, secret = login.username, login.secret.reveal()
    if mechanism == "PLAIN":
        return f"\0{user}\0{secret}".encode()
    if mechanism == "LOGIN":
        return user.encode()
    if mechanism == "XOAUTH2":
        return f"user={user}\x01auth=Bearer {secret}\x01\x01".encode()
    escaped = user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={escaped},\x01auth=Bearer {secret}\x01\x01".encode()


def next_response(mechanism: str, login: Login) -> bytes:
    """What follows a challenge after the first response.

    For LOGIN the password; for the OAuth mechanisms the server has just sent its error and waits
    for an acknowledgement before it says no (RFC 7628 section 3.2.3).
    """
    if mechanism == "LOGIN":
        return login.secret.reveal().encode()
    return b"\x01" if mechanism == "OAUTHBEARER" else b""


def oauth_error(challenge: bytes) -> str:
    """The status inside an OAuth error challenge (decoded JSON), such as "invalid_token"."""
    try:
        fields = json.loads(challenge)
    except ValueError:
        return ""
    return (
        f"OAuth status {fields['status']}"
        if isinstance(fields, dict) and fields.get("status")
        else ""
    )


def hidden_words(login: Login) -> tuple[str, ...]:
    """Every form of the credential that a server might echo."""
    secret = login.secret.reveal()
    forms = [secret]
    for name in PREFERENCE[login.mechanism]:
        forms.append(base64.b64encode(first_response(name, login)).decode())
    forms.append(base64.b64encode(secret.encode()).decode())
    user = base64.b64encode(login.username.encode()).decode()
    return tuple(form for form in forms if form != user)
