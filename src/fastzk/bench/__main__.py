"""`python -m fastzk.bench`: the same as the installed command, see command.py."""

import sys

from fastzk.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
