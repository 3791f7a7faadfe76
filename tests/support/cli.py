"""The installed command line, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("mailhearth")


class CommandLine:
    """`mailhearth` on one data folder.

    Args:
        environment: added to a small environment of its own; the caller's settings are left out.
    """

    def __init__(self, data: Path, environment: Mapping[str, str] | None = None) -> None:
        self.data = data
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {**kept, "MAILHEARTH_DATA": str(data), **(environment or {})}

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Starts a command in the background, its output in a file."""
        with (log or self.data.parent / "command.log").open("ab") as output:
            return subprocess.Popen(
                [str(PROGRAM), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
            )

    def run(
        self, *words: str, given: str = "", code: int = 0, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end and checks its exit code."""
        done = subprocess.run(
            [str(PROGRAM), *words],
            input=given,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=seconds,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, **options: Any) -> Any:
        """The answer of a command with `--json`."""
        return json.loads(self.run(*words, "--json", **options).stdout)

    def run_file(self) -> dict[str, Any]:
        """What the running `up` says of itself."""
        found: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return found
