"""The switch that turns skipped tests into failures, tried on a suite of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import noskips

PASSES = "def test_a(): pass\n"
SKIPS = "import pytest\ndef test_a(): pytest.skip('Dovecot is missing: install it')\n"
MARKED = "import pytest\n@pytest.mark.skipif(True, reason='no luck')\ndef test_a(): pass\n"
FIXTURE = (
    "import pytest\n@pytest.fixture\ndef server(): pytest.skip('no server')\n"
    "def test_a(server): pass\n"
)
WHOLE = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
EXPECTED = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_a(): assert False\n"


def run(folder: Path, suite: str, switch: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(suite)
    (folder / "plugins").mkdir(exist_ok=True)
    shutil.copy(noskips.__file__, folder / "plugins")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p noskips\npythonpath = plugins\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "MAILH"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder,
        env=environment | {noskips.SWITCH: switch},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("suite", [SKIPS, MARKED, FIXTURE, WHOLE])
def test_what_is_skipped_fails_under_the_switch_and_says_why(tmp_path: Path, suite: str) -> None:
    ended = run(tmp_path, suite, "1")
    assert ended.returncode in (1, 2), ended.stdout  # 2: a module that cannot be collected
    assert "allows no skipped test" in ended.stdout
    assert " skipped" not in ended.stdout.splitlines()[-1]
    lenient = run(tmp_path, suite, "")
    assert lenient.returncode in (0, 5), lenient.stdout  # 5: nothing else to run
    assert "1 skipped" in lenient.stdout


def test_what_passes_or_fails_as_expected_is_left_alone(tmp_path: Path) -> None:
    assert run(tmp_path, PASSES + EXPECTED.replace("test_a", "test_b"), "1").returncode == 0


def test_a_run_that_finds_no_test_fails(tmp_path: Path) -> None:
    assert run(tmp_path, "", "1").returncode == 5
