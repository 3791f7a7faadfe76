"""`python -m mailhearth_operator`: see `mailhearth_operator.main`."""

import sys

from mailhearth_operator.main import main

if __name__ == "__main__":
    sys.exit(main())
