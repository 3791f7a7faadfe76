"""Wishes: carried out, refused with a reason, or left in the outbox."""

from __future__ import annotations

import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.errors import Conflict, NotYet
from mailhearth_core.verbs import keys, pools
from mailhearth_core.verbs.wishes import await_wish


def test_a_change_that_saw_an_older_generation_is_refused(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    installation.pool(workspace)
    seen = pools.find(installation.door, workspace, "main")
    wish = [
        pools.change(installation.door, workspace, seen, {"cap": cap}, ACTOR, sandbox=False)
        for cap in ("15", "16")
    ]
    assert installation.await_wish(workspace, wish[0]) == "generation 2"
    with pytest.raises(Conflict, match="The pool has changed since"):
        installation.await_wish(workspace, wish[1])
    assert pools.find(installation.door, workspace, "main")["policy"]["cap"] == 15


def test_a_wish_that_nobody_carries_out_stays_open(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    wish = keys.rotate(installation.door, workspace, ACTOR)
    with pytest.raises(NotYet, match="recorded but nothing has carried it out"):
        await_wish(installation.door, workspace, wish, deadline_seconds=0.01)
    state = installation.one("SELECT state FROM commands WHERE id = %s", wish)["state"]
    assert state == "open"
    assert "version 2 is active" in installation.await_wish(workspace, wish)
