"""`/w/<workspace>/pools`: pools, their policies, and wishes to change them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.access import Permission
from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import dashboard, pools
from mailhearth_core.warmup.policy import PRESETS
from mailhearth_web.areas.pools.forms import GROUPS, HELP, NewPoolForm, PolicyForm, summary
from mailhearth_web.frame.access import allow, may
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("pools", __name__, template_folder="templates")

LINKS = (
    Link("Pools", "pools.index", "stack-2", 30, Permission.LOOK,
         current=("pools.index", "pools.show", "pools.create", "simulate.show")),
)  # fmt: skip
SQL = named("dashboard")
DEFAULT_NAME = "main"
REFUSED_SHOWN = timedelta(minutes=10)
EDITABLE = ("local", "cluster")
"""Where a pool is kept here alone, or in a custom resource that this dashboard may change."""
MANAGERS = {
    "gitops": "It is managed from a repository (GitOps): change its file there.",
    "argocd": "Argo CD manages it: change it in its repository.",
    "flux": "Flux manages it: change it in its repository.",
    "helm": "A Helm release owns it: change that release's values.",
}


@blueprint.get("/w/<uuid:workspace>/pools")
@allow(Permission.LOOK)
def index() -> Response:
    with services().door.tenant_tx(_workspace()) as conn:
        cards = dashboard.pool_cards(conn)
        wishes = _wishes(conn)
    return page("pools/index.html", cards=cards, wishes=wishes, summary=summary, editable=EDITABLE)


@blueprint.route("/w/<uuid:workspace>/pools/new", methods=["GET", "POST"])
@allow(Permission.MANAGE_POOLS)
def create() -> Response | AnyResponse:
    form = NewPoolForm()
    if form.validate_on_submit():
        changes = {"mode": form.mode.data, "peering_scope": form.peering_scope.data}
        name = (form.name.data or "").strip()
        try:
            _create(name, changes)
        except InvalidValue as error:
            form.name.errors = [f"{error.value!s} is not allowed: {error.allowed}."]
        except Conflict as error:
            form.name.errors = [str(error)]
        else:
            flash(f"The pool {name} is being made.", "success")
            return redirect(url_for("pools.index"), 303)
    return page("pools/create.html", form=form, status=422 if form.errors else 200)


@blueprint.post("/w/<uuid:workspace>/pools/default")
@allow(Permission.MANAGE_POOLS)
def create_default() -> AnyResponse:
    """The first pool, with the usual policy."""
    try:
        _create(DEFAULT_NAME, {})
    except Conflict:
        flash("There is a pool already.", "info")
    else:
        flash("The pool is being made.", "success")
    return redirect(url_for("overview.show"), 303)


@blueprint.route("/w/<uuid:workspace>/pools/<uuid:pool>", methods=["GET", "POST"])
@allow(Permission.LOOK)
def show(pool: UUID) -> Response | AnyResponse:
    """One pool; its policy as a form for those who may change it here."""
    with services().door.tenant_tx(_workspace()) as conn:
        card = _card(dashboard.pool_cards(conn), pool)
        wishes = [wish for wish in _wishes(conn) if wish["subject_id"] == pool]
        sandbox = _is_sandbox(conn)
    form = PolicyForm()
    locked = _locked(card.row)
    if request.method != "POST":
        form.fill(card.policy, card.row["peering_scope"], card.row["generation"])
    elif locked:
        raise Conflict(locked)
    elif request.form.get("preset") in PRESETS:
        form.use_preset(request.form["preset"])
    elif form.validate_on_submit() and _wished(form, card, sandbox):
        return redirect(url_for("pools.show", pool=pool), 303)
    failed = bool(form.errors)
    return page(
        "pools/show.html",
        card=card,
        form=form,
        groups=GROUPS,
        help=HELP,
        locked=locked,
        wishes=wishes,
        summary=summary,
        status=422 if failed else 200,
    )


def _wished(form: PolicyForm, card: dashboard.PoolCard, sandbox: bool) -> bool:
    """Puts the wish into the outbox; False when something is wrong, which the form then tells."""
    row = card.row
    seen = form.generation.data or ""
    if seen != str(row["generation"]):
        form.form_errors.append(
            "Somebody changed this pool since you opened the page. What you typed is kept below; "
            "what differs from the pool as it is now is what would be saved."
        )
        form.generation.data = str(row["generation"])
        return False
    changes = form.changes(card.policy, row["peering_scope"])
    if not changes:
        flash("Nothing was changed.", "info")
        return True
    try:
        pools.change(services().door, _workspace(), row, changes, visit().actor, sandbox=sandbox)
    except InvalidValue as error:
        form.refuse(error)
        return False
    flash(
        "The change is on its way. Lower limits bind at once, higher ones from tomorrow.", "success"
    )
    return True


def _create(name: str, changes: Mapping[str, str]) -> None:
    with services().door.tenant_tx(_workspace()) as conn:
        sandbox = _is_sandbox(conn)
    pools.create(services().door, _workspace(), name, changes, visit().actor, sandbox=sandbox)


def _card(cards: tuple[dashboard.PoolCard, ...], pool: UUID) -> dashboard.PoolCard:
    for card in cards:
        if card.row["id"] == pool:
            return card
    raise NotFound("There is no such pool in this workspace.")


def _locked(row: Mapping[str, Any]) -> str:
    """Why it cannot be changed here; empty when it can."""
    manager = row["managed_by"]
    if manager not in EDITABLE:
        return MANAGERS.get(manager, f"It is managed by {manager}: change it there.")
    if not may(Permission.MANAGE_POOLS):
        return "Your role in this workspace may look at policies, not change them."
    return ""


def _wishes(conn: Any) -> list[dict[str, Any]]:
    return list(SQL.open_wishes(conn, since=services().clock.now() - REFUSED_SHOWN))


def _is_sandbox(conn: Any) -> bool:
    row = conn.execute("SELECT sandbox FROM installation").fetchone()
    return bool(row and row["sandbox"])


def _workspace() -> UUID:
    place = visit().place
    assert place is not None
    return place.workspace_id
