"""Asking a token endpoint: what is sent where, what each answer means, and what leaks of it."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_core.mail.model import FailureKind, MailError
from mailhearth_core.net import LOOPBACK, Dialer
from mailhearth_core.oauth.endpoint import check_grant, refresh
from mailhearth_core.oauth.model import SCOPES, GrantRefused, TokenAnswer
from mailhearth_core.secrets import Secret
from token_endpoint import KEEP, ROTATE, TokenEndpoint, certified

ANN = "ann@alpha.test"


@pytest.fixture
def dialer() -> Dialer:
    return Dialer(ZoneResolver({"tokens.test": {"a": ["127.0.0.1"]}}), allowed=LOOPBACK)


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as made:
        yield made


def ask(endpoint: TokenEndpoint, dialer: Dialer, token: str, **more: Any) -> TokenAnswer:
    return refresh(endpoint.client, Secret(token), dialer, **more)


def test_a_refresh_token_becomes_an_access_token(endpoint: TokenEndpoint, dialer: Dialer) -> None:
    token = endpoint.consent(ANN)
    answer = ask(endpoint, dialer, token)
    assert answer.access_token.reveal() == endpoint.answered[0]
    assert (answer.lifetime_s, answer.refresh_token) == (3600, None)
    assert answer.scopes == frozenset({"https://mail.google.com/"})
    assert answer.accounts == {ANN}
    assert endpoint.asked == [
        {
            "grant_type": "refresh_token",
            "client_id": endpoint.client_id,
            "client_secret": endpoint.secret,
            "refresh_token": token,
        }
    ]


def test_a_rotated_one_comes_along(dialer: Dialer) -> None:
    with TokenEndpoint(provider="outlook", rotation=ROTATE) as endpoint:
        endpoint.lifetime_s = "4711"
        answer = ask(endpoint, dialer, endpoint.consent(ANN))
        assert answer.refresh_token is not None
        assert answer.refresh_token.reveal() in endpoint.current(ANN)
        assert answer.lifetime_s == 4711
        assert answer.scopes == frozenset(SCOPES["outlook"])


REFUSALS: list[tuple[int, dict[str, Any], FailureKind, str, str]] = [
    (400, {"error": "invalid_grant"}, FailureKind.REAUTHENTICATE, "grant_refused", "consent"),
    (
        400,
        {"error": "invalid_grant", "error_description": "AADSTS50173: The provided grant has ..."},
        FailureKind.REAUTHENTICATE,
        "grant_refused",
        "password was changed",
    ),
    (
        400,
        {"error": "invalid_grant", "error_subtype": "invalid_rapt"},
        FailureKind.REAUTHENTICATE,
        "grant_refused",
        "session control",
    ),
    (
        400,
        {"error": "interaction_required", "error_description": "AADSTS50076: MFA"},
        FailureKind.REAUTHENTICATE,
        "grant_refused",
        "fresh sign-in",
    ),
    (401, {"error": "invalid_client"}, FailureKind.PERMANENT, "oauth_client_refused", "client"),
    (400, {"error": "unauthorized_client"}, FailureKind.PERMANENT, "oauth_client_refused", ""),
    (400, {"error": "invalid_scope"}, FailureKind.PERMANENT, "oauth_client_refused", ""),
    (400, {"error": "temporarily_unavailable"}, FailureKind.TRY_LATER, "token_endpoint_busy", ""),
    (429, {"error": "invalid_grant"}, FailureKind.TRY_LATER, "token_endpoint_busy", ""),
    (429, {}, FailureKind.TRY_LATER, "token_endpoint_busy", "429"),
    (503, {}, FailureKind.TRY_LATER, "token_endpoint_busy", "503"),
    (500, {"error": "invalid_grant"}, FailureKind.TRY_LATER, "token_endpoint_busy", "500"),
    (403, {"error": "brand_new"}, FailureKind.TRY_LATER, "token_endpoint_refused", "brand_new"),
    (404, {}, FailureKind.TRY_LATER, "token_endpoint_nonsense", "404"),
    (302, {"error": "invalid_grant"}, FailureKind.TRY_LATER, "token_endpoint_nonsense", "302"),
]


@pytest.mark.parametrize(("status", "body", "kind", "code", "words"), REFUSALS)
def test_what_a_refusal_means(
    endpoint: TokenEndpoint,
    dialer: Dialer,
    status: int,
    body: dict[str, Any],
    kind: FailureKind,
    code: str,
    words: str,
) -> None:
    token = endpoint.consent(ANN)
    endpoint.answer(status, body)
    with pytest.raises(MailError) as caught:
        ask(endpoint, dialer, token)
    assert (caught.value.kind, caught.value.code) == (kind, code)
    assert isinstance(caught.value, GrantRefused) == (kind is FailureKind.REAUTHENTICATE)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"[1]",
        b"\xff\xfe",
        b'{"access_token": 5, "token_type": "Bearer", "expires_in": 3600}',
        b'{"access_token": "a\\nb", "token_type": "Bearer", "expires_in": 3600}',
        b'{"access_token": "good", "token_type": "mac", "expires_in": 3600}',
        b'{"access_token": "good", "token_type": "Bearer", "expires_in": -1}',
        b'{"access_token": "good", "token_type": "Bearer", "expires_in": "soon"}',
        b'{"access_token": "good", "token_type": "Bearer", "refresh_token": ["x"]}',
        b"[" * 50_000,
        b'{"access_token": "' + b"a" * 70_000 + b'"}',
    ],
)
def test_an_answer_that_makes_no_sense_is_tried_again_later(
    endpoint: TokenEndpoint, dialer: Dialer, body: bytes
) -> None:
    token = endpoint.consent(ANN)
    endpoint.answer(200, body)
    with pytest.raises(MailError) as caught:
        ask(endpoint, dialer, token)
    assert caught.value.kind is FailureKind.TRY_LATER
    assert ask(endpoint, dialer, token).access_token  # nothing is broken by it


def test_an_identity_token_that_makes_no_sense_is_none(
    endpoint: TokenEndpoint, dialer: Dialer
) -> None:
    good = {"access_token": "good", "token_type": "bearer"}
    for odd in ("x", "a.b.c", "e30.e30.e30", "a.bm9uZQ.c", "a.W10.c", 5, None):
        endpoint.answer(200, good | {"id_token": odd})
        answer = ask(endpoint, dialer, "any")
        assert (answer.accounts, answer.scopes, answer.lifetime_s) == (frozenset(), None, 300)


def test_a_server_that_hangs_or_drips_costs_a_second(
    endpoint: TokenEndpoint, dialer: Dialer
) -> None:
    pause = threading.Event()
    drops = itertools.takewhile(lambda _: not pause.wait(0.05), itertools.repeat(b" ", 99))
    endpoint.answer(200, drops)
    with pytest.raises(MailError, match=r"within 0\.5 seconds"):
        ask(endpoint, dialer, "any", deadline_s=0.5)
    pause.set()
    free = threading.Event()
    endpoint.before = lambda form: free.wait(20)
    with pytest.raises(MailError) as caught:
        ask(endpoint, dialer, "any", deadline_s=0.5)
    free.set()
    assert (caught.value.kind, caught.value.code) == (
        FailureKind.TRY_LATER,
        "token_endpoint_unreachable",
    )


def test_nobody_at_home_and_no_http_are_tried_again_later(
    endpoint: TokenEndpoint, dialer: Dialer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = replace(endpoint.client, token_endpoint=f"http://127.0.0.1:{port}/")

        def talk() -> None:
            with listener.accept()[0] as peer:
                peer.recv(1000)
                peer.sendall(b"220 mail.test ESMTP\r\n\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(MailError) as caught:
            refresh(client, Secret("any"), dialer)
        thread.join()
        assert caught.value.kind is FailureKind.TRY_LATER
    with pytest.raises(MailError) as caught:
        refresh(client, Secret("any"), dialer)
    assert caught.value.kind is FailureKind.TRY_LATER


def test_the_certificate_is_verified_and_plain_text_stays_on_this_machine(
    tmp_path: Path, dialer: Dialer
) -> None:
    certificate, ca_pem = certified(tmp_path)
    with TokenEndpoint(certificate=certificate, host="localhost") as endpoint:
        token = endpoint.consent(ANN)
        trusting = Dialer(ZoneResolver({}), allowed=LOOPBACK, ca_pem=ca_pem)
        assert ask(endpoint, trusting, token).accounts == {ANN}
        asked = len(endpoint.asked)
        with pytest.raises(MailError, match="certificate"):
            ask(endpoint, dialer, token)
        assert len(endpoint.asked) == asked
    public = Dialer(ZoneResolver({"tokens.test": {"a": ["192.0.2.1"]}}), allowed=LOOPBACK)
    for url in ("http://tokens.test/token", "https://127.0.0.2.nip.test/", "ftp://x.test/", "x"):
        with pytest.raises(MailError) as caught:
            refresh(replace(endpoint.client, token_endpoint=url), Secret("any"), public)
        assert caught.value.kind is not FailureKind.REAUTHENTICATE


def test_no_error_shows_a_token_that_the_endpoint_repeats(
    endpoint: TokenEndpoint, dialer: Dialer
) -> None:
    token = endpoint.consent(ANN)
    for status, error in ((400, "invalid_grant"), (400, "invalid_client"), (418, token)):
        said = f"The token {token} of {endpoint.secret} is unknown.\r\nX: y"
        endpoint.answer(status, {"error": error, "error_description": said})
        with pytest.raises(MailError) as caught:
            ask(endpoint, dialer, token)
        text = f"{caught.value!r} {caught.value} {caught.value.__dict__} {caught.value.__cause__!r}"
        assert token not in text
        assert endpoint.secret not in text
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("provider", "scope", "names", "code"),
    [
        ("gmail", None, {ANN}, ""),
        ("gmail", "https://mail.google.com/ openid email", {ANN}, ""),
        ("gmail", None, {"team@alpha.test", ANN}, ""),
        ("gmail", None, {"bob@alpha.test"}, "wrong_account"),
        ("gmail", "openid email", {ANN}, "scope_missing"),
        ("gmail", "https://www.googleapis.com/auth/gmail.readonly", {ANN}, "scope_missing"),
        ("outlook", " ".join(SCOPES["outlook"]).lower(), {ANN}, ""),
        ("outlook", " ".join(SCOPES["outlook"]).replace("office", "office365"), {ANN}, ""),
        ("outlook", SCOPES["outlook"][0], {ANN}, "scope_missing"),
        ("outlook", "https://graph.microsoft.com/Mail.ReadWrite", {ANN}, "scope_missing"),
        ("outlook", "", {ANN}, ""),
    ],
)
def test_account_and_scope_are_looked_at(
    dialer: Dialer, provider: str, scope: str | None, names: set[str], code: str
) -> None:
    with TokenEndpoint(provider=provider, rotation=KEEP) as endpoint:
        answer = ask(endpoint, dialer, endpoint.consent(ANN, scope))
    try:
        check_grant(provider, answer, frozenset(names))
        found = ""
    except GrantRefused as error:
        found = error.code
    assert found == code
    assert json.dumps(str(answer)).count(answer.access_token.reveal()) == 0
