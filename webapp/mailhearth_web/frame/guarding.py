"""Looks at the limits that views are marked with, before the views run."""

from __future__ import annotations

from flask import Flask, current_app, request

from mailhearth_web.frame.guard import By, limits_of, network_of
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit


def install(app: Flask, *, by: By) -> None:
    """Limits by address are to be looked at before anything else, by account once it is known."""

    def look() -> None:
        if request.endpoint is None:
            return
        for limit in limits_of(current_app.view_functions[request.endpoint]):
            if limit.by == by:
                services().guard.check(limit, request.endpoint, _who(by))

    app.before_request(look)


def _who(by: By) -> str:
    address = f"ip:{network_of(request.remote_addr)}"
    if by == "ip":
        return address
    person = visit().person
    return f"person:{person.id}" if person else address
