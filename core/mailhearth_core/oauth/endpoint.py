"""Asking a token endpoint for an access token (RFC 6749 section 6), and what its answers mean."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.mail.classify import clean_text
from mailhearth_core.mail.model import MailError
from mailhearth_core.mail.wire import ConnectionLost, TooMuchData
from mailhearth_core.net import ConnectionFailed, DeadlinePassed, Dialer
from mailhearth_core.oauth.http import HttpAnswer, NoHttp, post_form
from mailhearth_core.oauth.model import (
    OWNERS,
    SCOPES,
    GrantRefused,
    OAuthClient,
    TokenAnswer,
    endpoint_trouble,
)
from mailhearth_core.secrets import Secret

DEADLINE_S = 15.0
"""For the whole request; a healthy endpoint answers within a second."""
DEFAULT_LIFETIME_S = 300
"""When an answer does not say (RFC 6749 section 5.1 only recommends that it does): cautious."""
MAX_LIFETIME_S = 24 * 3600

_OWNER_NEEDED = {"invalid_grant", "interaction_required", "consent_required", "login_required"}
"""RFC 6749 section 5.2; the others are of OpenID Connect Core 3.1.2.6, Microsoft uses them here."""
_SETTINGS_WRONG = {
    "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope",
    "unsupported_grant_type", "invalid_resource", "org_internal", "disabled_client",
    "deleted_client",
}  # fmt: skip
"""RFC 6749 section 5.2, and names of Google's and Microsoft's own: the installation's client."""
_REASONS = (
    # Microsoft Learn, "Microsoft Entra authentication and authorization error codes".
    (r"AADSTS50173", "the password was changed, which ended the consent"),
    (r"AADSTS(700082|70008|700084)\b", "the consent was not used for too long, or has expired"),
    (r"AADSTS(50076|50079|50074|50158|53003|53000)\b", "the tenant's rules want a fresh sign-in"),
    (r"AADSTS(65001|65004)\b", "the consent was withdrawn, or an admin must give it"),
    (r"AADSTS(50057|50034)\b", "the account is switched off or gone"),
    # Google, "Using OAuth 2.0 to Access Google APIs", session control policies.
    (r"invalid_rapt|reauth related error", "the organisation's session control wants a sign-in"),
    (r"expired or revoked", "the consent was withdrawn or has expired"),
)


def refresh(
    client: OAuthClient, token: Secret, dialer: Dialer, *, deadline_s: float = DEADLINE_S
) -> TokenAnswer:
    """A new access token for a refresh token.

    Raises:
        GrantRefused: the consent is gone; the mailbox must be connected again.
        MailError: try later (kind `try_later`), or this installation's client is not accepted
            (`permanent`, code `oauth_client_refused`). Neither is the mailbox's fault.
    """
    fields = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
    return _ask(client, fields, token, dialer, deadline_s)


def exchange_code(
    client: OAuthClient,
    code: Secret,
    verifier: Secret,
    redirect_uri: str,
    dialer: Dialer,
    *,
    deadline_s: float = DEADLINE_S,
) -> TokenAnswer:
    """The first tokens for the code of an owner's consent (RFC 6749 section 4.1.3, RFC 7636).

    Raises:
        GrantRefused: the code is no good (any more), or no refresh token came with the answer.
        MailError: as `refresh`.
    """
    fields = {
        "grant_type": "authorization_code",
        "code": code.reveal(),
        "code_verifier": verifier.reveal(),
        "redirect_uri": redirect_uri,
    }
    answer = _ask(client, fields, code, dialer, deadline_s)
    if answer.refresh_token is None:
        owner = OWNERS[client.provider]
        raise GrantRefused(
            f"{owner} gave no lasting consent (no refresh token).",
            owner=owner,
            code="no_refresh_token",
        )
    return answer


def _ask(
    client: OAuthClient, fields: dict[str, str], token: Secret, dialer: Dialer, deadline_s: float
) -> TokenAnswer:
    fields["client_id"] = client.client_id
    if client.secret:
        fields["client_secret"] = client.secret.reveal()
    owner = OWNERS[client.provider]
    try:
        answer = post_form(client.token_endpoint, fields, dialer, deadline_s=deadline_s)
    except InvalidValue as error:
        raise endpoint_trouble(
            error.message, code="oauth_client_refused", hint=_settings(client), permanent=True
        ) from error
    except (ConnectionFailed, DeadlinePassed, ConnectionLost, TooMuchData, NoHttp) as error:
        raise _unreachable(owner, error) from error
    return _understood(client, answer, (token.reveal(), client.secret.reveal()))


def check_grant(provider: str, answer: TokenAnswer, names: frozenset[str]) -> None:
    """Whether the grant is for this mailbox and for enough.

    Args:
        names: what the account may be called: the mailbox's address and its user name, lower case.
    Raises:
        GrantRefused: another account was chosen at the sign-in, or a box was left unticked there.
    """
    owner = OWNERS[provider]
    if answer.accounts and not answer.accounts & names:
        raise GrantRefused(
            f"The consent is for {', '.join(sorted(answer.accounts))}, "
            f"not for {' or '.join(sorted(names))}.",
            owner=owner,
            code="wrong_account",
        )
    if answer.scopes is not None:
        # The same API by its two names.
        granted = {
            s.lower().replace("outlook.office365.", "outlook.office.") for s in answer.scopes
        }
        missing = [scope for scope in SCOPES[provider] if scope.lower() not in granted]
        if missing:
            raise GrantRefused(
                f"The consent does not cover {' and '.join(missing)}.",
                owner=owner,
                code="scope_missing",
            )


