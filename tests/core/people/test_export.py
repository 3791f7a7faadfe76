"""An export holds all that is a workspace's, nothing of another's, and no ciphertext."""

from __future__ import annotations

import json
from typing import Any

import pytest

from database import TestInstallation
from mailhearth_core.errors import NotFound
from mailhearth_core.verbs import export
from people import NOW, People
from tenancy import plant, tenant_tables


def lines(installation: TestInstallation, workspace_id: Any) -> list[dict[str, Any]]:
    whole = b"".join(export.export(installation.web_door, workspace_id, now=NOW))
    return [json.loads(line) for line in whole.splitlines()]


def test_everything_is_exported_or_left_out_with_a_reason(people_here: People) -> None:
    installation = people_here.installation
    for name in ("north", "south"):
        workspace = installation.workspace(name)
        mailbox = installation.mailbox(workspace, installation.pool(workspace), f"a@{name}.test")
        plant(installation, workspace, mailbox)
        people_here.member(workspace, f"owner@{name}.test", "owner")
    north = installation.one("SELECT workspace_id AS id FROM workspaces WHERE name = 'north'")["id"]
    found = lines(installation, north)
    head, *rows, end = found
    assert (head["table"], head["row"]["name"]) == ("export", "north")
    assert end == {"table": "end", "row": {"rows": len(rows)}}
    tables = {row["table"] for row in rows} - {"members"}
    assert tables == set(tenant_tables(installation)) - set(export.NOT_EXPORTED)
    assert not tables & set(export.NOT_EXPORTED)
    for table in tables:
        stored = installation.one(
            f"SELECT count(*) AS n FROM {table} WHERE workspace_id = %s", north
        )["n"]
        assert sum(row["table"] == table for row in rows) == stored, table
    text = json.dumps(found)
    assert "south.test" not in text
    assert "owner@north.test" in text
    (sealed,) = installation.rows(
        "SELECT encode(sealed, 'hex') AS s FROM sealed_credentials WHERE workspace_id = %s LIMIT 1",
        north,
    )
    assert sealed["s"] not in text
    columns = {key for row in rows for key in row["row"]}
    assert not columns & {*export.SECRET, "token_hash"}


def test_an_export_is_of_one_moment_and_comes_in_chunks(
    people_here: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CHUNK_BYTES", 1)
    installation = people_here.installation
    workspace = installation.workspace("north")
    chunks = export.export(installation.web_door, workspace, now=NOW)
    assert json.loads(next(chunks))["table"] == "export"
    installation.pool(workspace, "made-meanwhile")
    rest = [json.loads(chunk) for chunk in chunks if chunk]
    assert "made-meanwhile" not in json.dumps(rest)
    assert rest[-1]["table"] == "end"
    with pytest.raises(NotFound):
        next(export.export(installation.web_door, people_here.person("a@x.test").id, now=NOW))
