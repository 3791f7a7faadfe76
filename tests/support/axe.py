"""axe-core, run in an open page: what keeps people with a disability from using it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

SCRIPT = Path(__file__).with_name("oidc") / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")
RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map((rule) => ({
    id: rule.id, impact: rule.impact, help: rule.help,
    nodes: rule.nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`),
  }));
}"""


def require_axe() -> None:
    """Skips the calling test where axe-core is not installed."""
    if not SCRIPT.is_file():
        pytest.skip("axe-core is missing: npm ci --prefix tests/support/oidc")


@cache
def _script() -> str:
    return SCRIPT.read_text()


def violations(page: Page) -> list[str]:
    """The serious and critical ones as the page is now, each with its first elements.

    The script is handed to the browser itself, past the page's content policy, which stays on.
    """
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(f"{_script()}; 0")
    found: list[dict[str, Any]] = page.evaluate(RUN)
    return [
        f"{rule['id']} ({rule['help']}): " + " | ".join(rule["nodes"][:3])
        for rule in found
        if rule["impact"] in GRAVE
    ]
