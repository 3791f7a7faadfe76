"""Settings of `mailhearth web`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mailhearth_core.errors import InvalidValue
from mailhearth_core.oauth.addresses import (
    GOOGLE_AUTHORIZATION_ENDPOINT,
    GOOGLE_TOKEN_ENDPOINT,
    MICROSOFT_AUTHORIZATION_ENDPOINT,
    MICROSOFT_TOKEN_ENDPOINT,
)
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import (
    Environment,
    Networks,
    Port,
    QueueSettings,
    SchedulerSettings,
    WorkerSettings,
    is_loopback,
)
from mailhearth_web.openid.providers import Provider, parse_providers


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())
    return value


Hosts = Annotated[tuple[str, ...], BeforeValidator(_split)]


class WebSettings(QueueSettings):
    """Settings of `mailhearth web`: it can seal credentials, never open them."""

    database_url: Secret = Field(
        description="postgresql://user:password@host:port/name?sslmode=, of the login `web`"
    )
    admin_database_url: Secret = Field(
        Secret(""),
        description="the same for the login `admin`; without it there are no administration pages",
    )
    database_connections: int = Field(
        8, ge=1, le=64, description="connections of this process to the database at once"
    )
    web_host: str = Field("127.0.0.1", description="address that the dashboard listens on")
    web_port: Port = Field(8787, description="port that the dashboard listens on")
    web_tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate to serve TLS with, its chain after it"
    )
    web_tls_key: Path | None = Field(None, description="PEM file of that certificate's key")
    public_url: str = Field(
        description="address that people open: https://host, or http:// on this machine alone"
    )
    allowed_hosts: Hosts = Field(
        (),
        description="further values of the Host header that are answered, separated by commas",
    )
    trusted_proxies: Networks = Field(
        (),
        description="networks of the proxies whose X-Forwarded-For is believed, in CIDR, "
        "separated by commas",
    )
    threads: int = Field(
        256, ge=4, le=1024, description="requests answered at once; an open live page holds one"
    )
    streams: int = Field(
        200, ge=0, le=1000, description="live pages at once; the others ask every half minute"
    )
    stop_seconds: int = Field(
        15, ge=1, le=600, description="time to finish what is in hand after a stop signal, seconds"
    )
    session_idle_minutes: int = Field(
        720, ge=5, le=43_200, description="minutes after which an unused session ends"
    )
    session_hours: int = Field(
        168, ge=1, le=8_760, description="hours after which any session ends"
    )
    registration_open: bool = Field(
        False, description="true lets anybody sign in and make a workspace, not only the invited"
    )
    oidc_providers: Secret = Field(
        Secret(""),
        description="OpenID providers that people sign in with, as TOML: docs/sign-in.md",
    )
    local_sign_in: bool = Field(
        False,
        description="true allows the one-time links of an installation on one machine, or of a "
        "sandbox in a cluster",
    )
    allow_app_passwords: bool = Field(
        False, description="true takes passwords for Gmail and Microsoft hosts, as the workers do"
    )
    google_client_id: str = Field(
        "", description="OAuth client id at Google, as the workers'; empty offers no Gmail sign-in"
    )
    google_token_endpoint: str = Field(
        GOOGLE_TOKEN_ENDPOINT, description="address of Google's token endpoint, as the workers'"
    )
    google_authorization_endpoint: str = Field(
        GOOGLE_AUTHORIZATION_ENDPOINT, description="address where Google asks owners for consent"
    )
    microsoft_client_id: str = Field(
        "", description="OAuth client id at Microsoft, as the workers'; empty offers no sign-in"
    )
    microsoft_token_endpoint: str = Field(
        MICROSOFT_TOKEN_ENDPOINT,
        description="address of Microsoft's token endpoint, as the workers'",
    )
    microsoft_authorization_endpoint: str = Field(
        MICROSOFT_AUTHORIZATION_ENDPOINT,
        description="address where Microsoft asks owners for consent",
    )
    security_contact: str = Field(
        "",
        description="mailto: or https:// address in security.txt; without it security@ the host",
    )

    @field_validator("web_tls_key")
    @classmethod
    def _check_pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("web_tls_certificate")
        if (value is None) != (certificate is None):
            raise _problem("certificate and key go together: set both or neither")
        return value

    @property
    def public_host(self) -> str:
        """The `host:port` of the public address, as browsers send it in `Host`."""
        return urlsplit(self.public_url).netloc.lower()

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        try:
            url = urlsplit(value)
            _ = url.port
        except ValueError:
            raise _problem("it is not a URL") from None
        if not url.hostname or url.path.strip("/") or url.query or url.fragment or url.username:
            raise _problem("it must be an address without a path, such as https://mail.example.org")
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname)):
            raise _problem("it must start with https:// (http:// is for this machine alone)")
        return f"{url.scheme}://{url.netloc.lower()}"

    @cached_property
    def providers(self) -> tuple[Provider, ...]:
        """The OpenID providers, in the order in which they are offered."""
        return parse_providers(self.oidc_providers.reveal())

    @field_validator("oidc_providers")
    @classmethod
    def _check_providers(cls, value: Secret) -> Secret:
        try:
            parse_providers(value.reveal())
        except InvalidValue as error:
            raise _problem(str(error)) from None
        return value

    @field_validator("local_sign_in")
    @classmethod
    def _check_local(cls, value: bool, info: ValidationInfo) -> bool:
        if not value:
            return value
        if info.data.get("oidc_providers"):
            raise _problem("it cannot be used beside OpenID providers")
        public_host = urlsplit(info.data.get("public_url", "")).hostname
        # A sandbox in a cluster is `staging`: it holds no real mailbox, and is reached by a
        # port that kubectl forwards to the address of whoever opens the link.
        sandbox = info.data.get("environment") is Environment.STAGING
        if not is_loopback(public_host) or not (sandbox or is_loopback(info.data.get("web_host"))):
            raise _problem(
                "it is for an installation that only this machine can reach, or a sandbox"
            )
        return value

    @field_validator(
        "google_token_endpoint",
        "google_authorization_endpoint",
        "microsoft_token_endpoint",
        "microsoft_authorization_endpoint",
    )
    @classmethod
    def _check_oauth_endpoint(cls, value: str) -> str:
        return WorkerSettings._check_token_endpoint(value)

    @field_validator("security_contact")
    @classmethod
    def _check_contact(cls, value: str) -> str:
        if value and not value.startswith(("mailto:", "https://", "tel:")):
            raise _problem("it must start with mailto: or https://")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: Secret, info: ValidationInfo) -> Secret:
        return SchedulerSettings._check_database(value, info)

    @field_validator("admin_database_url")
    @classmethod
    def _check_admin_database(cls, value: Secret, info: ValidationInfo) -> Secret:
        return SchedulerSettings._check_database(value, info) if value else value


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{text}", {"text": text})
