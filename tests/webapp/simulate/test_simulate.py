"""A policy tried from the dashboard: in a process of its own, within limits."""

from __future__ import annotations

from uuid import UUID

import pytest

from mailhearth_core.errors import NotYet
from mailhearth_core.simulator.scenario import Scenario
from mailhearth_web.areas.simulate.runner import Failed, Runner
from web import Web


@pytest.fixture
def path(web: Web) -> str:
    pool: UUID = web.installation.pool(web.workspace)
    return f"/w/{web.workspace}/pools/{pool}/simulate"


def test_the_form_runs_a_simulation_and_its_charts_show_it(web: Web, path: str) -> None:
    reader = web.member("readonly")
    query = "?mailboxes=6&policy=aggressive&model=engagement&seed=3"
    page = reader.get(path + query)
    assert page.status_code == 200
    assert 'hx-trigger="load"' in page.text
    part = reader.get(f"{path}/result{query}", headers={"HX-Request": "true"})
    assert "Mail for each mailbox and day" in part.text, part.text
    ramp = reader.get(f"{path}/ramp.json{query}").get_json()
    assert ramp["x"] == list(range(1, 31))
    assert max(ramp["series"][1]["values"]) > 1
    placed = reader.get(f"{path}/placement.json{query}").get_json()
    assert sum(placed["series"][0]["values"]) > 0


@pytest.mark.parametrize(
    "query",
    ["?mailboxes=61&policy=pool&model=engagement", "?mailboxes=x&policy=pool&model=engagement",
     "?mailboxes=6&policy=none&model=engagement", "?mailboxes=6&policy=pool&model=__class__"],
)  # fmt: skip
def test_more_than_it_may_take_is_refused(web: Web, path: str, query: str) -> None:
    reader = web.member("readonly")
    answer = reader.get(path + query)
    assert answer.status_code == 422
    assert "is-invalid" in answer.text or "invalid-feedback" in answer.text
    assert "Some values are wrong" in reader.get(f"{path}/result{query}").text
    assert reader.get(f"{path}/ramp.json{query}").status_code == 404


def test_one_at_a_time_and_no_longer_than_allowed() -> None:
    small = Scenario(mailboxes=3, days=2)
    slow = Runner(seconds=0.01)
    with pytest.raises(Failed, match="took more than"):
        slow.run(small)
    runner = Runner()
    with runner._turn, pytest.raises(NotYet):
        runner.run(small)
    assert runner.kept(small) is None
    assert runner.run(small)["days"][0]["day"] == 1
    assert runner.kept(small) is not None
