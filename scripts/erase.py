"""Removes customers, and looks for what is left; the same as `seqmarket erase`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["erase", *sys.argv[1:]]))
