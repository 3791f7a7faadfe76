"""A data folder of its own for each test, and an end for whatever was started in it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running_up import Up


@pytest.fixture
def make_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def make(**environ: str) -> Up:
        made.append(Up(tmp_path / "data", **environ))
        return made[-1]

    yield make
    for up in made:
        if up.process is None:
            continue
        if up.process.poll() is None:
            up.process.send_signal(signal.SIGTERM)
            try:
                up.process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                up.process.kill()
                up.process.communicate()
        elif up.process.stdout is not None and not up.process.stdout.closed:
            up.process.communicate()
