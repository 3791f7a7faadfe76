"""Services as pods run them: processes, with certificates of an authority of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mailhearth_core.secrets import Secret
from mailhearth_local.sandbox.ca import ensure_certificates
from waiting import wait_for

PROGRAM = (sys.executable, "-c", "from mailhearth_local.cli import main; main()")
OWNER_PASSWORD = "owner's/p@ss:word"


@dataclass
class Program:
    """A running `mailhearth` command and the JSON lines it wrote."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        whole = [line for line in self.log.read_text().split("\n")[:-1] if line]
        return [json.loads(line) for line in whole]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    def await_event(self, event: str, seconds: float = 60) -> dict[str, Any]:
        def found() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return bool(self.events(event))

        wait_for(found, seconds)
        return self.events(event)[-1]

    def stop(self, sign: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        self.process.send_signal(sign)
        return self.process.wait(seconds)


@dataclass
class Pod:
    """The folders that a pod has mounted, and what runs in it."""

    root: Path
    programs: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "data").mkdir()
        (self.root / "owner").mkdir()
        (self.root / "owner" / "username").write_text("mailhearth")
        (self.root / "owner" / "password").write_text(OWNER_PASSWORD)
        self.certify("ca")

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def ca(self) -> Path:
        return self.root / "ca" / "ca.pem"

    def certify(self, authority: str) -> None:
        """Puts a certificate of this authority into place, as a Secret's volume would."""
        files = ensure_certificates(
            self.root / authority, ["localhost", "127.0.0.1"], datetime.now(UTC)
        )
        tls = self.root / "tls"
        tls.mkdir(exist_ok=True)
        for name, source in (("tls.crt", files.certificate), ("tls.key", files.key)):
            shutil.copy(source, tls / f".{name}")
            (tls / f".{name}").replace(tls / name)

    def start(self, *words: str, environ: Mapping[str, str] | None = None) -> Program:
        log = self.root / f"{words[0]}-{len(self.programs)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*PROGRAM, *words],
                stdout=file,
                stderr=file,
                env={**os.environ, **(environ or {})},
            )
        self.programs.append(Program(process, log))
        return self.programs[-1]

    def run(
        self, *words: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words],
            capture_output=True,
            text=True,
            env={**os.environ, **(environ or {})},
        )

    def serve_postgres(self, *more: str) -> tuple[Program, int]:
        """Postgres and its port, once it takes connections."""
        program = self.start("serve-postgres", *self.postgres_words(), "--port", "0", *more)
        return program, program.await_event("ready")["port"]

    def postgres_words(self) -> list[str]:
        words = {"--data": self.data, "--tls": self.root / "tls", "--owner": self.root / "owner"}
        return [*(str(word) for pair in words.items() for word in pair), "--listen", "127.0.0.1"]

    def close(self) -> None:
        for program in self.programs:
            if program.process.poll() is None:
                program.stop()


@pytest.fixture
def make_pod(tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    pods: list[Pod] = []

    def make(name: str) -> Pod:
        root = tmp_path / name
        root.mkdir()
        pods.append(Pod(root))
        return pods[-1]

    yield make
    for pod in pods:
        pod.close()


@pytest.fixture
def pod(make_pod: Callable[[str], Pod]) -> Pod:
    return make_pod("pod")


@pytest.fixture
def owner_url() -> Callable[..., Secret]:
    """The owner's URL (port, CA file), as a process of the cluster writes it."""

    def url(
        port: int, ca: Path, *, user: str = "mailhearth", password: str = OWNER_PASSWORD
    ) -> Secret:
        return Secret(
            f"postgresql://{user}:{quote(password, safe='')}@localhost:{port}/mailhearth"
            f"?sslmode=verify-full&sslrootcert={quote(str(ca))}"
        )

    return url
