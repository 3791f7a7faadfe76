"""The definitions are part of the installed package, and crds/ is their only source."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

CRDS = Path(__file__).resolve().parents[3] / "crds"


def test_the_package_carries_the_definitions() -> None:
    packaged = {
        entry.name: entry.read_text()
        for entry in files("mailhearth_operator").joinpath("crds").iterdir()
    }
    assert packaged == {path.name: path.read_text() for path in CRDS.iterdir()}
    assert set(packaged) == {"workspaces.yaml", "mailboxpools.yaml"}
