"""A data folder of its own for each test, and an end for whatever was started in it."""

from __future__ import annotations

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
        up.close()
