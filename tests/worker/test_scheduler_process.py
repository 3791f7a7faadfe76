"""The scheduler's process: what it says of itself while a service is away."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecot import free_port
from mailhearth_core.settings import SchedulerSettings
from mailhearth_core.storage import doors
from mailhearth_worker.scheduler import main
from waiting import wait_for


@pytest.fixture
def signals() -> Iterator[None]:
    """The scheduler sets its own; the tests' come back."""
    before = {sign: signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)}
    yield
    for sign, handler in before.items():
        signal.signal(sign, handler)


def probe(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError:  # it does not listen so far
        return 0, ""


@pytest.mark.usefixtures("signals")
def test_one_whose_database_is_away_is_not_ready_and_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(doors, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(main, "LATE_AFTER_S", 0.5)
    monkeypatch.setattr(main, "DEAD_AFTER_S", 3.5)
    settings = SchedulerSettings.load(
        {
            "MAILHEARTH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1",
            "MAILHEARTH_DATA_FOLDER": str(tmp_path),
            "MAILHEARTH_METRICS_PORT": str(port),
            "MAILHEARTH_HEALTH_PORT": str(port),
        }
    )
    told: list[tuple[int, str]] = []

    def look() -> None:
        """Until it has had no whole pass for longer than a dead one would have had none."""

        def has_waited() -> bool:
            code, text = probe(port, "/readyz")
            found = re.search(r"no whole pass for (\d+) s", text)
            return code == 503 and found is not None and int(found[1]) > main.DEAD_AFTER_S + 1

        try:
            wait_for(has_waited, 30)
            told.append(probe(port, "/healthz"))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    looking = threading.Thread(target=look)
    looking.start()
    assert main.serve(settings) == 0
    looking.join()
    ((code, text),) = told
    assert code == 200, json.loads(text)
