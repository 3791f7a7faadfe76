"""The dashboard, by a one-time link and a port that kubectl forwards."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests

from cluster import Cluster

SECONDS = 30


class Dashboard:
    """Somebody's browser."""

    def __init__(self, port: int, address: str) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        # As if the forwarded port were the one that the dashboard calls its own.
        self._session.headers.update({"Host": address, "Origin": f"http://{address}"})

    def text(self, path: str) -> str:
        """A page that must be there."""
        answer = self._session.get(f"{self._root}{path}", timeout=SECONDS)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return answer.text

    def sign_in(self, path: str) -> None:
        """Opens a one-time link and presses its button."""
        fields = dict(re.findall(r'name="(csrf_token|token)" value="([^"]+)"', self.text(path)))
        answer = self._session.post(
            f"{self._root}/sign-in/link", data=fields, timeout=SECONDS, allow_redirects=False
        )
        assert answer.status_code == 303, (answer.status_code, answer.text[:500])

    def close(self) -> None:
        self._session.close()


@contextmanager
def dashboard(cluster: Cluster) -> Iterator[Dashboard]:
    """Signed in as the one who owns what nobody owns."""
    link = urlsplit(json.loads(cluster.mailhearth("--json", "sign-in", "link"))["url"])
    words = ("kubectl", "-n", cluster.namespace, "port-forward", "service/mailhearth-web", ":8080")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        try:
            told = re.search(r"127\.0\.0\.1:(\d+)", forwarding.stdout.readline())
            assert told is not None
            opened = Dashboard(int(told[1]), link.netloc)
            opened.sign_in(f"{link.path}?{link.query}")
            yield opened
            opened.close()
        finally:
            forwarding.terminate()
