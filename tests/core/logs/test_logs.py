"""Logs: one JSON object per line, correlated, and without a single secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from mailhearth_core.logs import bound, configure
from mailhearth_core.secrets import Secret

CANARY = "c4nary-hunter2"


class Output(io.StringIO):
    def lines(self) -> list[dict[str, Any]]:
        assert CANARY not in self.getvalue()
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def output() -> Iterator[Output]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = Output()
    configure("worker", "INFO", stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_says_what_when_where_and_for_whom(output: Output) -> None:
    log = structlog.get_logger("mailhearth.test")
    with bound(correlation_id="c-1", mailbox="m-1"):
        log.info("sent", count=2, lease_token=7)
    log.debug("not at this level")
    log.warning("after")
    first, second = output.lines()
    assert first | {"at": ""} == {
        "event": "sent",
        "count": 2,
        "lease_token": 7,
        "correlation_id": "c-1",
        "mailbox": "m-1",
        "level": "info",
        "logger": "mailhearth.test",
        "process": "worker",
        "at": "",
    }
    assert abs((datetime.now(UTC) - datetime.fromisoformat(first["at"])).total_seconds()) < 60
    assert "correlation_id" not in second


def test_secrets_are_masked_wherever_they_stand(output: Output) -> None:
    log = structlog.get_logger()
    secret = Secret(CANARY)
    log.info(
        "canary",
        imap_password=CANARY,
        Authorization=CANARY,
        access_token=CANARY,
        body=CANARY.encode(),
        deep={"a": [{"client_secret": CANARY}, secret, (secret,)]},
        listed=[f"redis://ann:{CANARY}@redis/0"],
        text=f"password={CANARY} token: '{CANARY}' Authorization: Bearer {CANARY}",
        thing=RuntimeError(f"postgresql://ann:{CANARY}@db/x"),
        bare=secret,
    )
    log.info(f"connecting to postgresql://ann:{CANARY}@db/x")
    log.info("with %s", secret)
    line, second, _ = output.lines()
    assert line["imap_password"] == "***"
    assert second["event"] == "connecting to postgresql://***@db/x"


def test_libraries_take_the_same_road(output: Output) -> None:
    with bound(correlation_id="c-2"):
        logging.getLogger("rq.worker").warning("login %s", f"redis://u:{CANARY}@h", extra={})
        logging.getLogger("psycopg.pool").error("args %(password)s", {"password": Secret(CANARY)})
    one, two = output.lines()
    assert (one["logger"], one["level"]) == ("rq.worker", "warning")
    assert one["event"] == "login redis://***@h"
    assert one["correlation_id"] == "c-2"
    assert two["event"] == "args ***"


def test_exceptions_come_without_local_variables(output: Output) -> None:
    def fail() -> None:
        local = CANARY
        raise ValueError(f"cannot reach redis://u:{local}@h with password={local}")

    for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        try:
            fail()
        except ValueError:
            log.exception("it failed")
    for line in output.lines():
        assert line["event"] == "it failed"
        assert line["exception"][0]["exc_type"] == "ValueError"
        assert line["exception"][0]["frames"][-1]["name"] == "fail"


def test_endless_nesting_ends(output: Output) -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    structlog.get_logger().info("loop", loop=loop)
    assert output.lines()[0]["event"] == "loop"
