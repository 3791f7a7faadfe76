"""Runs simulations in a process of their own, one at a time, so that no page waits for them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import Any

from mailhearth_core.errors import MailhearthError, NotYet
from mailhearth_core.simulator.scenario import Scenario

SECONDS = 60
KEPT = 32
"""Results of so many scenarios are kept: the same scenario always gives the same one."""
MODULE = "mailhearth_web.areas.simulate.child"


class Failed(MailhearthError):
    """The simulation took too long or broke off."""

    code = "simulation_failed"


class Runner:
    """One for each web process."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._turn = threading.Lock()
        self._held: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def kept(self, scenario: Scenario) -> dict[str, Any] | None:
        """The result of `Result.to_json`, if this very scenario was run lately."""
        return self._held.get(_key(scenario))

    def run(self, scenario: Scenario) -> dict[str, Any]:
        """The same, run now if need be.

        Raises:
            NotYet: another one is running.
            Failed: it took more than the time it may take.
        """
        found = self.kept(scenario)
        if found is not None:
            return found
        if not self._turn.acquire(blocking=False):
            raise NotYet("Another simulation is running.", hint="Try again in a few seconds.")
        try:
            result = self._result(_key(scenario))
        finally:
            self._turn.release()
        self._held[_key(scenario)] = result
        while len(self._held) > KEPT:
            self._held.popitem(last=False)
        return result

    def _result(self, text: str) -> dict[str, Any]:
        try:
            done = subprocess.run(  # noqa: S603 - our own words, no shell
                [sys.executable, "-m", MODULE],
                input=text.encode(),
                capture_output=True,
                timeout=self._seconds,
                check=True,
                env={},
            )
        except subprocess.TimeoutExpired:
            text = f"The simulation took more than {self._seconds:.0f} s."
            raise Failed(text, hint="Try fewer mailboxes.") from None
        except (subprocess.CalledProcessError, OSError) as error:
            raise Failed("The simulation broke off.") from error
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def _key(scenario: Scenario) -> str:
    return json.dumps(scenario.to_json(), sort_keys=True)
