"""Simulates a log whose truth is known; the same as `seqmarket simulate`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["simulate", *sys.argv[1:]]))
