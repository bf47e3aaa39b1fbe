"""Evaluates a trained model on a split; the same as `seqmarket evaluate`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
