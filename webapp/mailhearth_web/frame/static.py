"""Static files: gzipped, and kept by browsers for a year when their address has their digest."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, make_response, request, send_from_directory

from mailhearth_web.frame.access import public

FOLDER = "static"
A_YEAR = "public, max-age=31536000, immutable"
AN_HOUR = "public, max-age=3600"
PACKED = frozenset({"text/css", "text/javascript", "application/javascript", "image/svg+xml"})


def install(app: Flask) -> None:
    folder = Path(app.root_path) / FOLDER
    app.static_folder = str(folder)

    @public
    def static(filename: str) -> Response:
        response = send_from_directory(folder, filename, conditional=True)
        response.headers["Cache-Control"] = A_YEAR if "v" in request.args else AN_HOUR
        response.vary.add("Accept-Encoding")
        if response.status_code == 200 and response.mimetype in PACKED and _takes_gzip():
            packed = make_response(_packed(str(folder / filename)))
            packed.mimetype = response.mimetype
            for name in ("Cache-Control", "Vary", "ETag", "Last-Modified"):
                if name in response.headers:
                    packed.headers[name] = response.headers[name]
            packed.headers["Content-Encoding"] = "gzip"
            response.close()
            return packed
        return response

    app.add_url_rule("/static/<path:filename>", endpoint="static", view_func=static)


def _takes_gzip() -> bool:
    return request.accept_encodings["gzip"] > 0


@lru_cache(maxsize=16)
def _packed(path: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 6, mtime=0)
