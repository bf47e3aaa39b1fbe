"""All models of an experiment in one table; the same as `seqmarket leaderboard`."""

import sys

from seqmarket.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["leaderboard", *sys.argv[1:]]))
