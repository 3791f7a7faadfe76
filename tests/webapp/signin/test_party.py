"""What the relying party takes from a real OpenID provider, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailhearth_core.secrets import Secret
from mailhearth_web.openid.discovery import Discovery
from mailhearth_web.openid.http import issuer_dialer
from mailhearth_web.openid.model import Claims, ProviderAway, SignInRefused
from mailhearth_web.openid.party import RelyingParty
from mailhearth_web.openid.providers import Provider
from openid import Issuer, OpenIdProviders, parameters

BACK = "http://127.0.0.1:8787/sign-in/with/{}/callback"
REDIRECTS = [BACK.format("one"), BACK.format("two")]


@pytest.fixture
def issuer(providers: OpenIdProviders) -> Issuer:
    made = providers.issuer(REDIRECTS)
    made.sign_in_as("ada-1", email="Ada@Example.test", email_verified=True, name="Ada L.")
    return made


def known(at: Issuer, name: str = "one", **changes: object) -> Provider:
    values = {
        "name": name,
        "label": "The provider",
        "issuer": at.address,
        "client_id": at.client_id,
        "client_secret": Secret(at.secret),
    }
    return Provider(**(values | changes))  # type: ignore[arg-type]


class Attempt:
    """One sign-in, step by step, so that a test may change what goes between them."""

    def __init__(
        self, issuer: Issuer, provider: Provider, party: RelyingParty, *, fresh: bool = False
    ) -> None:
        self.issuer, self.provider, self.party = issuer, provider, party
        self.url, self.state, self.pending = party.begin(
            provider, BACK.format(provider.name), now=datetime.now(UTC), fresh=fresh
        )

    def back(self, **changes: str) -> dict[str, str]:
        """What the browser brings back from the provider."""
        return parameters(self.issuer.visit(self.url, **changes))

    def finish(
        self, answer: dict[str, str] | None = None, later: timedelta | None = None
    ) -> Claims:
        now = datetime.now(UTC) + (later or timedelta())
        answer = self.back() if answer is None else answer
        return self.party.finish(self.provider, self.pending, answer, now=now)


def refusal(attempt: Attempt, answer: dict[str, str] | None = None) -> str:
    with pytest.raises(SignInRefused) as refused:
        attempt.finish(answer)
    return refused.value.code


@pytest.mark.parametrize("claims_in", ["id_token", "userinfo"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_person_signs_in(providers: OpenIdProviders, claims_in: str, algorithm: str) -> None:
    issuer = providers.issuer(REDIRECTS, claims_in=claims_in, algorithm=algorithm)
    issuer.sign_in_as("ada-1", email="Ada@Example.test", email_verified=True, name="Ada L.")
    attempt = Attempt(issuer, known(issuer), RelyingParty())
    assert attempt.finish() == Claims(issuer.address, "ada-1", "ada@example.test", True, "Ada L.")
    asked = parameters(attempt.url)
    assert asked["code_challenge_method"] == "S256"
    assert attempt.pending.verifier not in attempt.url
    assert issuer.asked("/me") == (claims_in == "userinfo")


@pytest.mark.parametrize("method", ["client_secret_post", "none"])
def test_each_way_of_a_client_to_name_itself(providers: OpenIdProviders, method: str) -> None:
    issuer = providers.issuer(REDIRECTS, token_endpoint_auth_method=method)
    issuer.sign_in_as("ada-1", email="ada@example.test")
    provider = known(issuer, client_auth="post")
    if method == "none":
        provider = known(issuer, client_secret=Secret(""))
    assert Attempt(issuer, provider, RelyingParty()).finish().subject == "ada-1"


def test_an_address_that_nobody_verified_is_said_to_be_so(issuer: Issuer) -> None:
    party, provider = RelyingParty(), known(issuer)
    issuer.sign_in_as("ada-1", email="ada@example.test")
    assert not Attempt(issuer, provider, party).finish().email_verified
    issuer.forget()
    issuer.sign_in_as("ada-2", name="No Address")
    claims = Attempt(issuer, provider, party).finish()
    assert (claims.subject, claims.email, claims.email_verified) == ("ada-2", "", False)


# -- what is refused --------------------------------------------------------------------------


def test_a_wrong_verifier(issuer: Issuer) -> None:
    issuer.tamper(token={"code_verifier": "v" * 43})
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())) == "code_refused"


def test_a_code_that_was_spent_before(issuer: Issuer) -> None:
    issuer.tamper(spend_codes=True)
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())) == "code_refused"
    assert issuer.asked("/token") == 2


def test_a_code_of_another_request(issuer: Issuer) -> None:
    # A code stolen from somebody's browser, brought back in the thief's own.
    party, provider = RelyingParty(), known(issuer)
    stolen = Attempt(issuer, provider, party).back()["code"]
    attempt = Attempt(issuer, provider, party)
    assert refusal(attempt, attempt.back() | {"code": stolen}) == "code_refused"


def test_a_wrong_nonce(issuer: Issuer) -> None:
    attempt = Attempt(issuer, known(issuer), RelyingParty())
    assert refusal(attempt, attempt.back(nonce="another")) == "token_nonce"


def test_an_expired_token(providers: OpenIdProviders) -> None:
    issuer = providers.issuer(REDIRECTS, id_token_seconds=30)
    issuer.sign_in_as("ada-1", email="ada@example.test")
    attempt = Attempt(issuer, known(issuer), RelyingParty())
    with pytest.raises(SignInRefused) as refused:
        attempt.finish(later=timedelta(minutes=2))
    assert refused.value.code == "token_exp"
    again = Attempt(issuer, known(issuer), RelyingParty())
    assert again.finish(later=timedelta(seconds=45)).subject == "ada-1"  # clocks differ a little


@pytest.mark.parametrize("told", ["https://elsewhere.test", "", None])
def test_an_answer_of_another_issuer(issuer: Issuer, told: str | None) -> None:
    attempt = Attempt(issuer, known(issuer), RelyingParty())
    answer = attempt.back()
    assert answer.pop("iss") == issuer.address
    assert refusal(attempt, answer if told is None else answer | {"iss": told}) == "wrong_issuer"
    assert issuer.asked("/token") == 0


def test_a_token_that_names_another_issuer(providers: OpenIdProviders, issuer: Issuer) -> None:
    # The code goes to one issuer's token endpoint, whose metadata were made to look like another's.
    other = providers.issuer(REDIRECTS)
    other.tamper(
        discovery={
            f"{name}_endpoint": f"{issuer.address}/{path}"
            for name, path in (("authorization", "auth"), ("token", "token"), ("userinfo", "me"))
        }
        | {"jwks_uri": f"{issuer.address}/jwks"}
    )
    attempt = Attempt(issuer, known(other), RelyingParty())
    answer = attempt.back() | {"iss": other.address}
    assert refusal(attempt, answer) == "token_iss"


def test_a_token_signed_with_somebody_elses_key(providers: OpenIdProviders, issuer: Issuer) -> None:
    other = providers.issuer(REDIRECTS)
    issuer.tamper(discovery={"jwks_uri": f"{other.address}/jwks"})
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())).startswith("token_")


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": "another"}, "token_aud"),
        ({"aud": "another", "azp": "mailhearth"}, "token_aud"),
        ({"aud": ["mailhearth", "another"]}, "token_azp"),
        ({"azp": "another"}, "token_azp"),
        ({"at_hash": "bm90IGl0cyBoYXNo"}, "token_at_hash"),
        ({"nonce": None}, "token_nonce"),
        ({"exp": None}, "token_exp"),
        ({"iat": 4102444800}, "token_iat"),
        ({"sub": ""}, "token_sub"),
        ({"sub": 7}, "token_sub"),
        ({"sub": "a" * 256}, "token_sub"),
    ],
)
def test_a_claim_that_does_not_fit(issuer: Issuer, claims: dict[str, object], code: str) -> None:
    # Signed by the issuer itself, so that nothing but the claim is wrong.
    issuer.tamper(id_token=claims)
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())) == code
    issuer.tamper(id_token={"further": "claims do no harm"})
    assert Attempt(issuer, known(issuer), RelyingParty()).finish().subject == "ada-1"


def test_no_signature_and_no_shared_secret_counts(issuer: Issuer) -> None:
    issuer.tamper(discovery={"id_token_signing_alg_values_supported": ["none", "HS256"]})
    with pytest.raises(ProviderAway):
        Attempt(issuer, known(issuer), RelyingParty())
    issuer.tamper(discovery={"id_token_signing_alg_values_supported": ["RS256"]})
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())).startswith("token_unsupp")


def test_claims_of_another_person_from_userinfo(providers: OpenIdProviders) -> None:
    issuer = providers.issuer(REDIRECTS, claims_in="userinfo")
    issuer.sign_in_as("ada-1", email="ada@example.test")
    issuer.tamper(userinfo={"sub": "eve-1", "email": "eve@example.test"})
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())) == "token_userinfo_sub"


def test_the_person_says_no(issuer: Issuer) -> None:
    issuer.refuse()
    assert refusal(Attempt(issuer, known(issuer), RelyingParty())) == "access_denied"


def test_a_fresh_sign_in_is_one_for_this_request(issuer: Issuer) -> None:
    party, provider = RelyingParty(), known(issuer)
    Attempt(issuer, provider, party).finish()  # now the provider knows this browser
    asked = issuer.asked("/auth")
    assert Attempt(issuer, provider, party, fresh=True).finish().subject == "ada-1"
    assert issuer.asked("/auth") == asked + 1
    an_hour_ago = int(datetime.now(UTC).timestamp()) - 3600
    issuer.forget()
    issuer.sign_in_as("ada-1", email="ada@example.test", signed_in_at=an_hour_ago)
    assert refusal(Attempt(issuer, provider, party, fresh=True)) == "not_fresh"
    assert Attempt(issuer, provider, party).finish().subject == "ada-1"


# -- discovery --------------------------------------------------------------------------------


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_documents_are_asked_for_once_an_hour_and_outlive_an_outage(issuer: Issuer) -> None:
    clock = Seconds()
    party = RelyingParty(discovery=Discovery(issuer_dialer(), monotonic=clock))
    provider, path = known(issuer), "/.well-known/openid-configuration"
    for _ in range(3):
        assert Attempt(issuer, provider, party).finish().subject == "ada-1"
    assert (issuer.asked(path), issuer.asked("/jwks")) == (1, 1)
    clock.now += 3601
    issuer.tamper(discovery={"issuer": "https://elsewhere.test"})
    assert Attempt(issuer, provider, party).finish().subject == "ada-1"
    assert (issuer.asked(path), issuer.asked("/jwks")) == (2, 2)
    clock.now += 24 * 3600
    with pytest.raises(ProviderAway):
        Attempt(issuer, provider, party)


def test_new_keys_of_the_provider_are_found(providers: OpenIdProviders, issuer: Issuer) -> None:
    clock = Seconds()
    party = RelyingParty(discovery=Discovery(issuer_dialer(), monotonic=clock))
    provider, other = known(issuer), providers.issuer(REDIRECTS)
    issuer.tamper(discovery={"jwks_uri": f"{other.address}/jwks"})
    assert refusal(Attempt(issuer, provider, party)) == "token_invalid_key_id"
    asked = other.asked("/jwks")
    assert refusal(Attempt(issuer, provider, party)) == "token_invalid_key_id"
    assert other.asked("/jwks") == asked  # not for every token that names some key
    issuer.tamper()
    clock.now += 3601  # the document, and by it the place of the keys
    assert Attempt(issuer, provider, party).finish().subject == "ada-1"


def test_a_provider_that_is_down_slow_or_another(issuer: Issuer) -> None:
    for address in (
        "http://127.0.0.1:1",
        issuer.address + "/",
        issuer.address.replace("127.0.0.1", "localhost"),
    ):
        with pytest.raises(ProviderAway):
            RelyingParty().begin(
                known(issuer, issuer=address), BACK.format("one"), now=datetime.now(UTC)
            )
    issuer.tamper(discovery={"token_endpoint": "http://provider.test/token"})
    with pytest.raises(ProviderAway):
        Attempt(issuer, known(issuer), RelyingParty())


def test_a_wrong_client_secret_is_the_operators_trouble(issuer: Issuer) -> None:
    attempt = Attempt(issuer, known(issuer, client_secret=Secret("wrong")), RelyingParty())
    with pytest.raises(ProviderAway) as away:
        attempt.finish()
    assert away.value.code == "client_refused"
