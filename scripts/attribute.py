"""Attributes the purchases in the log of a trained run; the same as `seqmarket attribute`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["attribute", *sys.argv[1:]]))
