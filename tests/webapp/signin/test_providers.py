"""The setting that names the OpenID providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhearth_core.errors import InvalidValue
from mailhearth_core.settings import SettingsError
from mailhearth_web.openid.providers import parse_providers
from mailhearth_web.settings import WebSettings

GOOD = "[idp]\nissuer = 'https://idp.example.org'\nclient_id = 'c'\nclient_secret = 'hush'\n"
ENVIRON = {
    "MAILHEARTH_DATABASE_URL": "postgresql://web@127.0.0.1/x",
    "MAILHEARTH_REDIS_URL": "redis://127.0.0.1",
    "MAILHEARTH_PUBLIC_URL": "https://mail.example.org",
}


def test_a_file_names_several_in_its_order(tmp_path: Path) -> None:
    secret, providers = tmp_path / "secret", tmp_path / "providers.toml"
    secret.write_text("hush\n")
    providers.write_text(
        "[work]\nlabel = 'Work account'\nissuer = 'https://idp.example.org/realms/work/'\n"
        f"client_id = 'mailhearth'\nclient_secret_file = '{secret}'\nclient_auth = 'post'\n"
        "scopes = ['openid', 'email']\nfresh_prompt = 'login'\n\n"
        "[google]\nissuer = 'https://accounts.google.com'\nclient_id = 'public'\n"
    )
    settings = WebSettings.load(ENVIRON | {"MAILHEARTH_OIDC_PROVIDERS_FILE": str(providers)})
    work, google = settings.providers
    assert (work.label, work.issuer) == ("Work account", "https://idp.example.org/realms/work/")
    assert work.client_secret.reveal() == "hush"
    assert (work.client_auth, work.scopes, work.fresh_prompt) == (
        "post",
        ("openid", "email"),
        "login",
    )
    assert (google.label, bool(google.client_secret)) == ("Google", False)
    assert "hush" not in repr(settings.providers) + repr(settings)
    assert WebSettings.load(ENVIRON).providers == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[idp\n", "at line 1"),
        (GOOD.replace("[idp]", "[Id.p]"), "provider"),
        ("idp = 1", "provider"),
        (GOOD.replace("https:", "http:"), "idp.issuer"),
        (GOOD.replace("example.org", "example.org/?a=b"), "idp.issuer"),
        (GOOD.replace("client_id = 'c'\n", ""), "idp.client_id"),
        (GOOD.replace("client_id", "clientid"), "clientid"),
        (GOOD + "client_secret_file = '/x'", "client_secret or client_secret_file"),
        (GOOD.replace("client_secret = 'hush'", "client_secret_file = '/nowhere'"), "/nowhere"),
        (GOOD + "scopes = ['email']", "openid"),
        (GOOD + "scopes = ['openid', 'a b']", "idp.scopes"),
        (GOOD + "client_auth = 'jwt'", "idp.client_auth"),
        (GOOD + GOOD.replace("[idp]", "[again]"), "each issuer once"),
        ("".join(f"{GOOD.replace('idp', f'idp{n}')}" for n in range(13)), "at most 12"),
    ],
)
def test_a_mistake_is_named_and_no_secret_told(text: str, told: str) -> None:
    with pytest.raises(InvalidValue) as wrong:
        parse_providers(text)
    assert told in str(wrong.value)
    assert "hush" not in str(wrong.value)
    with pytest.raises(SettingsError) as refused:
        WebSettings.load(ENVIRON | {"MAILHEARTH_OIDC_PROVIDERS": text})
    assert refused.value.problems[0].startswith("MAILHEARTH_OIDC_PROVIDERS: ")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("secret", ["client_secret = 'hu\\u0007sh'", "client_secret = 12345678"])
def test_a_secret_that_is_no_text_is_not_told(secret: str) -> None:
    with pytest.raises(InvalidValue) as wrong:
        parse_providers(GOOD.replace("client_secret = 'hush'", secret.replace("'", '"')))
    assert "idp.client_secret" in str(wrong.value)
    assert "12345678" not in str(wrong.value)
