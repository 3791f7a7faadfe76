"""`mailhearth simulate`: tables, JSON, the page, the comparison, the parameter file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

WORDS = ("simulate", "--mailboxes", "12", "--days", "5", "--seed", "7")
FAULTS = ("--faults", "bounce,junk,auth,outage")
POLICY_KEYS = {
    "name",
    "mail_per_mailbox_day",
    "inbox_rate",
    "inbox_rate_low",
    "inboxed_per_mailbox_day",
    "quarantine_mailbox_days",
    "days_to_full",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page(HTMLParser):
    """What a page loads, its texts by element, and its table of days."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[dict[str, str | None]] = []
        self.data = ""
        self.cells: list[list[str]] = []
        self.in_days = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.loads += [str(found[name]) for name in ("src", "href", "data") if name in found]
        self.tag, self.attrs = tag, found
        if tag == "div" and found.get("id"):
            self.in_days = found["id"] == "days"
        if tag == "tr" and self.in_days:
            self.cells.append([])

    def handle_data(self, data: str) -> None:
        if self.tag == "script" and self.attrs.get("id") == "data":
            self.data += data
        elif self.in_days and self.tag in ("td", "th") and data.strip():
            self.cells[-1].append(data)

    def handle_endtag(self, tag: str) -> None:
        self.tag, self.attrs = "", {}

    tag = ""
    attrs: dict[str, str | None] = {}  # noqa: RUF012 - replaced, never changed


@pytest.fixture
def cli(command_line: Any, tmp_path: Path) -> Any:
    return command_line(tmp_path / "none")


def test_the_same_words_give_the_same_bytes_and_touch_no_folder(cli: Any, tmp_path: Path) -> None:
    first, again = (cli(*WORDS, *FAULTS, "--json") for _ in range(2))
    assert first.code == 0, first.err
    assert first.out == again.out
    assert first.err == ""
    assert list(tmp_path.iterdir()) == []
    seen = first.json()
    assert set(seen) == {"scenario", "totals", "days", "mailboxes"}
    assert len(seen["days"]) == 5
    assert seen["scenario"]["faults"] == ["bounce", "junk", "auth", "outage"]
    assert seen["totals"]["sent"] == sum(day["sent"] for day in seen["days"]) > 0
    other = cli(*WORDS[:-1], "8", *FAULTS, "--json").json()
    assert other["days"] != seen["days"]


def test_the_table_shows_each_day_and_says_what_it_came_to(cli: Any) -> None:
    answer = cli(*WORDS)
    lines = answer.out.splitlines()
    assert lines[0].split()[:2] == ["DAY", "TARGET"]
    assert [line.split()[1] for line in lines[1:6]] == ["Mon", "Tue", "Wed", "Thu", "Fri"]
    assert "into the inbox; inbox rate" in lines[-1]


def test_a_policy_and_consent_can_be_tried(cli: Any) -> None:
    tried = cli.ok(*WORDS, "--set", "start_volume=2", "--set", "step=0", "--without-consent", "4")
    assert tried["scenario"]["policy"]["start_volume"] == 2
    assert [day["sent"] for day in tried["days"]] == [8 * 2] * 5
    assert [day["blocked"] for day in tried["days"]] == [4] * 5
    assert [fate["sent"] for fate in tried["mailboxes"] if not fate["consent"]] == [0] * 4
    assert cli(*WORDS, "--set", "cap=900").code == 1


def test_a_file_changes_the_receivers(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "receivers.toml"
    file.write_text('base = "volume"\nname = "harsh"\nprior = -3.0\n')
    harsh = cli.ok(*WORDS, "--receivers", str(file))
    assert harsh["scenario"]["receivers"]["name"] == "harsh"
    assert harsh["scenario"]["receivers"]["surge"] == 1.6
    assert harsh["totals"]["inbox_rate"] < 0.6 < cli.ok(*WORDS)["totals"]["inbox_rate"]
    file.write_text("piror = 1.0\n")
    refused = cli(*WORDS, "--receivers", str(file), "--json")
    assert refused.code == 1
    assert "piror" in refused.error["message"]
    assert str(file) in refused.error["hint"]
    file.write_text("prior 1.0\n")
    assert "is not TOML" in cli(*WORDS, "--receivers", str(file), "--json").error["message"]


def test_the_page_is_one_file_that_holds_the_data_and_loads_nothing(
    cli: Any, tmp_path: Path
) -> None:
    file = tmp_path / "ramp.html"
    seen = cli.ok(*WORDS, *FAULTS, "--html", str(file))
    text = file.read_text()
    page = Page()
    page.feed(text)
    assert page.loads == []
    assert "default-src 'none'" in text
    assert json.loads(page.data) == seen["days"]
    assert [row[4] for row in page.cells[1:]] == [str(day["sent"]) for day in seen["days"]]
    assert "new uPlot(" in text
    for browser in filter(None, map(shutil.which, BROWSERS)):
        # Where there is one, it must draw; the numbers above are what counts where there is none.
        drawn = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", file.as_uri()],
            env=os.environ | {"LANG": "en_US.UTF-8", "LANGUAGE": "en", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert 'data-charts="3"' in drawn.stdout, drawn.stderr
        break


def test_a_page_that_cannot_be_written_is_told(cli: Any, tmp_path: Path) -> None:
    answer = cli(*WORDS, "--html", str(tmp_path / "missing" / "ramp.html"))
    assert answer.code == 1
    assert "cannot be written" in answer.err


def test_the_comparison_has_four_rules_and_the_keys_that_were_promised(cli: Any) -> None:
    words = ("simulate", "--compare", "--mailboxes", "27", "--days", "4", "--seeds", "1", *FAULTS)
    first, again = (cli(*words, "--json") for _ in range(2))
    assert first.code == 0, first.err
    assert first.out == again.out
    seen = first.json()
    names = ["closed-loop", "plus-one", "aggressive", "state-machine"]
    assert list(seen["models"]) == ["engagement", "volume", "complaint"]
    for lines in (seen["policies"], *seen["models"].values()):
        assert [line["name"] for line in lines] == names
        assert all(set(line) == POLICY_KEYS for line in lines)
        assert all(line["inbox_rate_low"] < line["inbox_rate"] <= 1 for line in lines)
        assert all(line["mail_per_mailbox_day"] > 0 for line in lines)
    sent = {line["name"]: line["mail_per_mailbox_day"] for line in seen["policies"]}
    assert sent["aggressive"] > sent["plus-one"]


def test_words_that_do_not_go_together_are_refused(cli: Any, tmp_path: Path) -> None:
    for words in (
        ("--compare", "--html", str(tmp_path / "x.html")),
        ("--faults", "fire"),
        ("--mailboxes", "1"),
        ("--model", "engagement", "--receivers", __file__),
    ):
        assert cli("simulate", *words).code == 2, words
