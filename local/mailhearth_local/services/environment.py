"""What each child process is given of the environment: its own variables and no other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mailhearth_core.secrets import Secret
from mailhearth_core.settings import Environment
from mailhearth_local.provisioner import LOCAL_GROUP
from mailhearth_local.sandbox.server import ZONE_FILE

NO_REDIS = "redis://127.0.0.1:0/0"
"""For a worker that makes one connection test and takes no wake-ups."""
LOOPBACK_NETWORKS = "127.0.0.0/8,::1/128"
PLAIN_NAMES = ("DATABASE_URL", "REDIS_URL")
PASSED_ON = (
    "LOG_LEVEL", "LEASE_SECONDS", "SLICE_SECONDS", "DRAIN_DEADLINE_SECONDS", "PER_HOST_CAP",
    "ALLOW_PRIVATE_NETWORKS", "ALLOW_APP_PASSWORDS", "ZONE_FILE", "TICK_MS",
    "KEEP_FACTS_DAYS", "KEEP_AUDIT_DAYS", "KEEP_SESSIONS_DAYS",
    "KEEP_INVITATIONS_DAYS", "KEEP_ATTEMPTS_DAYS",
)  # fmt: skip
"""Settings of worker and scheduler that may be given to `up`; the others it sets itself."""
PASSED_TO_WORKERS = tuple(
    f"{owner}_{name}"
    for owner in ("GOOGLE", "MICROSOFT")
    for name in ("CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRET_FILE", "TOKEN_ENDPOINT")
)
"""OAuth clients are the workers' alone."""
PASSED_TO_WEB = (
    "LOG_LEVEL", "PUBLIC_URL", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "WEB_HOST",
    "DATABASE_CONNECTIONS", "THREADS", "STREAMS", "STOP_SECONDS", "SESSION_IDLE_MINUTES",
    "SESSION_HOURS", "REGISTRATION_OPEN", "OIDC_PROVIDERS", "OIDC_PROVIDERS_FILE",
    "SECURITY_CONTACT", "ALLOW_APP_PASSWORDS",
    *(
        f"{owner}_{name}"
        for owner in ("GOOGLE", "MICROSOFT")
        for name in ("CLIENT_ID", "TOKEN_ENDPOINT", "AUTHORIZATION_ENDPOINT")
    ),
)  # fmt: skip
"""Settings of the web process that may be given to `up`."""
SANDBOX_DEFAULTS: Mapping[str, str] = {"MAILHEARTH_PER_HOST_CAP": "64"}
"""All mailboxes of a sandbox are on one host, which is this machine."""
SYSTEM_NAMES = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")


def with_plain_names(environ: Mapping[str, str]) -> dict[str, str]:
    """DATABASE_URL and REDIS_URL (and their `_FILE`) under the product's own names.

    The product's own name goes first where both are set.
    """
    result = dict(environ)
    for name in PLAIN_NAMES:
        own = {f"MAILHEARTH_{name}", f"MAILHEARTH_{name}_FILE"}
        if own & result.keys():
            continue
        for variable in (name, f"{name}_FILE"):
            if environ.get(variable):
                result[f"MAILHEARTH_{variable}"] = environ[variable]
    return result


def worker_environment(
    data: Path,
    environ: Mapping[str, str],
    *,
    environment: str,
    sandbox: bool,
    database_url: str,
    role_prefix: str,
    redis_url: Secret,
    name: str,
    port: int,
) -> dict[str, str]:
    """The environment of a worker process. Pure but for a look whether there is a sandbox zone."""
    own = {
        "MAILHEARTH_ENVIRONMENT": environment,
        "MAILHEARTH_DATABASE_URL": database_url,
        "MAILHEARTH_ROLE_PREFIX": role_prefix,
        "MAILHEARTH_REDIS_URL": redis_url.reveal() or NO_REDIS,
        "MAILHEARTH_LOGINS_FOLDER": str(data / "logins"),
        "MAILHEARTH_KEYS_FOLDER": str(data / "keys"),
        "MAILHEARTH_DATA_FOLDER": str(data / "work"),
        "MAILHEARTH_GROUPS": LOCAL_GROUP,
        "MAILHEARTH_NAME": name,
        "MAILHEARTH_METRICS_PORT": str(port),
        "MAILHEARTH_HEALTH_PORT": str(port),
    }
    defaults = dict(SANDBOX_DEFAULTS) if sandbox else {}
    if environment != Environment.PRODUCTION:
        defaults["MAILHEARTH_ALLOW_PRIVATE_NETWORKS"] = LOOPBACK_NETWORKS
    zone = data / "sandbox" / ZONE_FILE
    if sandbox and zone.is_file():
        defaults["MAILHEARTH_ZONE_FILE"] = str(zone)
    return {**defaults, **common(environ), **_passed(environ, PASSED_TO_WORKERS), **own}


def web_environment(
    environ: Mapping[str, str],
    *,
    environment: str,
    database_url: Secret,
    admin_database_url: Secret,
    redis_url: Secret,
    port: int,
    web_port: int,
    local_sign_in: bool,
) -> dict[str, str]:
    """The environment of the web process. Pure.

    Args:
        port: of health and metrics.
        web_port: of the dashboard.
        local_sign_in: whether one-time links are allowed.
    """
    return {
        "MAILHEARTH_PUBLIC_URL": f"http://127.0.0.1:{web_port}",
        **_system(environ),
        **_passed(environ, PASSED_TO_WEB),
        "MAILHEARTH_ENVIRONMENT": environment,
        "MAILHEARTH_DATABASE_URL": database_url.reveal(),
        "MAILHEARTH_ADMIN_DATABASE_URL": admin_database_url.reveal(),
        "MAILHEARTH_REDIS_URL": redis_url.reveal(),
        "MAILHEARTH_WEB_PORT": str(web_port),
        "MAILHEARTH_LOCAL_SIGN_IN": str(local_sign_in).lower(),
        "MAILHEARTH_METRICS_PORT": str(port),
        "MAILHEARTH_HEALTH_PORT": str(port),
    }


def common(environ: Mapping[str, str]) -> dict[str, str]:
    """What worker and scheduler get: the system's variables and settings passed on."""
    return {**_system(environ), **_passed(environ, PASSED_ON)}


def _system(environ: Mapping[str, str]) -> dict[str, str]:
    system = {name: environ[name] for name in SYSTEM_NAMES if name in environ}
    return {"PATH": os.defpath, "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2", **system}


def _passed(environ: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    variables = (f"MAILHEARTH_{name}" for name in names)
    return {name: environ[name] for name in variables if name in environ}
