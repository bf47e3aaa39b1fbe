"""Compares runs on the same rows; the same as `seqmarket compare`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
