"""Run the `refinenet` command with `python -m refinenet_pl`."""

import sys

from refinenet_pl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
