"""`/w/<workspace>/pools/<pool>/simulate`: thirty days of a policy, as a chart, without any mail."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, current_app, jsonify, request

from mailhearth_core.access import Permission
from mailhearth_core.errors import NotFound, NotYet
from mailhearth_core.simulator.scenario import Scenario
from mailhearth_core.verbs import dashboard
from mailhearth_web.areas.simulate.forms import (
    MOST_MAILBOXES,
    SimulateForm,
    choices,
    scenario,
)
from mailhearth_web.areas.simulate.runner import Failed, Runner
from mailhearth_web.frame.access import allow
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("simulate", __name__, template_folder="templates")

EXTENSION = "mailhearth_simulations"
ROOT = "/w/<uuid:workspace>/pools/<uuid:pool>/simulate"
FEWEST = 10
"""Mailboxes offered for a pool that is still small."""


@blueprint.get(ROOT)
@allow(Permission.LOOK)
def show(pool: UUID) -> Response:
    """The form; with a query it runs, and the result is fetched by the page."""
    form, _, card = _asked(pool)
    runs = bool(request.args) and form.validate()
    failed = bool(request.args) and not runs
    return page(
        "simulate/show.html", form=form, card=card, runs=runs, status=422 if failed else 200
    )


@blueprint.get(f"{ROOT}/result")
@allow(Permission.LOOK)
@limited("30/minute", by="account")
def result(pool: UUID) -> Response:
    """The result as a part of the page; asked for again while another one runs."""
    form, wanted, card = _asked(pool)
    if wanted is None:
        return page("simulate/result.html", form=form, card=card, problem="Some values are wrong.")
    try:
        found = _runner().run(wanted)
    except NotYet:
        return page("simulate/result.html", form=form, card=card, waits=True)
    except Failed as error:
        return page("simulate/result.html", form=form, card=card, problem=str(error))
    return page("simulate/result.html", form=form, card=card, result=found)


@blueprint.get(f"{ROOT}/ramp.json")
@allow(Permission.LOOK)
def ramp(pool: UUID) -> Response:
    """Mails a day for each mailbox that sends, planned and sent."""
    days = _days(pool)
    per = [max(day["sending"], 1) for day in days]
    return jsonify(
        x=[day["day"] for day in days],
        x_label="day",
        unit="mails",
        series=[
            {"label": "the ramp allows", "values": [day["target"] for day in days]},
            {
                "label": "sent by each mailbox",
                "values": [round(d["sent"] / n, 1) for d, n in zip(days, per, strict=True)],
            },
        ],
    )


@blueprint.get(f"{ROOT}/placement.json")
@allow(Permission.LOOK)
def placement(pool: UUID) -> Response:
    days = _days(pool)
    labels = {"inbox": "inbox", "junk": "junk", "missing": "not found"}
    return jsonify(
        x=[day["day"] for day in days],
        x_label="day",
        unit="mails",
        series=[
            {"label": label, "class": name, "values": [day[name] for day in days]}
            for name, label in labels.items()
        ],
    )


def _days(pool: UUID) -> list[dict[str, Any]]:
    _, wanted, _ = _asked(pool)
    if wanted is None:
        raise NotFound("There is no such simulation.")
    days: list[dict[str, Any]] = _runner().run(wanted)["days"]
    return days


def _asked(pool: UUID) -> tuple[SimulateForm, Scenario | None, dashboard.PoolCard]:
    place = visit().place
    assert place is not None
    with services().door.tenant_tx(place.workspace_id) as conn:
        cards = dashboard.pool_cards(conn)
    card = next((card for card in cards if card.row["id"] == pool), None)
    if card is None:
        raise NotFound("There is no such pool in this workspace.")
    offered = choices(card.policy)
    form = SimulateForm(request.args) if request.args else SimulateForm()
    form.policy.choices = {choice.name: choice.label for choice in offered}
    if not request.args:
        form.mailboxes.data = min(max(card.row["members"], FEWEST), MOST_MAILBOXES)
    wanted = scenario(form, offered) if request.args and form.validate() else None
    return form, wanted, card


def _runner() -> Runner:
    found: Runner = current_app.extensions.setdefault(EXTENSION, Runner())
    return found
