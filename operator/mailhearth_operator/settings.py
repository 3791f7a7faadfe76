"""Settings of `mailhearth operator`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from mailhearth_core.errors import MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import Names, ProcessSettings, check_postgres
from mailhearth_operator.manifests.model import Platform


class OperatorSettings(ProcessSettings):
    """Settings of `mailhearth operator`: the only process that makes keys, logins and workers."""

    database_url: Secret = Field(description="postgresql:// address with the login `operator`")
    cli_database_url: Secret = Field(
        description="postgresql:// address with the login `cli`, which adds declared mailboxes"
    )
    platform_file: Path = Field(description="YAML file of what all workers share")
    namespace: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="namespace of the release; resources made in the dashboard go there",
    )
    namespaces: Names = Field(
        (), description="namespaces to watch, separated by commas; by default the release's own"
    )
    name: str = Field("operator", description="name of this pod, in events")
    threads: int = Field(8, ge=1, le=64, description="resources that are worked on at once")
    allow_app_passwords: bool = Field(
        False, description="true lets passwords be used with Gmail and Microsoft hosts"
    )

    @field_validator("database_url", "cli_database_url")
    @classmethod
    def _check_database(cls, value: Secret, info: ValidationInfo) -> Secret:
        check_postgres(value.reveal(), info)
        return value

    def watched(self) -> tuple[str, ...]:
        """Namespaces to watch."""
        return self.namespaces or (self.namespace,)


class PlatformFile(BaseModel):
    """The platform file, as the chart writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    installation: str
    image: str
    pull_policy: str = Field("IfNotPresent", alias="pullPolicy")
    image_pull_secrets: tuple[str, ...] = Field((), alias="imagePullSecrets")
    database_url: str = Field(alias="databaseUrl")
    database_ca: str | None = Field(None, alias="databaseCa")
    database_port: int = Field(5432, alias="databasePort")
    redis_secret: str = Field(alias="redisSecret")
    redis_port: int = Field(6379, alias="redisPort")
    oauth_secret: str | None = Field(None, alias="oauthSecret")
    environment: str = "production"
    dns_namespace: str = Field("kube-system", alias="dnsNamespace")
    dns_ports: tuple[int, ...] = Field((53, 1053, 5353), alias="dnsPorts")
    mail_ports: tuple[int, ...] = Field((25, 143, 443, 465, 587, 993), alias="mailPorts")
    release_namespace: str = Field("", alias="releaseNamespace")
    settings: dict[str, str] = {}

    def platform(self) -> Platform:
        """What the builders take."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        for name in ("installation", "release_namespace"):
            del values[name]
        return Platform(**values)


def read_platform(path: Path) -> PlatformFile:
    """Raises MailhearthError, which names each mistake."""
    try:
        return PlatformFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise MailhearthError(
            f"The platform file {path} cannot be read: {error}.",
            hint="The chart writes it; see MAILHEARTH_PLATFORM_FILE.",
            code="platform_file",
        ) from None
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        )
        raise MailhearthError(
            f"The platform file {path} is wrong: {wrong}.",
            hint="The chart writes it; see MAILHEARTH_PLATFORM_FILE.",
            code="platform_file",
        ) from None
