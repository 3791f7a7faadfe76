"""kubectl and helm as a platform engineer types them, on the cluster that KUBECONFIG names."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "mailhearth"
IMAGE = "mailhearth"
Json = dict[str, Any]


def run(*words: str, given: str = "", seconds: float = 300, ok: tuple[int, ...] = (0,)) -> str:
    """Runs a program; its stdout. Fails with all that it said when it ends with another code."""
    done = subprocess.run(
        words, input=given, capture_output=True, text=True, timeout=seconds, check=False
    )
    said = f"{shlex.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode in ok, said
    return done.stdout


def build_image(tag: str, folder: Path = ROOT) -> None:
    """Builds the image of a source tree and loads it into the cluster, by `IMAGE_COMMAND`."""
    command = os.environ.get("IMAGE_COMMAND", str(ROOT / "scripts" / "kind-image"))
    run(*shlex.split(command), f"{IMAGE}:{tag}", str(folder), seconds=900)


@contextmanager
def the_version_before() -> Iterator[Path]:
    """The same source with its last migration withheld: what an upgrade starts from."""
    with tempfile.TemporaryDirectory(prefix="mailhearth-before-") as folder:
        tree = Path(folder) / "source"
        files = run("git", "-C", str(ROOT), "ls-files", "-z").split("\0")
        for name in filter(None, files):
            source = ROOT / name
            if source.exists() or source.is_symlink():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, tree / name, follow_symlinks=False)
        migrations = sorted((tree / "core/mailhearth_core/storage/migrations").glob("0*.sql"))
        migrations[-1].unlink()
        yield tree


@dataclass
class Cluster:
    """One namespace of the cluster, with one release in it."""

    namespace: str = "mailhearth-e2e"
    release: str = "mailhearth"
    values: list[str] = field(default_factory=list)

    def kubectl(self, *words: str, given: str = "", ok: tuple[int, ...] = (0,)) -> str:
        return run("kubectl", "-n", self.namespace, *words, given=given, ok=ok)

    def helm(self, *words: str) -> str:
        return run("helm", "-n", self.namespace, *words, seconds=600)

    def get(self, *words: str) -> Json:
        found: Json = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def apply(self, objects: object) -> None:
        text = objects if isinstance(objects, str) else json.dumps(objects)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)

    def mailhearth(self, *words: str) -> str:
        """A command of the product, in the operator's pod."""
        return self.kubectl("exec", "deploy/mailhearth-operator", "--", "mailhearth", *words)

    def sent(self) -> int:
        """Warmup messages that have left, of all pools."""
        rows = json.loads(
            self.kubectl(
                *("exec", "deploy/mailhearth-operator", "--", "python3", "-c"),
                "import os, json, psycopg\n"
                "with psycopg.connect(os.environ['MAILHEARTH_CLI_DATABASE_URL']) as conn:\n"
                "    print(json.dumps(dict(conn.execute('SELECT state, count(*) FROM "
                "admin.messages GROUP BY 1').fetchall())))",
            )
        )
        return int(rows.get("sent", 0))

    def condition(self, kind: str, name: str, type_: str) -> str:
        """The status of a condition; "" when it is not there."""
        return str(self._condition(kind, name, type_).get("status", ""))

    def reason(self, kind: str, name: str, type_: str) -> str:
        """Its reason."""
        return str(self._condition(kind, name, type_).get("reason", ""))

    def _condition(self, kind: str, name: str, type_: str) -> Json:
        for one in self.get(kind, name).get("status", {}).get("conditions", ()):
            if one["type"] == type_:
                found: Json = one
                return found
        return {}

    def signed_in(self, workspace: str) -> bool:
        """Workers have signed in to all mailboxes of a workspace."""
        boxes = json.loads(self.mailhearth("--json", "mailbox", "list", "--workspace", workspace))
        return bool(boxes) and all(one["connected_at"] for one in boxes)


def wait_for(what: str, condition: Callable[[], object], seconds: float = 180) -> float:
    """Waits until the condition holds; how long it took, in seconds."""
    started = time.monotonic()
    last: BaseException | None = None
    while time.monotonic() - started < seconds:
        try:
            if condition():
                return time.monotonic() - started
        except (AssertionError, subprocess.TimeoutExpired) as error:
            last = error  # a pod that is being replaced does not answer
        time.sleep(1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}. {last or ''}")
