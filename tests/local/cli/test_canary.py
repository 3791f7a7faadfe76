"""A password goes through everything that takes one, and is found nowhere in clear afterwards.

The same search must find a word that is planted in each of those places, or it would prove nothing.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
import redis

from mailhearth_core.errors import MailhearthError
from mailhearth_core.logs import mask
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import SchedulerSettings, WorkerSettings
from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs.mailbox_spec import parse_spec, read_rows
from mailhearth_local.embedded.folder import stored_secret
from mailhearth_local.embedded.postgres import SUPERUSER, binaries
from mailhearth_local.services.runfile import read_run
from mailhearth_local.services.stack import DATABASE, StackSettings

PROGRAM = [sys.executable, "-c", "from mailhearth_local.cli import main; main()"]
CANARY = "canary/7f3a+91:bd@42"
PLANTED = "planted/0c5e+17:aa@99"
SERVERS = ("--imap", "127.0.0.1:1", "--smtp", "127.0.0.1:2", "--tls", "none", "-p", "sales")


def forms(word: str) -> list[bytes]:
    """The word as it may be written: plain, quoted, in hex, in base64 at any alignment."""
    raw = word.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, quote(word, safe="").encode(), raw.hex().encode(), raw[::-1], *encoded]


def found(word: str, places: dict[str, bytes]) -> list[str]:
    """The places that hold the word in any form."""
    return [name for name, content in places.items() if any(f in content for f in forms(word))]


def files(data: Path) -> dict[str, bytes]:
    """Every file of the data folder: logs, the database's own files and its WAL, the queue's."""
    places = {}
    for path in data.rglob("*"):
        try:
            if path.is_file():
                places[str(path)] = path.read_bytes()
        except FileNotFoundError:  # Postgres and Valkey tidy up meanwhile
            continue
    return places


def processes() -> dict[str, bytes]:
    """The arguments and the environment of every process that can be seen."""
    places = {}
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                places[f"{folder}/{name}"] = (folder / name).read_bytes()
            except OSError:
                continue
    return places


def dump(data: Path) -> dict[str, bytes]:
    """The database as a superuser's dump shows it."""
    url = superuser_url(data)
    done = subprocess.run([binaries() / "pg_dump", url], capture_output=True, check=True)
    assert b"COPY mailhearth.mailboxes" in done.stdout
    return {"dump": done.stdout}


def superuser_url(data: Path) -> str:
    run = read_run(data)
    assert run is not None
    password = stored_secret(data / "secrets" / f"postgres-{SUPERUSER}", create=False)
    parts = urlsplit(run.database_url.reveal())
    netloc = f"{SUPERUSER}:{quote(password.reveal())}@{parts.hostname}:{parts.port}"
    return urlunsplit(("postgresql", netloc, f"/{DATABASE}", "", ""))


def queue(data: Path) -> dict[str, bytes]:
    """Everything in Redis, as it is stored."""
    run = read_run(data)
    assert run is not None
    with redis.Redis.from_url(run.redis_url.reveal()) as client:
        return {repr(key): key + (client.dump(key) or b"") for key in client.scan_iter()}


