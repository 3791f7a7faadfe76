"""Settings of each process: frozen, read once from the environment, all mistakes told at once.

A field `x` comes from `MAILHEARTH_X`. A `Secret` field may come from the file that
`MAILHEARTH_X_FILE` names instead (a mounted Secret). Lists are separated by commas. Nothing is
read at import; a process's `main()` calls `load()`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mailhearth_core.errors import MailhearthError
from mailhearth_core.oauth.addresses import GOOGLE_TOKEN_ENDPOINT, MICROSOFT_TOKEN_ENDPOINT
from mailhearth_core.secrets import Secret

PREFIX = "MAILHEARTH_"
_BEYOND_LOOPBACK = "in production a service beyond loopback needs"


class SettingsError(MailhearthError):
    """The environment of a process is wrong: one line per variable, each saying what to do."""

    code = "settings"

    def __init__(self, process: str, problems: list[str]) -> None:
        super().__init__(f"Settings of {process}:\n" + "\n".join(f"  {line}" for line in problems))
        self.problems = problems


class Environment(StrEnum):
    """Where this installation stands; production insists on TLS beyond loopback."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


GroupName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Groups = Annotated[tuple[GroupName, ...], BeforeValidator(_split), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split)]
Port = Annotated[int, Field(ge=0, le=65535)]


