"""`python -m bench [PART...]`: runs the parts named, or all, and keeps what they found.

A part is a module of this folder with `run() -> dict` (JSON types only). One whose program is not
installed says so and is passed over; one that fails ends the run with code 1, the others done.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Sequence

from bench import results
from mailhearth_core import logs

PARTS = ("sending", "receiving", "idle", "planning", "rows", "pages", "faults")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    chosen = parser.parse_args(arguments).parts or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; parts: {', '.join(PARTS)}")
    logs.configure("bench", "ERROR")
    failed = 0
    for part in chosen:
        print(f"{part} ...", flush=True)
        if importlib.util.find_spec(f"bench.{part}") is None:
            print(f"  passed over: there is no bench/{part}.py yet", flush=True)
            continue
        started = time.monotonic()
        try:
            found = importlib.import_module(f"bench.{part}").run()
        except results.Missing as missing:
            print(f"  passed over: {missing}", flush=True)
            continue
        except Exception:  # noqa: BLE001 - shown; the other parts are measured all the same
            traceback.print_exc()
            failed += 1
            continue
        results.keep(part, found)
        print("\n".join(results.lines_of(found)))
        print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
