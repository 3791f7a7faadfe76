"""`make audit` against a vulnerability database of the test's own, and against none."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dovecot import free_port

AUDIT = Path(__file__).resolve().parent.parent / "scripts" / "audit.py"
LOCK = f"""\
click==8.5.1 \\
    --hash=sha256:{"0" * 64}
pytest==9.2.0 ; python_version > '3' \\
    --hash=sha256:{"1" * 64}
"""


class Advisories(ThreadingHTTPServer):
    """Answers as the OSV database does; knows what `known` says of a package's name."""

    def __init__(self) -> None:
        self.known: dict[str, list[dict[str, object]]] = {}
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name, version = query["package"]["name"], query["version"]
                outer.asked.append((name, version))
                body = json.dumps({"vulns": outer.known.get(name, [])}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    server = Advisories()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def audit(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    (folder / "lock").write_text(LOCK)
    command = [sys.executable, str(AUDIT), "--lock", str(folder / "lock")]
    command += ["--sbom", str(folder / "sbom.json"), "--osv-url", f"http://127.0.0.1:{port}/query"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_answer_of_the_database_has_its_exit_code(
    advisories: Advisories, tmp_path: Path
) -> None:
    clean = audit(tmp_path, advisories.server_port)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert sorted(advisories.asked) == [("click", "8.5.1"), ("pytest", "9.2.0")]

    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "8.5.2"}]}
    package = {"name": "click", "ecosystem": "PyPI"}
    advisories.known["click"] = [
        {
            "id": "GHSA-test-test-test",
            "aliases": ["CVE-2026-0001"],
            "summary": "it clicks",
            "published": "2026-01-01T00:00:00Z",
            "affected": [{"package": package, "ranges": [fixed]}],
        }
    ]
    found = audit(tmp_path, advisories.server_port)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "click 8.5.1" in found.stdout
    assert "CVE-2026-0001" in found.stdout
    assert "8.5.2" in found.stdout


def test_out_of_reach_is_said_in_one_line_and_the_bill_is_written(tmp_path: Path) -> None:
    away = audit(tmp_path, free_port())
    assert away.returncode == 3, away.stdout + away.stderr
    assert [line for line in away.stdout.splitlines() if "out of reach" in line]
    assert away.stderr == ""
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "mailhearth"
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["click"]["purl"] == "pkg:pypi/click@8.5.1"
    assert (parts["click"]["scope"], parts["pytest"]["scope"]) == ("required", "excluded")
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert needs["mailhearth"] == ["click==8.5.1"]