def shown(thing: object) -> bytes:
    """Everything an object gives away: repr, str, format, JSON, pickle, the log's masking."""
    texts = [repr(thing), str(thing), f"{thing}", repr(mask(thing)), repr(mask({"x": [thing]}))]
    if isinstance(thing, BaseException):
        texts.append("".join(traceback.format_exception(thing)))
    for dumper in (
        lambda: json.dumps(thing, default=vars),
        lambda: json.dumps(thing, default=str),
        lambda: thing.model_dump_json(),  # type: ignore[attr-defined]
        lambda: repr(pickle.dumps(thing)),
    ):
        try:
            texts.append(dumper())
        except (TypeError, AttributeError, ValueError, pickle.PicklingError) as error:
            texts.append(str(error))
    return "\n".join(texts).encode()


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Takes connections and never says a word, so that who speaks to it can be looked at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_password_is_found_nowhere_while_and_after_it_is_used(
    up: Path, command_line: Any, tmp_path: Path, silent_server: int
) -> None:
    cli = command_line(up)
    word = CANARY.encode() + b"\n"
    outputs: dict[str, bytes] = {}

    def call(*words: str, stdin: bytes = b"", code: int = 0) -> None:
        for form in ((), ("--json",)):
            answer = cli(*words, *form, stdin=stdin)
            assert answer.code in (code, 1), answer.err
            outputs[f"{words} {form}"] = (answer.out + answer.err).encode()

    address = "canary@canary.test"
    call(
        "mailbox",
        "add",
        "--address",
        address,
        *SERVERS,
        "--password-stdin",
        "--consent",
        stdin=word,
    )
    call("mailbox", "test", address, code=1)
    call("mailbox", "test", address, "--password-stdin", "--save", stdin=word, code=1)
    sheet = tmp_path / "team.csv"
    sheet.write_text(
        "address,imap,smtp,username,password,tls\n"
        f"canary2@canary.test,127.0.0.1:1,127.0.0.1:2,u,{CANARY},none\n"
        f"nobody,127.0.0.1:1,127.0.0.1:2,u,{CANARY},none\n"
    )
    call("mailbox", "import", str(sheet), "-p", "sales", code=1)
    call("keys", "rotate")
    for verb in ("show", "why"):
        call("mailbox", verb, address)
    for words in (("status",), ("doctor",), ("mailbox", "list")):
        call(*words)

    # While a test is under way, in the command's own process and in the worker's.
    server = f"127.0.0.1:{silent_server}"
    test = ("mailbox", "test", address, "--password-stdin", "--imap", server)
    with subprocess.Popen(
        [*PROGRAM, *test, "--data", str(up)],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(word)
        process.stdin.close()
        process.stdin = None
        try:
            until(lambda: is_running(up), "no worker took the test")
            seen = processes()
            assert any(b"mailhearth_worker" in content for content in seen.values())
            assert f"/proc/{process.pid}/cmdline" in seen
            under_way = {**seen, **queue(up), **dump(up)}
        finally:
            process.kill()
            outputs["test under way"] = b"".join(process.communicate())
    assert found(CANARY, under_way) == []
    assert found(CANARY, outputs) == []
    assert found(CANARY, {**files(up), **dump(up), **queue(up), **processes()}) == []


def is_running(data: Path) -> bool:
    with psycopg.connect(superuser_url(data)) as conn:
        return bool(
            conn.execute(
                "SELECT 1 FROM mailhearth.connection_attempts WHERE state = 'running'"
            ).fetchone()
        )


def test_the_search_finds_a_word_that_is_planted(up: Path) -> None:
    (up / "log" / "planted.log").write_text(f"signed in with {PLANTED}\n")
    assert found(PLANTED, files(up)) == [str(up / "log" / "planted.log")]
    (up / "log" / "planted.log").unlink()

    with subprocess.Popen(
        [sys.executable, "-c", "input()", PLANTED], stdin=subprocess.PIPE
    ) as process:
        until(lambda: f"/proc/{process.pid}/cmdline" in found(PLANTED, processes()), "not seen")
        process.communicate(b"\n")

    with psycopg.connect(superuser_url(up), autocommit=True) as conn:
        for stored in (PLANTED, base64.b64encode(b"::" + PLANTED.encode()).decode()):
            conn.execute(
                "INSERT INTO mailhearth.platform_audit_events (action, actor, subject, at) "
                "VALUES ('planted', 'test', %s, now())",
                (stored,),
            )
            assert found(PLANTED, dump(up)) == ["dump"]
            conn.execute("DELETE FROM mailhearth.platform_audit_events WHERE action = 'planted'")
            assert found(PLANTED, dump(up)) == []

    run = read_run(up)
    assert run is not None
    with redis.Redis.from_url(run.redis_url.reveal()) as client:
        client.hset("rq:job:planted", "data", PLANTED)
        assert found(PLANTED, queue(up)) == ["b'rq:job:planted'"]
        client.delete("rq:job:planted")


def settings(word: str) -> Iterator[object]:
    secret_url = f"postgresql://me:{quote(word, safe='')}@127.0.0.1:1/x"
    environ = {
        "MAILHEARTH_DATABASE_URL": secret_url,
        "MAILHEARTH_REDIS_URL": f"redis://me:{quote(word, safe='')}@127.0.0.1:1/0",
        "MAILHEARTH_DATA_FOLDER": "/nowhere",
    }
    yield SchedulerSettings.load(environ)
    yield StackSettings.load(environ)
    wrong = environ | {"MAILHEARTH_REDIS_URL": f"http://me:{word}@x", "MAILHEARTH_TICK_MS": "1"}
    for cls, given in (
        (SchedulerSettings, wrong),
        (WorkerSettings, environ),
        (StackSettings, wrong),
    ):
        with pytest.raises(MailhearthError) as caught:
            cls.load(given)
        yield caught.value
    database = Database(Secret(secret_url))
    yield database
    with pytest.raises(MailhearthError) as refused, database.tx():
        pass
    database.close()
    yield refused.value


def specs(word: str) -> Iterator[object]:
    good = {"address": "a@b.test", "imap": "127.0.0.1:1", "smtp": "127.0.0.1:2", "tls": "none"}
    yield parse_spec(good, Secret(word))
    yield Secret(word)
    with pytest.raises(MailhearthError) as caught:
        parse_spec(good | {"imap": "x"}, Secret(word))
    yield caught.value
    header = "address,imap,smtp,username,password"
    yield from read_rows(
        [header, f"a@b.test,127.0.0.1:1,h:2,u,{word}", f"bad,h:1,h:2,u,{word}", f"a@b.test,{word}"]
    )


@pytest.mark.parametrize("make", [settings, specs])
def test_no_settings_spec_or_exception_gives_a_password_away(
    make: Callable[[str], Iterator[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhearth_core.storage.doors.CONNECT_SECONDS", 1)
    for thing in make(CANARY):
        assert found(CANARY, {repr(type(thing)): shown(thing)}) == []


def test_an_object_that_gives_itself_away_would_be_found() -> None:
    for thing in ({"password": PLANTED}, ValueError(f"no {PLANTED}"), ["x", PLANTED]):
        assert found(PLANTED, {"thing": shown(thing)}) == ["thing"]
