"""The services of one data folder: Postgres and Valkey, embedded or given, with roles and schema.

The folder holds everything: `postgres/`, `valkey/`, `sandbox/`, `keys/` (private keys), `logins/`
(the workers' database passwords), `secrets/` (other passwords), `work/` (what workers and the
scheduler write), `log/`, `lock`, `run.json`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psycopg
from psycopg.rows import dict_row
from pydantic import Field, ValidationInfo, field_validator

from mailhearth_core.errors import Conflict, MailhearthError, ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import Environment, QueueSettings, SchedulerSettings
from mailhearth_core.storage import installation as storage
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.migrate import migrate
from mailhearth_core.storage.roles import LOGIN_ROLES, Roles, ensure_roles, login_url, without_login
from mailhearth_local.embedded.folder import (
    stored_secret,
    write_atomically,
)
from mailhearth_local.embedded.postgres import EmbeddedPostgres
from mailhearth_local.keystore import FileKeyStore
from mailhearth_local.provisioner import LocalProvisioner
from mailhearth_local.services.environment import (
    SANDBOX_DEFAULTS,
    common,
    web_environment,
    with_plain_names,
    worker_environment,
)
from mailhearth_local.services.redis import RedisService

OWNER, DATABASE = "mailhearth_owner", "mailhearth"


class StackSettings(QueueSettings):
    """Settings of `mailhearth up` and of the one-shot commands."""

    redis_url: Secret = Field(
        Secret(""), description="address of a Redis or Valkey to use instead of the embedded one"
    )
    database_url: Secret = Field(
        Secret(""),
        description="address of a Postgres to use instead of the embedded one; its login owns the "
        "schema and has CREATEROLE",
    )
    role_prefix: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9]{0,14})?$",
        description="prefix of this installation's database roles (a-z, then up to 14 of a-z0-9)",
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: Secret, info: ValidationInfo) -> Secret:
        return QueueSettings._check_redis(value, info) if value else value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: Secret, info: ValidationInfo) -> Secret:
        return SchedulerSettings._check_database(value, info) if value else value


@dataclass(frozen=True)
class Urls:
    """Where each process logs in. The Redis ones are empty while no Redis was started."""

    owner: Secret
    cli: Secret
    scheduler: Secret
    operator: Secret
    web: Secret
    admin: Secret
    worker_base: str
    redis_scheduler: Secret
    redis_worker: Secret
    redis_web: Secret
    redis_admin: Secret


class Stack:
    """The services of a data folder; nothing is started or written before `start_services`.

    Start them from the main thread, or one that lives as long as they should.

    Raises:
        SettingsError: the environment is wrong.
    """

    def __init__(self, data: Path, environ: Mapping[str, str]) -> None:
        self.data = data.resolve()
        self.environ = with_plain_names(environ)
        self.settings = StackSettings.load(self.environ)
        self.secrets = self.data / "secrets"
        self.logins = self.data / "logins"
        self.keys = FileKeyStore(self.data / "keys")
        self.postgres: EmbeddedPostgres | None = None
        if not self.settings.database_url:
            self.postgres = EmbeddedPostgres(self.data / "postgres", secrets=self.secrets)
        self.redis = RedisService(self.data / "valkey", self.secrets, self.settings.redis_url)
        self._urls: Urls | None = None
        self._roles: Roles | None = None
        self._installation: storage.Installation | None = None

    # -- life -------------------------------------------------------------------------------

    def start_services(self, *, redis: bool = True) -> None:
        """Returns when the services answer and the schema is up to date; heals when called again.

        Raises:
            ServiceUnavailable: a service does not start, or a given one cannot be reached.
            Conflict: the installation is not of the environment that is asked for.
        """
        self.make_folder()
        owner = self._start_postgres()
        if redis:
            self.redis.ensure_started()
        if self._installation is None:
            self._prepare_database(owner)
        self._urls = self._make_urls(owner)

    def stop_services(self) -> None:
        """Stops what is embedded; harmless when stopped."""
        self.redis.stop()
        if self.postgres is not None:
            self.postgres.stop()

    def make_folder(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data.chmod(0o700)
        for name in ("log", "logins", "keys", "work"):
            (self.data / name).mkdir(mode=0o700, exist_ok=True)

    def dead_services(self) -> list[str]:
        """Names of the embedded services that were started and run no more."""
        dead = []
        if self.postgres is not None and not self.postgres.is_alive():
            dead.append("postgres")
        if self.redis.is_embedded and not self.redis.is_alive():
            dead.append("valkey")
        return dead

    def pids(self) -> dict[str, int]:
        found = {"postgres": self.postgres.pid if self.postgres else None, "valkey": self.redis.pid}
        return {name: pid for name, pid in found.items() if pid is not None}

    # -- what it is -------------------------------------------------------------------------

    @property
    def urls(self) -> Urls:
        if self._urls is None:
            raise ServiceUnavailable("The services were not started.")
        return self._urls

    @property
    def roles(self) -> Roles:
        if self._roles is None:
            raise ServiceUnavailable("The services were not started.")
        return self._roles

    @property
    def installation(self) -> storage.Installation:
        if self._installation is None:
            raise ServiceUnavailable("The services were not started.")
        return self._installation

    @property
    def environment(self) -> str:
        return self.installation.environment

    @property
    def sandbox(self) -> bool:
        return self.installation.sandbox

    @property
    def sandbox_folder(self) -> Path:
        return self.data / "sandbox"

    def enter_sandbox(self, day_seconds: float) -> None:
        """Makes this a sandbox for good and scales its clock; see `storage.installation`."""
        storage.enter_sandbox(self.urls.owner.reveal(), day_seconds)
        self._installation = self._read_installation(self.urls.owner.reveal())

    @cached_property
    def _provisioner_database(self) -> Database:
        return Database(self.urls.operator, name="mailhearth-provisioner")

    def provisioner(self) -> LocalProvisioner:
        """One that logs in as the operator, for this process."""
        return LocalProvisioner(
            self._provisioner_database, self.keys, self.logins, sandbox=self.sandbox
        )

    def close(self) -> None:
        """Closes the database connections that `provisioner` opened."""
        if "_provisioner_database" in self.__dict__:
            self._provisioner_database.close()
            del self.__dict__["_provisioner_database"]

    # -- what its processes get -------------------------------------------------------------

    def worker_environment(self, *, name: str = "local-1", port: int = 0) -> dict[str, str]:
        """All a worker process gets; its passwords lie in files of the data folder."""
        return worker_environment(
            self.data,
            self.environ,
            environment=self.environment,
            sandbox=self.sandbox,
            database_url=self.urls.worker_base,
            role_prefix=self.roles.prefix,
            redis_url=self.urls.redis_worker,
            name=name,
            port=port,
        )

    def scheduler_environment(self, *, port: int = 0, scaled: bool = False) -> dict[str, str]:
        """All a scheduler process gets.

        Args:
            scaled: a fast clock needs a fast tick.
        """
        return {
            "MAILHEARTH_TICK_MS": "60" if scaled else "500",
            **(SANDBOX_DEFAULTS if self.sandbox else {}),
            **common(self.environ),
            "MAILHEARTH_ENVIRONMENT": self.environment,
            "MAILHEARTH_DATABASE_URL": self.urls.scheduler.reveal(),
            "MAILHEARTH_REDIS_URL": self.urls.redis_scheduler.reveal(),
            "MAILHEARTH_DATA_FOLDER": str(self.data / "work"),
            "MAILHEARTH_METRICS_PORT": str(port),
            "MAILHEARTH_HEALTH_PORT": str(port),
        }

    def web_environment(self, *, port: int, web_port: int, local_sign_in: bool) -> dict[str, str]:
        """All the web process gets."""
        return web_environment(
            self.environ,
            environment=self.environment,
            database_url=self.urls.web,
            admin_database_url=self.urls.admin,
            redis_url=self.urls.redis_web,
            port=port,
            web_port=web_port,
            local_sign_in=local_sign_in,
        )

    # -- inside -----------------------------------------------------------------------------

    def _start_postgres(self) -> str:
        if self.postgres is None:
            return self.settings.database_url.reveal()
        self.postgres.ensure_started()
        try:
            return self.postgres.provision(OWNER, DATABASE).reveal()
        except psycopg.OperationalError as error:  # it died meanwhile
            raise ServiceUnavailable(
                f"The embedded Postgres broke off ({type(error).__name__})."
            ) from error

    def _prepare_database(self, owner: str) -> None:
        explicit = "MAILHEARTH_ENVIRONMENT" in self.environ
        wanted = str(self.settings.environment)
        try:
            self._roles = Roles(self._prefix(owner))
            passwords = {role: stored_secret(self.secrets / f"role-{role}") for role in LOGIN_ROLES}
            ensure_roles(owner, self._roles, passwords)
            migrate(owner, self._roles)
            found = self._read_installation(owner)
            if explicit and found.environment != wanted:
                found = _change_environment(owner, found, wanted)
        except psycopg.OperationalError as error:
            raise ServiceUnavailable(
                f"The database at {without_login(owner)} cannot be used: {str(error).strip()}",
                hint="See whether it runs, and whether DATABASE_URL and its login are right.",
                code="database_unavailable",
            ) from None
        if found.environment == Environment.PRODUCTION:
            # Also where only the database knows that this is production.
            StackSettings.load({**self.environ, "MAILHEARTH_ENVIRONMENT": "production"})
        self._installation = found

    def _prefix(self, owner: str) -> str:
        """Of the roles. Own to the installation where the server may be shared, and kept."""
        if self.settings.role_prefix:
            return self.settings.role_prefix
        if self.postgres is not None:
            return "mh"
        kept = self.data / "role-prefix"
        if kept.is_file():
            return kept.read_text().strip()
        prefix = _prefix_in(owner) or f"mh{secrets.token_hex(4)}"
        write_atomically(kept, prefix + "\n")
        return prefix

    def _make_urls(self, owner: str) -> Urls:
        def login(role: str) -> Secret:
            return login_url(
                owner, self.roles.name(role), stored_secret(self.secrets / f"role-{role}")
            )

        return Urls(
            owner=Secret(owner),
            **{role: login(role) for role in LOGIN_ROLES},
            worker_base=without_login(owner),
            redis_scheduler=self.redis.scheduler_url,
            redis_worker=self.redis.worker_url,
            redis_web=self.redis.web_url,
            redis_admin=self.redis.admin_url,
        )

    @staticmethod
    def _read_installation(owner: str) -> storage.Installation:
        with psycopg.connect(owner, row_factory=dict_row) as conn:
            conn.execute("SET search_path = mailhearth")
            return storage.read_installation(conn)


def _prefix_in(owner: str) -> str | None:
    """The role prefix that this database was made with."""
    with psycopg.connect(owner) as conn:
        row = conn.execute(
            "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'warden'"
        ).fetchone()
    return str(row[0]).removesuffix("_warden") if row else None


def _change_environment(
    owner: str, found: storage.Installation, wanted: str
) -> storage.Installation:
    if found.environment == Environment.PRODUCTION:
        raise Conflict(
            f"environment: {wanted!r} is not allowed; this installation is in production.",
            hint="Leave MAILHEARTH_ENVIRONMENT out, or use another data folder.",
            code="environment_refused",
        )
    if found.sandbox and wanted == Environment.PRODUCTION:
        raise Conflict(
            "environment: 'production' is not allowed; this installation is a sandbox for good.",
            hint="Use another data folder for production.",
            code="environment_refused",
        )
    with psycopg.connect(owner) as conn:
        conn.execute("UPDATE mailhearth.installation SET environment = %s", [wanted])
    return Stack._read_installation(owner)


def refuse_in_production(environment: str, option: str) -> None:
    """Raises for an option that scales time or makes up mail servers."""
    if environment == Environment.PRODUCTION:
        raise MailhearthError(
            f"{option}: not allowed in production; allowed in development and staging.",
            hint="Use another data folder, with MAILHEARTH_ENVIRONMENT=development.",
            code="sandbox_refused",
        )
