"""Scores every customer of a log; the same as `seqmarket predict`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
