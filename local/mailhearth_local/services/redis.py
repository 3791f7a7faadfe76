"""Redis of one data folder: a Valkey of our own, or the one that REDIS_URL names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import stored_secret
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_local.provisioner import LOCAL_GROUP

log = structlog.get_logger()

SCHEDULER, WORKER, WEB = "scheduler", f"worker-{LOCAL_GROUP}", "web"
SCHEDULER_RULES = (
    *("~rq:queue:*", "~rq:queues", "~rq:job:*", "~rq:worker*"),
    *("+sadd", "+hset", "+expire", "+rpush", "+llen", "+exists", "+smembers", "+scard"),
    *("+eval", "+evalsha", "+script|load", "+script|exists"),
    *("+ping", "+client|setinfo", "+client|setname", "+select"),
)
"""Ringing for workers and counting what waits; it reads no wake-up back."""


class RedisService:
    """Starts, heals, and gives each process a login that may do only what it needs.

    Args:
        given: REDIS_URL; empty for the embedded Valkey in `folder`.
    """

    def __init__(self, folder: Path, secrets: Path, given: Secret) -> None:
        self._folder = folder
        self._given = given
        self._secrets = secrets
        self._valkey = None if given else EmbeddedValkey(folder, secrets=secrets)
        self.scheduler_url = Secret("")
        self.worker_url = Secret("")
        self.web_url = Secret("")
        self.admin_url = Secret("")

    @property
    def is_embedded(self) -> bool:
        return self._valkey is not None

    @property
    def pid(self) -> int | None:
        return self._valkey.pid if self._valkey else None

    def is_alive(self) -> bool:
        """Whether the embedded one runs; a given one is its owner's care."""
        return self._valkey is None or self._valkey.is_alive()

    def ensure_started(self) -> None:
        """Returns when Redis answers and the logins exist, also after its folder was wiped.

        Raises:
            ServiceUnavailable: it does not start, or the given one cannot be reached.
        """
        if self._valkey is None:
            self._use_given()
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been wiped
        self._valkey.ensure_started()
        self.admin_url = self._valkey.admin_url
        try:
            self.scheduler_url = self._valkey.set_user(
                SCHEDULER, self._password(SCHEDULER), SCHEDULER_RULES
            )
            self.worker_url = self._valkey.set_user(WORKER, self._password(WORKER), worker_rules())
            self.web_url = self._valkey.set_user(WEB, self._password(WEB), web_rules())
        except redis.RedisError as error:  # it died meanwhile
            raise ServiceUnavailable(
                f"The embedded Valkey broke off ({type(error).__name__})."
            ) from error

    def stop(self) -> None:
        if self._valkey is not None:
            self._valkey.stop()

    def _password(self, user: str) -> Secret:
        return stored_secret(self._secrets / f"valkey-{user}")

    def _use_given(self) -> None:
        """Makes logins on the given server where its login may; else everybody uses that login."""
        url = self._given.reveal()
        self.admin_url = self.scheduler_url = self.worker_url = self.web_url = self._given
        try:
            with redis.Redis.from_url(
                url, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)
            ) as client:
                client.ping()
                try:
                    self.scheduler_url = self._make_login(client, SCHEDULER, SCHEDULER_RULES)
                    self.worker_url = self._make_login(client, WORKER, worker_rules())
                    self.web_url = self._make_login(client, WEB, web_rules())
                except redis.ResponseError as error:
                    self.scheduler_url = self.worker_url = self.web_url = self._given
                    log.warning(
                        "redis_login_shared",
                        reason=f"REDIS_URL's login may not make others ({type(error).__name__})",
                    )
        except redis.RedisError as error:
            shown = urlunsplit(urlsplit(url)._replace(netloc=urlsplit(url).netloc.split("@")[-1]))
            raise ServiceUnavailable(
                f"Redis at {shown} does not answer ({type(error).__name__}).",
                hint="See whether it runs, and whether REDIS_URL and its login are right.",
                code="redis_unavailable",
            ) from None

    def _make_login(self, client: redis.Redis, role: str, rules: Sequence[str]) -> Secret:
        password = self._password(role)
        digest = hashlib.sha256(password.reveal().encode()).hexdigest()
        name = f"mailhearth-{digest[:8]}-{role}"  # several installations may share one server
        client.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", name, "reset", "on", f"#{digest}", *rules
        )
        parts = urlsplit(self._given.reveal())
        host = parts.netloc.split("@")[-1]
        login = f"{quote(name)}:{quote(password.reveal(), safe='')}"
        return Secret(urlunsplit(parts._replace(netloc=f"{login}@{host}")))


def worker_rules() -> list[str]:
    """The worker's, without the words that `set_user` says itself."""
    from mailhearth_worker.wakeups.acl import acl_rules  # rq is heavy: only where it is needed

    return [rule for rule in acl_rules(LOCAL_GROUP) if rule not in ("reset", "on")]


def web_rules() -> list[str]:
    from mailhearth_web.frame.redis_acl import acl_rules

    return acl_rules()
