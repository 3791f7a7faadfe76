"""`up --demo --days 1 --report FILE`: the report tells what the mail sandbox itself knows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from mailhearth_local.run.report import COUNTS
from mailhearth_local.sandbox.accounts import AccountsFile
from mailhearth_local.sandbox.scan import placements
from running_up import Up


def test_a_day_of_the_demo_is_reported_as_it_was(
    make_up: Callable[..., Up], tmp_path: Path
) -> None:
    up, path = make_up(), tmp_path / "report.json"
    up.start("--demo", "--days", "1", "--day-seconds", "20", "--report", str(path), ready=False)
    code, _, err = up.wait(180)
    assert code == 0, err
    found = json.loads(path.read_text())
    assert set(COUNTS) | {"pending", "seconds"} <= set(found)
    truth = list(placements(up.data / "sandbox"))
    assert found["sent"] == len(truth) > 20
    assert found["junk"] == sum(junked for *_, junked in truth)
    assert found["inbox"] + found["junk"] == found["sent"] == found["delivered"]
    assert found["planned"] == found["sent"] + found["skipped"]
    assert (found["duplicates"], found["lost"], found["uncertain"]) == (0, 0, 0)
    assert found["rescued"] > 0
    assert found["seconds"] >= 20
    assert "day 1 of 1" in err

    # Again without --demo, as the folder remembers: the same people, one day more.
    up.start("--days", "1", ready=False)
    code, out, err = up.wait(180)
    assert code == 0, err
    assert re.search(r"^ +lost +0$", out, re.MULTILINE)
    again = list(placements(up.data / "sandbox"))
    users = AccountsFile(up.data / "sandbox").current().users.values()
    assert len(users) == 12
    assert int(re.findall(r"^ +sent +(\d+)$", out, re.MULTILINE)[0]) == len(again) - len(truth) > 0
    # Nothing of a password is in any log.
    for log in up.data.rglob("*.log*"):
        text = log.read_text(errors="replace")
        assert not [user.address for user in users if user.password.reveal() in text], log
