"""`python -m mailhearth_worker.scheduler`: see `mailhearth_worker.scheduler.main`."""

import sys

from mailhearth_worker.scheduler.main import main

if __name__ == "__main__":
    sys.exit(main())
