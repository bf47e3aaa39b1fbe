"""Puts the model of a run into the registry; the same as `seqmarket register`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["register", *sys.argv[1:]]))
