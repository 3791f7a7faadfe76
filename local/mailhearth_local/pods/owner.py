"""The jobs that log in as the schema's owner: their settings, and waiting for the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg import errors
from pydantic import Field, ValidationInfo, field_validator

from mailhearth_core.errors import MailhearthError, ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import ProcessSettings, SchedulerSettings
from mailhearth_core.storage.roles import LOGIN_ROLES, Roles, without_login

T = TypeVar("T")
POLL_SECONDS = 0.5
FOR_GOOD = (
    "password authentication failed",
    "no password supplied",
    "certificate",
    "root certificate file",
    "does not exist",
    "pg_hba.conf",
    "SSL was required",
    "server does not support SSL",
    "invalid sslmode",
    "invalid connection option",
)
"""Words of libpq and Postgres that waiting does not change; its errors carry no codes here."""


class OwnerSettings(ProcessSettings):
    """Settings of the jobs that make, save and restore the database."""

    owner_url: Secret = Field(
        description="postgresql:// address of the database with the login that owns the schema"
    )
    role_prefix: str = Field(
        "mh",
        pattern=r"^[a-z][a-z0-9]{0,14}$",
        description="prefix of this installation's database roles",
    )
    role_passwords_folder: Path = Field(
        Path("/logins"), description="folder of the logins' passwords, files named as the roles"
    )
    wait_seconds: float = Field(
        120, ge=0, le=3600, description="how long the database is waited for, seconds"
    )
    sandbox: bool = Field(False, description="true makes this a sandbox for good, its clock scaled")
    day_seconds: float = Field(
        60, gt=0, le=86_400, description="seconds that one day of a sandbox takes"
    )

    @field_validator("owner_url")
    @classmethod
    def _check_owner(cls, value: Secret, info: ValidationInfo) -> Secret:
        return SchedulerSettings._check_database(value, info)

    @property
    def roles(self) -> Roles:
        return Roles(self.role_prefix)

    def passwords(self) -> dict[str, Secret]:
        """Of the processes' logins; raises MailhearthError naming all that are missing."""
        found, missing = {}, []
        for role in LOGIN_ROLES:
            path = self.role_passwords_folder / role
            text = path.read_text().strip() if path.is_file() else ""
            found[role] = Secret(text)
            if not text:
                missing.append(role)
        if missing:
            raise MailhearthError(
                f"{self.role_passwords_folder} lacks the password of {', '.join(missing)}.",
                hint="It takes one file for each: " + ", ".join(LOGIN_ROLES) + ".",
                code="secret_missing",
            )
        return found


def await_database(url: Secret, seconds: float) -> None:
    """Returns once the database takes this login; see `reached` for what it raises."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with psycopg.connect(url.reveal(), connect_timeout=5):
                return
        except psycopg.OperationalError as error:
            said = _said(error)
            left = deadline - time.monotonic()
            if left <= 0 or _is_for_good(error):
                raise _unusable(url, said) from None
            time.sleep(min(POLL_SECONDS, left))
        except psycopg.ProgrammingError as error:  # a URL that libpq does not understand
            raise _unusable(url, _said(error)) from None


def reached(url: Secret, work: Callable[[], T]) -> T:
    """Does the work; an error of the connection becomes one sentence with libpq's words in it.

    Raises:
        ServiceUnavailable: code `database_unavailable`.
    """
    try:
        return work()
    except psycopg.OperationalError as error:
        raise _unusable(url, _said(error)) from None


def _is_for_good(error: psycopg.OperationalError) -> bool:
    if isinstance(error, errors.CannotConnectNow):
        return False
    said = str(error)
    return any(words in said for words in FOR_GOOD) and "No such file" not in said


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


def _unusable(url: Secret, said: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"The database at {without_login(url.reveal())} cannot be used: {said}",
        hint="See whether it runs, and whether its address, login and certificate authority are "
        "right.",
        code="database_unavailable",
    )
