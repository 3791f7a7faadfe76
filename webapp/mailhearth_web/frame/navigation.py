"""The links of the navigation: each area names its own as `LINKS` beside its blueprint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flask import Flask, request, url_for

from mailhearth_core.access import Permission, allows
from mailhearth_web.frame.visit import visit

Section = Literal["workspace", "admin"]
EXTENSION = "mailhearth_links"


@dataclass(frozen=True)
class Link:
    """One entry.

    Args:
        endpoint: the view it opens; marked as current on all views of its blueprint.
        icon: a name of the icon sprite.
        order: lower ones come first.
        permission: of the view; the link is not shown to others. None in the section "admin".
        current: endpoints on which it is marked instead of those of the whole blueprint.
    """

    label: str
    endpoint: str
    icon: str
    order: int
    permission: Permission | None = None
    section: Section = "workspace"
    current: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """An entry as a page shows it."""

    label: str
    url: str
    icon: str
    is_current: bool


def install(app: Flask, links: Iterable[Link]) -> None:
    app.extensions[EXTENSION] = sorted(links, key=lambda link: (link.order, link.label))


def shown(app: Flask, section: Section) -> list[Shown]:
    """The links that this visitor may follow, in order."""
    here = visit()
    found = []
    for link in app.extensions[EXTENSION]:
        if link.section != section:
            continue
        if section == "workspace" and (
            here.place is None
            or link.permission is None
            or not allows(here.place.role, link.permission)
        ):
            continue
        if section == "admin" and not (here.person and here.person.is_admin):
            continue
        found.append(Shown(link.label, url_for(link.endpoint), link.icon, _is_current(link)))
    return found


def _is_current(link: Link) -> bool:
    endpoint = request.endpoint or ""
    if link.current:
        return endpoint in link.current
    return endpoint.partition(".")[0] == link.endpoint.partition(".")[0]
