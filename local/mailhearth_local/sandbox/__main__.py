"""`python -m mailhearth_local.sandbox --data DIR [--seed N]`: runs the mail sandbox."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from mailhearth_core.errors import MailhearthError
from mailhearth_local.sandbox.server import serve


def main() -> int:
    """0 after a signal to stop, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="mailhearth-sandbox", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds everything")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's draws (default 1)")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # aiosmtpd warns of its own deprecations at every connection; failures reach our handler.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    try:
        asyncio.run(serve(options.data, seed=options.seed))
    except MailhearthError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
