"""Shows all that is held of a customer; the same as `seqmarket inspect`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["inspect", *sys.argv[1:]]))
