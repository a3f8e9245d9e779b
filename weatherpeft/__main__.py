"""``python -m weatherpeft``."""

import sys

from weatherpeft.cli import main

if __name__ == "__main__":
    sys.exit(main())
