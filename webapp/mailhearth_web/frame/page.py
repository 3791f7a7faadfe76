"""Rendering: pages and parts of pages, and the filters and functions that templates have."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, make_response, render_template, request, url_for
from markupsafe import Markup

from mailhearth_core.access import Permission
from mailhearth_web.frame import access, navigation
from mailhearth_web.frame.errors import request_id
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

BODY = "body"


def page(template: str, *, block: str = BODY, status: int = 200, **values: Any) -> Response:
    """A page; for htmx only one block of it.

    Templates extend `layout.html`. A block sees the names that are passed here and those that all
    templates have, not what the template sets or imports outside its blocks.

    Args:
        block: what htmx gets.
    """
    if wants_part():
        response = make_response(_render_block(template, block, values))
    else:
        response = make_response(render_template(template, **values))
    response.status_code = status
    response.vary.add("HX-Request")
    return response


def wants_part() -> bool:
    """Whether htmx asked, and not for a whole page (history, boosted links)."""
    return "HX-Request" in request.headers and not (
        {"HX-Boosted", "HX-History-Restore-Request"} & set(dict(request.headers).keys())
    )


def _render_block(name: str, block: str, values: dict[str, Any]) -> str:
    template = current_app.jinja_env.get_template(name)
    current_app.update_template_context(values)
    context = template.new_context(values)
    return "".join(template.blocks[block](context))


# -- what templates have -------------------------------------------------------------------------


def install(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    for filter_ in (moment, day, number, percent, kilo):
        app.jinja_env.filters[filter_.__name__] = filter_
    app.jinja_env.globals.update(
        asset=asset,
        url_with=url_with,
        has_view=lambda endpoint: endpoint in app.view_functions,
        may=access.may,
        Permission=Permission,
    )
    app.context_processor(_context)


def _context() -> dict[str, Any]:
    # `ui` is put here, not imported by each template, so that a block alone has it too.
    return {
        "ui": current_app.jinja_env.get_template("ui.html").module,
        "visit": visit,
        "navigation": lambda section: navigation.shown(current_app, section),
        "request_id": request_id,
        "now": services().clock.now,
    }


def moment(value: datetime | None, empty: str = "never") -> str | Markup:
    """A point in time, in UTC; the page's script shows it in the reader's own zone."""
    if value is None:
        return empty
    text = f"{value.day} {value:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}" data-local>{}</time>').format(
        value.isoformat(timespec="seconds"), text
    )


def day(value: date | None, empty: str = "") -> str | Markup:
    """A calendar day, which has no zone."""
    if value is None:
        return empty
    return Markup('<time datetime="{}">{}</time>').format(
        f"{value:%Y-%m-%d}", f"{value.day} {value:%b %Y}"
    )


def number(value: float | None, empty: str = "-") -> str:
    """With thousands set apart by a thin space."""
    if value is None:
        return empty
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
    return text.replace(",", "\u202f")


def kilo(value: int | None, empty: str = "-") -> str:
    """A count in a small place: 1.2 k, 3.4 M."""
    if value is None:
        return empty
    for size, unit in ((1_000_000, "M"), (10_000, "k")):
        if value >= size:
            return f"{value / (1000 if unit == 'k' else size):.1f}\u202f{unit}"
    return number(value)


def percent(value: float | None, empty: str = "-") -> str:
    """Of a share between 0 and 1."""
    return empty if value is None else f"{value * 100:.0f}\u202f%"


def url_with(**changes: Any) -> str:
    """The current page's address with other query values; None takes one away."""
    values: dict[str, Any] = {**request.args.to_dict(flat=False), **changes}
    query = {name: value for name, value in values.items() if value is not None}
    return url_for(str(request.endpoint), **(request.view_args or {}), **query)


def asset(name: str) -> str:
    """The address of a static file; it changes with the content, so browsers may keep it."""
    return url_for("static", filename=name, v=_digest(str(current_app.static_folder), name))


@lru_cache(maxsize=256)
def _digest(folder: str, name: str) -> str:
    return hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()[:12]
