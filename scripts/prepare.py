"""Reads and encodes a log and reports its quality; the same as `seqmarket prepare`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
