"""A Flask page with nothing on it, under the dashboard's own server: `python -m bench.bare PORT`.

What a page of the dashboard takes beyond this one is the dashboard's own doing.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from flask import Flask

from mailhearth_web.server import Server, configuration, listen
from mailhearth_web.settings import WebSettings


def main() -> None:
    app = Flask("bare")
    app.add_url_rule("/", view_func=lambda: "<!doctype html><title>bare</title><p>nothing")
    settings = WebSettings.load(
        {
            "MAILHEARTH_DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1/none",
            "MAILHEARTH_REDIS_URL": "redis://127.0.0.1/0",
            "MAILHEARTH_PUBLIC_URL": "http://127.0.0.1",
        }
    )
    listener = listen("127.0.0.1", int(sys.argv[1]))
    server: Any = Server(app, listener, configuration(settings), threading.Event().set)
    server.init_process()


if __name__ == "__main__":
    main()
