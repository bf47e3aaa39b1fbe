"""Trains and evaluates a model: `python train.py model=transformer`; see `--help`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
