"""Embeds every customer of a log; the same as `seqmarket embed`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["embed", *sys.argv[1:]]))
