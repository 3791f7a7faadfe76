"""`python -m mailhearth_worker`: see `mailhearth_worker.main`."""

import sys

from mailhearth_worker.main import main

if __name__ == "__main__":
    sys.exit(main())
