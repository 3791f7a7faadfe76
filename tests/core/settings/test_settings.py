"""Settings: read once, all mistakes at once, secrets never shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from mailhearth_core.settings import SchedulerSettings, SettingsError, WorkerSettings

CANARY = "c4nary"
WORKER = {
    "MAILHEARTH_DATABASE_URL": "postgresql://127.0.0.1:5432/mailhearth",
    "MAILHEARTH_REDIS_URL": f"redis://worker:{CANARY}@127.0.0.1:6379/0",
    "MAILHEARTH_LOGINS_FOLDER": "/logins",
    "MAILHEARTH_KEYS_FOLDER": "/keys",
    "MAILHEARTH_DATA_FOLDER": "/data",
    "MAILHEARTH_GROUPS": "tier-a, tier-b",
    "MAILHEARTH_NAME": "worker-0",
}
SCHEDULER = {
    "MAILHEARTH_DATABASE_URL": f"postgresql://s:{CANARY}@127.0.0.1/mailhearth",
    "MAILHEARTH_REDIS_URL": "redis://127.0.0.1",
    "MAILHEARTH_DATA_FOLDER": "/data",
}


def problems(
    environ: dict[str, str], cls: type[WorkerSettings | SchedulerSettings] = WorkerSettings
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        cls.load(environ)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value.problems


def test_a_worker_gets_its_defaults_and_its_lists() -> None:
    settings = WorkerSettings.load(
        WORKER | {"MAILHEARTH_ALLOW_PRIVATE_NETWORKS": "10.0.0.0/8,fd00::/8"}
    )
    assert settings.groups == ("tier-a", "tier-b")
    assert settings.keys_folder == Path("/keys")
    assert [str(network) for network in settings.allow_private_networks] == [
        "10.0.0.0/8",
        "fd00::/8",
    ]
    assert (settings.lease_seconds, settings.slice_seconds, settings.per_host_cap) == (60, 60, 4)
    assert settings.drain_deadline_seconds == 30
    assert not settings.allow_app_passwords
    assert settings.redis_url.reveal() == WORKER["MAILHEARTH_REDIS_URL"]
    with pytest.raises(pydantic.ValidationError):
        settings.name = "other"


def test_secrets_are_never_shown() -> None:
    for settings in (WorkerSettings.load(WORKER), SchedulerSettings.load(SCHEDULER)):
        for shown in (
            repr(settings),
            str(settings),
            settings.model_dump_json(),
            json.dumps(settings.model_dump(mode="json")),
        ):
            assert CANARY not in shown


def test_all_mistakes_come_at_once_each_naming_its_variable() -> None:
    environ = {
        "MAILHEARTH_ENVIRONMENT": "production",
        "MAILHEARTH_DATABASE_URL": f"postgresql://ann:{CANARY}@db.example.org/m?sslmode=require",
        "MAILHEARTH_REDIS_URL": f"http://{CANARY}",
        "MAILHEARTH_LOGINS_FOLDER": "/logins",
        "MAILHEARTH_DATA_FOLDER": "/data",
        "MAILHEARTH_GROUPS": "Tier_A",
        "MAILHEARTH_NAME": "worker-0",
        "MAILHEARTH_LEASE_SECONDS": "5",
        "MAILHEARTH_ALLOW_PRIVATE_NETWORKS": "10.0.0.0/99",
        "MAILHEARTH_METRICS_PORT": "many",
    }
    lines = problems(environ)
    assert {line.split(":")[0] for line in lines} == {
        "MAILHEARTH_DATABASE_URL",
        "MAILHEARTH_REDIS_URL",
        "MAILHEARTH_KEYS_FOLDER",
        "MAILHEARTH_GROUPS",
        "MAILHEARTH_LEASE_SECONDS",
        "MAILHEARTH_ALLOW_PRIVATE_NETWORKS",
        "MAILHEARTH_METRICS_PORT",
    }
    assert any("KEYS_FOLDER: is not set. It is the folder of the private keys" in x for x in lines)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAILHEARTH_DATABASE_URL", "postgresql://db.example.org/m"),
        ("MAILHEARTH_DATABASE_URL", "postgresql://db.example.org/m?sslmode=require"),
        ("MAILHEARTH_DATABASE_URL", "postgresql:///m?host=db.example.org"),
        ("MAILHEARTH_DATABASE_URL", "postgresql://127.0.0.1/m?hostaddr=192.0.2.1"),
        ("MAILHEARTH_REDIS_URL", "redis://redis.example.org"),
        ("MAILHEARTH_REDIS_URL", "rediss://redis.example.org?ssl_cert_reqs=none"),
        ("MAILHEARTH_REDIS_URL", "rediss://redis.example.org?ssl_check_hostname=false"),
    ],
)
def test_production_refuses_services_without_tls(variable: str, value: str) -> None:
    environ = WORKER | {variable: value}
    assert WorkerSettings.load(environ | {"MAILHEARTH_ENVIRONMENT": "development"})
    [line] = problems(environ | {"MAILHEARTH_ENVIRONMENT": "production"})
    assert line.startswith(f"{variable}: in production")


@pytest.mark.parametrize(
    ("database", "redis"),
    [
        ("postgresql://db.example.org/m?sslmode=verify-full", "rediss://redis.example.org:6380/1"),
        ("postgresql:///m?host=/run/postgresql", "unix:///run/valkey.sock"),
        ("postgresql://[::1]/m", "redis://localhost:6379"),
    ],
)
def test_production_takes_tls_and_loopback(database: str, redis: str) -> None:
    environ = WORKER | {"MAILHEARTH_ENVIRONMENT": "production"}
    environ |= {"MAILHEARTH_DATABASE_URL": database, "MAILHEARTH_REDIS_URL": redis}
    assert WorkerSettings.load(environ).database_url == database


@pytest.mark.parametrize("login", ["ann@", f"ann:{CANARY}@", f"?password={CANARY}", "?user=ann"])
def test_a_workers_database_url_holds_no_login(login: str) -> None:
    url = f"postgresql://h/m{login}" if login.startswith("?") else f"postgresql://{login}h/m"
    [line] = problems(WORKER | {"MAILHEARTH_DATABASE_URL": url})
    assert "logins folder" in line


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"redis://:{CANARY}@127.0.0.1/2\n")
    environ = {k: v for k, v in WORKER.items() if k != "MAILHEARTH_REDIS_URL"}
    settings = WorkerSettings.load(environ | {"MAILHEARTH_REDIS_URL_FILE": str(file)})
    assert settings.redis_url.reveal() == f"redis://:{CANARY}@127.0.0.1/2"
    assert problems(WORKER | {"MAILHEARTH_REDIS_URL_FILE": str(file)}) == [
        "MAILHEARTH_REDIS_URL: set it or MAILHEARTH_REDIS_URL_FILE, not both."
    ]
    [line] = problems(environ | {"MAILHEARTH_REDIS_URL_FILE": str(tmp_path / "none")})
    assert line.startswith("MAILHEARTH_REDIS_URL_FILE: ")
    assert "No such file" in line
    file.write_bytes(b"\xff\xfe")
    [line] = problems(environ | {"MAILHEARTH_REDIS_URL_FILE": str(file)})
    assert "not UTF-8" in line


def test_the_scheduler_needs_its_own_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SCHEDULER.items():
        monkeypatch.setenv(name, value)
    assert SchedulerSettings.load().database_url.reveal().startswith("postgresql://s:")
    remote = SCHEDULER | {
        "MAILHEARTH_ENVIRONMENT": "production",
        "MAILHEARTH_DATABASE_URL": f"postgresql://s:{CANARY}@db.example.org/m",
    }
    [line] = problems(remote, SchedulerSettings)
    assert "verify-full" in line


def test_importing_reads_nothing() -> None:
    script = "import mailhearth_core.settings, mailhearth_core.logs, mailhearth_core.metrics"
    environ = {"MAILHEARTH_METRICS_PORT": "many", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
