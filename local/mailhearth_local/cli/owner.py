"""The schema owner's login, for `migrate` and `doctor`; no other command uses it."""

from __future__ import annotations

from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database, one
from mailhearth_core.storage.roles import login_url
from mailhearth_local.embedded.folder import stored_secret
from mailhearth_local.services.attach import Attached
from mailhearth_local.services.runfile import read_run
from mailhearth_local.services.stack import OWNER


def owner_url(attached: Attached) -> Secret:
    """Of DATABASE_URL where it is set, else of the embedded database, running or started here."""
    stack = attached.stack
    if stack.settings.database_url:
        return stack.settings.database_url
    if not attached.running:
        return stack.urls.owner
    run = read_run(stack.data)
    assert run is not None  # attached to it
    password = stored_secret(stack.secrets / f"postgres-{OWNER}", create=False)
    return login_url(run.database_url.reveal(), OWNER, password)


def role_prefix(cli: Database) -> str:
    """Of this installation's roles, read from the login in use."""
    with cli.tx() as conn:
        name: str = one(conn.execute("SELECT current_user AS name").fetchone())["name"]
    return name.removesuffix("_cli")
