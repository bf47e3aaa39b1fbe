"""Sends a locally recorded run to MLflow; the same as `seqmarket sync`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sync", *sys.argv[1:]]))
