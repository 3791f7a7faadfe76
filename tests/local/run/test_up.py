"""`mailhearth up`: starts, is found, heals, resumes, and ends in order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import redis

from mailhearth_local.embedded.process import command_line
from mailhearth_local.run.children import Child
from running_up import Up, is_gone
from waiting import wait_for

MakeUp = Callable[..., Up]


def secrets_of(data: Path) -> dict[str, str]:
    files = [*(data / "secrets").iterdir(), *(data / "logins").iterdir()]
    return {file.name: file.read_text().strip() for file in files if file.name[0] != "."}


def all_arguments() -> str:
    numbers = (name for name in os.listdir("/proc") if name.isdigit())
    return "\n".join(" ".join(command_line(int(number))) for number in numbers)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def has_new_process(up: Up, name: str, old: int) -> bool:
    return up.pids().get(name, old) != old


def is_ready(up: Up) -> bool:
    """Whether worker, scheduler and web reach all that they need, by the logins they were given."""
    return all(answers(url.replace("/metrics", "/readyz")) for url in up.run["metrics"])


def test_it_is_found_while_it_runs_and_the_next_start_resumes(make_up: MakeUp) -> None:
    up = make_up().start()
    assert stat.S_IMODE((up.data / "run.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(up.data.stat().st_mode) == 0o700
    fields = {"database_url", "redis_url", "metrics", "pids", "url", "sign_in_url"}
    assert set(up.run) == fields
    pids = up.pids()
    assert set(pids) == {"supervisor", "postgres", "valkey", "worker", "scheduler", "web"}
    (first,) = up.rows("SELECT id, current_user AS login FROM mailhearth.installation")
    assert first["login"] == "mh_cli"
    with redis.Redis.from_url(up.run["redis_url"]) as client:
        assert client.ping()
    assert len(up.run["metrics"]) == 3
    assert all(answers(url) for url in up.run["metrics"])

    shown, run = all_arguments(), (up.data / "run.json").read_text()
    for name, secret in secrets_of(up.data).items():
        assert secret not in shown, name
        assert (secret in run) == (name in ("role-cli", "valkey-admin")), name

    code, _, err = up.end()
    assert (code, (up.data / "run.json").exists()) == (0, False), err
    assert all(is_gone(pid) for pid in pids.values())

    up.start()
    assert up.rows("SELECT id FROM mailhearth.installation") == [{"id": first["id"]}]
    assert up.end(signal.SIGTERM)[0] == 0


def test_whatever_is_killed_is_started_again(make_up: MakeUp) -> None:
    up = make_up().start()
    before = up.pids()
    for name in ("worker", "scheduler", "web", "postgres", "valkey"):
        os.kill(before[name], signal.SIGKILL)
        if name == "valkey":
            shutil.rmtree(up.data / "valkey")
        wait_for(partial(has_new_process, up, name, before[name]), 30)
        wait_for(lambda: is_ready(up), 30)
    after = up.pids()
    assert all(after[name] != before[name] for name in before if name != "supervisor")
    assert up.rows("SELECT 1 AS n FROM mailhearth.installation") == [{"n": 1}]
    assert up.end()[0] == 0


def test_the_dashboard_is_told_and_opened_by_its_link_once(make_up: MakeUp) -> None:
    up = make_up().start()
    url, link = up.run["url"], up.run["sign_in_url"]
    assert link.startswith(f"{url}/sign-in/link?token=")
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link, timeout=10) as reply:  # a look does not use it up
        form = reply.read().decode()
    token = form.partition('name="csrf_token" value="')[2].partition('"')[0]
    fields = {"csrf_token": token, "token": link.partition("token=")[2]}
    with browser.open(f"{url}/sign-in/link", urlencode(fields).encode(), timeout=10) as reply:
        assert urlsplit(reply.url).path == "/workspaces"  # signed in; no workspace is there yet
    stranger = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with stranger.open(link, timeout=10) as reply:
        token = reply.read().decode().partition('name="csrf_token" value="')[2].partition('"')[0]
    fields["csrf_token"] = token
    with pytest.raises(urllib.error.HTTPError) as refused:
        stranger.open(f"{url}/sign-in/link", urlencode(fields).encode(), timeout=10)
    refused.value.close()
    assert refused.value.code in (403, 410)
    code, _, err = up.end()
    assert code == 0
    assert f"Dashboard: {url}\n" in err
    assert link in err
    up.start()
    assert up.run["url"] == url  # the port is kept
    assert up.run["sign_in_url"] != link
    assert up.end()[0] == 0


def test_without_loopback_there_is_no_link_and_the_port_given_is_taken(make_up: MakeUp) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    up = make_up(
        MAILHEARTH_PUBLIC_URL="https://warm.example.org", MAILHEARTH_WEB_PORT=str(port)
    ).start()
    assert up.run["url"] == "https://warm.example.org"
    assert up.run["sign_in_url"] == ""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/sign-in", headers={"Host": "warm.example.org"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200
    code, _, err = up.end()
    assert code == 0
    assert "Dashboard: https://warm.example.org\n" in err
    assert "token=" not in err


def test_a_killed_supervisor_takes_all_with_it_and_the_next_one_resumes(make_up: MakeUp) -> None:
    up = make_up().start()
    pids = up.pids()
    (first,) = up.rows("SELECT id FROM mailhearth.installation")
    up.end(signal.SIGKILL)
    assert (up.data / "run.json").exists(), "nobody could remove it"
    up.start()
    assert up.pids()["supervisor"] != pids["supervisor"]
    assert all(is_gone(pid) for pid in pids.values())
    assert up.rows("SELECT id FROM mailhearth.installation") == [first]
    assert is_ready(up)
    assert up.end()[0] == 0


def test_a_second_one_on_the_same_folder_is_refused(make_up: MakeUp) -> None:
    first, second = make_up().start(), make_up()
    code, _, err = second.start(ready=False).wait()
    assert code == 1
    assert "in use" in err
    assert is_ready(first), "its run.json is still there"


def test_a_run_of_days_that_is_cut_short_does_not_look_clean(make_up: MakeUp) -> None:
    up = make_up().start("--demo", "--days", "9")
    code, out, err = up.end()
    assert (code, out) == (1, ""), err


def test_a_signal_while_starting_ends_it_in_order(make_up: MakeUp) -> None:
    up = make_up().start(ready=False)
    wait_for(lambda: (up.data / "postgres" / "data" / "postmaster.pid").exists(), 30)
    code, _, err = up.end()
    assert code == 0, err
    assert not (up.data / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("options", "environ", "told"),
    [
        (["--demo"], {}, "--demo"),
        (["--day-seconds", "60"], {}, "--day-seconds"),
        ([], {"DATABASE_URL": "postgresql://u:hidden@db.example.com/x"}, "sslmode=verify-full"),
        ([], {"REDIS_URL": "redis://u:hidden@cache.example.com/0"}, "rediss://"),
    ],
)
def test_production_refuses_before_anything_starts(
    make_up: MakeUp, options: list[str], environ: dict[str, str], told: str
) -> None:
    up = make_up(MAILHEARTH_ENVIRONMENT="production", **environ)
    code, _, err = up.start(*options, ready=False).wait()
    assert code == 1
    assert told in err
    assert "hidden" not in err
    assert not (up.data / "postgres").exists()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--report", "x.json"], 2, "--days"),
        (["--days", "0"], 2, "--days"),
        (["--day-seconds", "0.01"], 2, "--day-seconds"),
    ],
)
def test_wrong_options_are_named(make_up: MakeUp, options: list[str], code: int, told: str) -> None:
    found, _, err = make_up().start(*options, ready=False).wait()
    assert (found, told in err) == (code, True), err


def test_a_child_that_dies_while_starting_ends_the_start(tmp_path: Path, make_up: MakeUp) -> None:
    up = make_up()
    stub = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    program = (
        "import os, sys, json; from pathlib import Path\n"
        "from mailhearth_local.run.supervisor import Mode, Supervisor\n"
        f"s = Supervisor(Path({str(up.data)!r}), os.environ, Mode(),"
        f" commands=json.loads({json.dumps({'worker': stub, 'scheduler': stub})!r}))\n"
        "s.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=up.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no such luck" in done.stderr
    assert not (up.data / "postgres" / "data" / "postmaster.pid").exists(), "all was stopped"


def test_a_child_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    command = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
    child = Child("stub", command, tmp_path, lambda port: {}, stop_seconds=1)
    child.start()
    try:
        wait_for(lambda: child.pid is None)
        assert child.heal(), "the first time at once"
        wait_for(lambda: child.pid is None)
        assert not child.heal(), "then after a pause"
        wait_for(child.heal)
    finally:
        child.stop()
