"""The process that simulates: a scenario as JSON in, its result as JSON out; it can do no else."""

from __future__ import annotations

import json
import os
import resource
import sys

from mailhearth_core.simulator.receivers import MODELS
from mailhearth_core.simulator.run import Simulation
from mailhearth_core.simulator.scenario import Scenario
from mailhearth_core.warmup.policy import Policy

PROCESSOR_SECONDS = 90
MEMORY_BYTES = 1 << 30


def main() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    asked = json.load(sys.stdin)
    scenario = Scenario(
        mailboxes=asked["mailboxes"],
        days=asked["days"],
        seed=asked["seed"],
        faults=frozenset(asked["faults"]),
        receivers=MODELS[asked["receivers"]["name"]],
        policy=Policy.from_json(asked["policy"]),
    )
    json.dump(Simulation(scenario).run().to_json(), sys.stdout)


if __name__ == "__main__":
    main()
