"""Files of others are those that were fetched, and templates use nothing that is not there."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WEB = ROOT / "webapp" / "mailhearth_web"
VENDOR = runpy.run_path(str(ROOT / "scripts" / "vendor.py"))
problems: Callable[[Path], list[str]] = VENDOR["problems"]


def test_the_vendored_files_are_as_recorded() -> None:
    assert problems(VENDOR["FOLDER"]) == []
    recorded = json.loads((VENDOR["FOLDER"] / VENDOR["DIGESTS"]).read_text())["sha256"]
    assert {"tabler.min.css", "htmx.min.js", "uPlot.iife.min.js", "icons.svg"} <= recorded.keys()
    assert {"LICENSE.htmx", "LICENSE.uPlot", "LICENSE.tabler-icons"} <= recorded.keys()


def test_a_changed_a_missing_and_an_added_file_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    shutil.copytree(VENDOR["FOLDER"], folder)
    with (folder / "htmx.min.js").open("a") as file:
        file.write(";")
    (folder / "uPlot.min.css").unlink()
    (folder / "more.js").write_text("")
    assert problems(folder) == [
        "htmx.min.js was changed",
        "more.js is not recorded",
        "uPlot.min.css is missing",
    ]


def test_another_tarball_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho other > package.tgz\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SystemExit, match="not the pinned one"):
        VENDOR["fetch"](VENDOR["PACKAGES"][0])


def templates() -> list[Path]:
    found = sorted(WEB.rglob("templates/**/*.html"))
    assert len(found) > 10
    return found


def test_every_icon_that_a_page_names_is_in_the_sprite() -> None:
    sprite = (VENDOR["FOLDER"] / VENDOR["SPRITE"]).read_text()
    there = set(re.findall(r'<symbol id="([^"]+)"', sprite))
    assert there == set(VENDOR["ICONS"])
    named: dict[str, str] = {}
    for path in [*templates(), *WEB.rglob("*.py")]:
        text = path.read_text()
        literal = re.findall(r"""\b(?:ui\.)?icon\(\s*["']([a-z0-9-]+)["']\s*[,)]""", text)
        literal += re.findall(r"""icon_name=["']([a-z0-9-]+)["']""", text)
        literal += re.findall(r'\bLink\(\s*"[^"]+",\s*"[^"]+",\s*"([^"]+)"', text)
        named.update(dict.fromkeys(literal, path.name))
    assert {name: where for name, where in named.items() if name not in there} == {}


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(WEB)))
def test_a_template_holds_nothing_that_the_policy_forbids(path: Path) -> None:
    """No inline script, style or event attribute; no address of another host is loaded."""
    text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    assert re.search(r"<style|\sstyle\s*=", text) is None
    assert re.search(r"<script(?![^>]*\ssrc=)", text) is None
    assert re.search(r"\s(on[a-z]+|hx-on[:a-z-]*)\s*=\s*[\"']", text) is None
    assert re.search(r"(src|action)=[\"'](https?:)?//", text) is None
    assert "|safe" not in text.replace(" ", "")
    assert 'import "ui.html"' not in text, "`ui` is there without, also in a block alone"
