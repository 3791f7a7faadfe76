"""Which request a deed belongs to, told to the database so that the audit trail says it too."""

from __future__ import annotations

from flask import has_request_context, request
from psycopg import sql

from mailhearth_core.storage.doors import Connection
from mailhearth_web.frame.outermost import REQUEST_ID


def name_the_request(conn: Connection) -> None:
    """For the transaction that begins, where the request may change something.

    Those that only read are spared the round trip; signing in changes much by GET, because issuers
    come back so.
    """
    if not has_request_context():
        return
    if request.method in ("GET", "HEAD") and request.blueprint != "signin":
        return
    name = sql.Literal(str(request.environ.get(REQUEST_ID, "")))
    # SET, not set_config(): it reads nothing, so a snapshot may still be asked for after it.
    conn.execute(sql.SQL("SET LOCAL mailhearth.request = {}").format(name))
