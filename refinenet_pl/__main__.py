"""`python -m refinenet_pl` is the `refinenet` command."""

import sys

from refinenet_pl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