def _understood(client: OAuthClient, answer: HttpAnswer, hidden: tuple[str, ...]) -> TokenAnswer:
    owner = OWNERS[client.provider]
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        told = None
    if answer.status == 200 and isinstance(told, dict):
        good = _token_answer(client, told)
        if good is not None:
            return good
    if isinstance(told, dict) and 400 <= answer.status < 500 and isinstance(told.get("error"), str):
        raise _refusal(client, owner, answer.status, told, hidden)
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise endpoint_trouble(
            f"{owner}'s token endpoint cannot answer now (HTTP {answer.status}).",
            code="token_endpoint_busy",
        )
    raise endpoint_trouble(
        f"{owner}'s token endpoint gave an answer that makes no sense (HTTP {answer.status}).",
        code="token_endpoint_nonsense",
    )


def _refusal(
    client: OAuthClient, owner: str, status: int, told: dict[str, Any], hidden: tuple[str, ...]
) -> MailError:
    error = clean_text(told["error"], hidden)
    said = clean_text(str(told.get("error_description") or ""), hidden)
    words = f"{error}: {said}" if said else error
    if status == 429 or error in ("temporarily_unavailable", "server_error", "slow_down"):
        return endpoint_trouble(
            f"{owner}'s token endpoint cannot answer now ({words}).", code="token_endpoint_busy"
        )
    if error in _OWNER_NEEDED:
        text = f"{said} {told.get('error_subtype', '')} {told.get('suberror', '')}"
        reason = next((why for pattern, why in _REASONS if re.search(pattern, text, re.I)), "")
        return GrantRefused(
            f"{owner} does not accept the mailbox's consent any more"
            f"{f': {reason}' if reason else ''} ({words}).",
            owner=owner,
        )
    if error in _SETTINGS_WRONG:
        return endpoint_trouble(
            f"{owner} does not accept this installation's OAuth client ({words}).",
            code="oauth_client_refused",
            hint=_settings(client),
            permanent=True,
        )
    return endpoint_trouble(
        f"{owner}'s token endpoint refused for a reason of its own ({words}).",
        code="token_endpoint_refused",
    )


def _token_answer(client: OAuthClient, told: dict[str, Any]) -> TokenAnswer | None:
    """The answer's values, None when it lacks one that must be there or has one of a wrong kind."""
    access, kind = told.get("access_token"), told.get("token_type", "Bearer")
    lifetime, rotated = told.get("expires_in", DEFAULT_LIFETIME_S), told.get("refresh_token")
    scope = told.get("scope")
    if not _is_token(access) or not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    if isinstance(lifetime, str) and lifetime.isdecimal() and len(lifetime) < 10:
        lifetime = int(lifetime)  # older Microsoft endpoints quote it
    if not isinstance(lifetime, int) or isinstance(lifetime, bool) or lifetime <= 0:
        return None
    if rotated is not None and not _is_token(rotated):
        return None
    return TokenAnswer(
        access_token=Secret(str(access)),
        lifetime_s=min(lifetime, MAX_LIFETIME_S),
        refresh_token=Secret(rotated) if rotated else None,
        scopes=frozenset(scope.split()) if isinstance(scope, str) and scope else None,
        accounts=_accounts(told.get("id_token"), client.client_id),
    )


def _is_token(value: object) -> bool:
    """RFC 6749 appendix A.12: printable ASCII."""
    return isinstance(value, str) and re.fullmatch(r"[\x20-\x7e]{1,16384}", value) is not None


def _accounts(id_token: object, client_id: str) -> frozenset[str]:
    """The names in an identity token that came straight from the endpoint over TLS.

    So its signature need not be checked (OpenID Connect Core 3.1.3.7, point 6). Google names the
    account in `email`, Microsoft in `preferred_username` (and `email`, `upn`).
    """
    if not isinstance(id_token, str) or id_token.count(".") != 2:
        return frozenset()
    payload = id_token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return frozenset()
    if not isinstance(claims, dict) or claims.get("aud") not in (client_id, None):
        return frozenset()
    found = (claims.get(name) for name in ("email", "preferred_username", "upn"))
    return frozenset(name.lower() for name in found if isinstance(name, str) and "@" in name)


def _unreachable(owner: str, error: MailhearthError) -> MailError:
    return endpoint_trouble(
        f"{owner}'s token endpoint cannot be asked: {error.message}",
        code="token_endpoint_unreachable",
        hint=error.hint,
    )


def _settings(client: OAuthClient) -> str:
    name = OWNERS[client.provider].upper()
    return (
        f"Have the operator check MAILHEARTH_{name}_CLIENT_ID and MAILHEARTH_{name}_CLIENT_SECRET "
        "of the workers; the secret may have expired."
    )
