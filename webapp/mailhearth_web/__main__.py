"""`python -m mailhearth_web`: see `mailhearth_web.server`."""

import sys

from mailhearth_web.server import main

if __name__ == "__main__":
    sys.exit(main())
