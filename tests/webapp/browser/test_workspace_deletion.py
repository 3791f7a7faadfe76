"""An owner ends a workspace in the browser, and nothing is left of it."""

from __future__ import annotations

from uuid import UUID

from playwright.sync_api import expect

from database import TestInstallation
from mailhearth_local.embedded.valkey import EmbeddedValkey
from opened import opened_web


def tables_with(installation: TestInstallation, workspace: UUID) -> set[str]:
    """Every table that still holds a row of the workspace."""
    names = installation.rows(
        "SELECT c.table_name AS name FROM information_schema.columns c "
        "JOIN information_schema.tables t USING (table_schema, table_name) "
        "WHERE c.table_schema = 'mailhearth' AND c.column_name = 'workspace_id' "
        "AND t.table_type = 'BASE TABLE'"
    )
    return {
        row["name"]
        for row in names
        if installation.rows(
            f'SELECT 1 FROM "{row["name"]}" WHERE workspace_id = %s LIMIT 1', workspace
        )
    }


def test_a_workspace_is_deleted_after_its_name_was_typed(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    with opened_web(installation, valkey) as opened:
        web, workspace = opened.web, opened.web.workspace
        pool = installation.pool(workspace)
        for name in ("ann", "bob"):
            installation.mailbox(workspace, pool, f"{name}@one.test")
        owner = web.member("owner")
        assert owner.person is not None
        south = installation.workspace("south")
        web.join(owner.person, "owner", south)
        held = tables_with(installation, workspace)
        assert {"mailboxes", "pools", "memberships", "workspaces"} <= held

        with opened.page(owner, refused=(404, 422)) as page:
            page.goto(f"/w/{workspace}/settings")
            page.get_by_role("link", name="Delete this workspace").click()
            typed = page.get_by_label("Type north to go on")
            typed.fill("nort")
            page.get_by_role("button", name="Delete the workspace").click()
            expect(page.get_by_text("This is not north.")).to_be_visible()
            expect(typed).to_have_value("nort")
            expect(typed).to_have_accessible_description("This is not north.")
            assert installation.one(
                "SELECT state FROM workspaces WHERE workspace_id = %s", workspace
            ) == {"state": "active"}

            typed.fill("north")
            page.get_by_role("button", name="Delete the workspace").click()
            expect(page.get_by_text("north is being deleted.")).to_be_visible()
            expect(page.get_by_role("link", name="north")).to_contain_text("deleting")
            page.get_by_role("link", name="north").click()
            expect(page.get_by_text("The workspace is being deleted")).to_be_visible()

            installation.provisioner.reconcile()
            # The open page is told, and looks again.
            expect(page.get_by_text("Nothing is here")).to_be_visible(timeout=60_000)
            page.goto("/workspaces")
            expect(page.get_by_role("link", name="south")).to_be_visible()
            expect(page.get_by_role("link", name="north")).to_have_count(0)
            for path in ("", "mailboxes", "delete"):
                answer = page.goto(f"/w/{workspace}/{path}")
                assert answer is not None
                assert answer.status == 404, path
        assert tables_with(installation, workspace) == set()
        assert "memberships" in tables_with(installation, south), "and of nothing else"