class ProcessSettings(BaseSettings):
    """Base of the per-process settings; make one with `load()`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    # First, because other fields' checks depend on it.
    environment: Environment = Field(
        Environment.DEVELOPMENT, description="development, staging or production"
    )
    listen_host: str = Field(
        "127.0.0.1", description="address that metrics and health listen on; 0.0.0.0 in a pod"
    )
    metrics_port: Port = Field(9464, description="port of /metrics; 0 picks a free one")
    health_port: Port = Field(
        8081, description="port of /healthz and /readyz; may be the metrics port"
    )
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="DEBUG, INFO, WARNING or ERROR",
    )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `environ` (default: the process's own); raises SettingsError with every mistake."""
        values, problems = _gather(cls, os.environ if environ is None else environ)
        try:
            settings = cls(**values)
        except ValidationError as error:
            unread = {problem.split(":")[0].removesuffix("_FILE") for problem in problems}
            for detail in error.errors(include_input=False, include_url=False):
                if _variable(detail) not in unread:
                    problems.append(_explain(cls, detail))
            raise SettingsError(cls.__name__, problems) from None
        if problems:
            raise SettingsError(cls.__name__, problems)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` gathered: the environment is read in one place."""
        return (init_settings,)


class QueueSettings(ProcessSettings):
    """Settings of a process that speaks to Redis."""

    redis_url: Secret = Field(
        description="redis://, rediss:// or unix:// address of Redis or Valkey; may hold a login"
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: Secret, info: ValidationInfo) -> Secret:
        url = _split_url(value.reveal())
        if url.scheme not in ("redis", "rediss", "unix"):
            raise _problem("it must start with redis://, rediss:// or unix://")
        if _must_be_tls(info) and url.scheme != "unix" and not is_loopback(url.hostname):
            query = parse_qs(url.query)
            verified = query.get("ssl_cert_reqs", ["required"]) == ["required"]
            if url.scheme != "rediss" or not verified or "ssl_check_hostname" in query:
                raise _problem(f"{_BEYOND_LOOPBACK} rediss:// with its certificate verified")
        return value


class WorkerSettings(QueueSettings):
    """Settings of `mailhearth worker`: the only process that opens credentials."""

    database_url: str = Field(
        description="postgresql://host:port/name?sslmode=..., without user and password"
    )
    role_prefix: str = Field(
        "mh",
        pattern=r"^[a-z][a-z0-9]{0,14}$",
        description="prefix of this installation's database roles",
    )
    logins_folder: Path = Field(description="folder of the database logins, one per workspace")
    keys_folder: Path = Field(description="folder of the private keys: <workspace>/<version>")
    data_folder: Path = Field(description="the only folder this process writes to")
    groups: Groups = Field(description="worker groups to serve, separated by commas")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$",
        description="this worker's name in leases and logs (letters, digits, dots, dashes)",
    )
    lease_seconds: int = Field(60, ge=10, le=600, description="life of a mailbox lease, seconds")
    slice_seconds: int = Field(60, ge=1, le=60, description="longest slice of work, seconds")
    drain_deadline_seconds: int = Field(
        30, ge=1, le=600, description="time to finish after a stop signal, seconds"
    )
    per_host_cap: int = Field(4, ge=1, le=64, description="connections to one mail host at once")
    allow_private_networks: Networks = Field(
        (), description="private networks that may be dialled, in CIDR, separated by commas"
    )
    allow_app_passwords: bool = Field(
        False, description="true lets passwords be used with Gmail and Microsoft hosts"
    )
    zone_file: Path | None = Field(
        None, description="DNS zone file of a sandbox, instead of the resolver"
    )
    google_client_id: str = Field("", description="OAuth client id at Google, for Gmail mailboxes")
    google_client_secret: Secret = Field(
        Secret(""), description="secret of the OAuth client at Google"
    )
    google_token_endpoint: str = Field(
        GOOGLE_TOKEN_ENDPOINT, description="address of Google's token endpoint"
    )
    microsoft_client_id: str = Field(
        "", description="OAuth client id at Microsoft, for Outlook and Microsoft 365 mailboxes"
    )
    microsoft_client_secret: Secret = Field(
        Secret(""), description="secret of the OAuth client at Microsoft; a public client has none"
    )
    microsoft_token_endpoint: str = Field(
        MICROSOFT_TOKEN_ENDPOINT,
        description="address of Microsoft's token endpoint; a tenant's own instead of /common/",
    )

    @field_validator("google_token_endpoint", "microsoft_token_endpoint")
    @classmethod
    def _check_token_endpoint(cls, value: str) -> str:
        url = _split_url(value)
        secure = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))
        if not secure or not url.hostname or url.username or url.fragment:
            raise _problem("it must be an https:// address")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str, info: ValidationInfo) -> str:
        url = check_postgres(value, info)
        if url.username or url.password or {"user", "password"} & parse_qs(url.query).keys():
            raise _problem("leave user and password out: they come from the logins folder")
        return value


class SchedulerSettings(QueueSettings):
    """Settings of `mailhearth scheduler`."""

    database_url: Secret = Field(description="postgresql://user:password@host:port/name?sslmode=")
    data_folder: Path = Field(description="folder of the checkpoints and the generation copy")
    tick_ms: int = Field(
        1000, ge=20, le=60_000, description="pause between two looks at the database, ms"
    )
    per_host_cap: int = Field(
        8, ge=1, le=1000, description="mailboxes of one mail host that are worked on at once"
    )
    keep_facts_days: int = Field(
        90, ge=30, le=3650, description="days that ended messages and planned days are kept"
    )
    keep_audit_days: int = Field(
        730, ge=90, le=36_500, description="days that audit events are kept"
    )
    keep_sessions_days: int = Field(
        7, ge=0, le=365, description="days that sessions are kept after their end"
    )
    keep_invitations_days: int = Field(
        30, ge=0, le=3650, description="days that invitations are kept after they expired"
    )
    keep_attempts_days: int = Field(
        1, ge=0, le=365, description="days that unused sign-in links are kept after they expired"
    )

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: Secret, info: ValidationInfo) -> Secret:
        check_postgres(value.reveal(), info)
        return value


def is_loopback(host: str | None) -> bool:
    """Whether a host of a URL is this machine (or a Unix socket's folder, or absent)."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _gather(
    cls: type[ProcessSettings], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Each field's text, from its variable or the file that `*_FILE` names."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field, about in cls.model_fields.items():
        variable = PREFIX + field.upper()
        file = environ.get(variable + "_FILE") if about.annotation is Secret else None
        if variable in environ and file is not None:
            problems.append(f"{variable}: set it or {variable}_FILE, not both.")
        elif file is not None:
            try:
                values[field] = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                problems.append(f"{variable}_FILE: {file!r} cannot be read ({reason}).")
        elif variable in environ:
            values[field] = environ[variable]
    return values, problems


def _variable(detail: ErrorDetails) -> str:
    return PREFIX + str(detail["loc"][0]).upper()


def _explain(cls: type[ProcessSettings], detail: ErrorDetails) -> str:
    field = cls.model_fields[str(detail["loc"][0])]
    if detail["type"] == "missing":
        what = "is not set"
        if field.annotation is Secret:
            what += f" (nor is {_variable(detail)}_FILE)"
    else:
        what = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{_variable(detail)}: {what}. It is the {field.description}."


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{text}", {"text": text})


def _split_url(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # raises when it is no number
    except ValueError:
        raise _problem("it is not a URL") from None
    return url


def _must_be_tls(info: ValidationInfo) -> bool:
    return info.data.get("environment") is Environment.PRODUCTION


def check_postgres(text: str, info: ValidationInfo) -> SplitResult:
    url = _split_url(text)
    if url.scheme not in ("postgresql", "postgres"):
        raise _problem("it must start with postgresql://")
    query = parse_qs(url.query)
    hosts = [*(query.get("host") or [url.hostname or ""]), *query.get("hostaddr", [])]
    remote = not all(is_loopback(part) for host in hosts for part in host.split(","))
    if _must_be_tls(info) and remote and query.get("sslmode") != ["verify-full"]:
        raise _problem(f"{_BEYOND_LOOPBACK} ?sslmode=verify-full")
    return url
