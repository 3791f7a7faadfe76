"""`/events`: server-sent events, one stream for each browser; ids only, no content."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from datetime import timedelta

from flask import Blueprint, Response, current_app, request

from mailhearth_core.verbs import members
from mailhearth_web.areas.events.hub import GONE, Hub, Stream
from mailhearth_web.frame.access import signed_in
from mailhearth_web.frame.outermost import ABOUT
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("events", __name__)

EXTENSION = "mailhearth_hub"
BEAT_S = 20.0
"""A comment at least so often: a browser that is gone is noticed, a proxy does not hang up."""
RETRY_MS = 3_000


@blueprint.get("/events")
@signed_in
def stream() -> Response:
    """What changed in the person's workspaces; 503 beyond the cap, where pages poll instead."""
    here = visit()
    assert here.person is not None
    assert here.session is not None
    places = members.places(services().database, here.person.id)
    opened = hub().open(here.session.id, here.person.id, [place.workspace_id for place in places])
    if opened is None:
        return Response("Too many live pages.\n", 503, {"Retry-After": "60"}, mimetype="text/plain")
    response = Response(Telling(hub(), opened), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    request.environ[ABOUT]["stream"] = True  # its length says nothing about speed
    return response


def hub() -> Hub:
    """The process's own, made at the first stream."""
    found: Hub | None = current_app.extensions.get(EXTENSION)
    if found is None:
        shared = services()
        found = current_app.extensions.setdefault(
            EXTENSION,
            Hub(
                shared.database,
                shared.settings.database_url,
                shared.clock,
                shared.stopping,
                most=shared.settings.streams,
                idle=timedelta(minutes=shared.settings.session_idle_minutes),
            ),
        )
        shared.metrics.web_streams.set_function(found.__len__)
    return found


class Telling:
    """The bytes of a stream; closing it closes the stream, also before the first byte."""

    def __init__(self, among: Hub, opened: Stream) -> None:
        self._hub, self._stream = among, opened
        self._lines = self._talk()

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        self._hub.close(self._stream)

    def _talk(self) -> Iterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        while not self._hub.is_stopping:
            try:
                event = self._stream.events.get(timeout=BEAT_S)
            except queue.Empty:
                yield b": here\n\n"
                continue
            if event is GONE:
                yield b"event: gone\ndata: {}\n\n"
                return
            yield f"data: {event}\n\n".encode()
