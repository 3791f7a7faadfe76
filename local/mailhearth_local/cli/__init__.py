"""The command line `mailhearth`. Importing this imports no command, so that help is instant."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The program's entry point."""
    from mailhearth_local.cli.app import run

    sys.exit(run(sys.argv[1:]))
