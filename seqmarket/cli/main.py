"""`seqmarket <verb> ...`: finds the verb, runs it, ends with a clear message and exit code."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from seqmarket import __version__
from seqmarket.cli.guard import guarded
from seqmarket.errors import SeqmarketError, did_you_mean


class Verb(NamedTuple):
    """A command: where its function is, and what it does in a few words."""

    target: str
    purpose: str


VERBS = {
    "train": Verb("seqmarket.cli.train:main", "train, evaluate and record a model"),
    "prepare": Verb("seqmarket.cli.prepare:main", "read and encode a log, report its quality"),
    "evaluate": Verb("seqmarket.cli.evaluate:main", "evaluate a trained model on a split"),
    "predict": Verb("seqmarket.cli.predict:main", "score every customer of a log"),
    "embed": Verb("seqmarket.cli.embed:main", "export the state of every customer of a log"),
    "attribute": Verb("seqmarket.cli.attribute:main", "what each touch and channel contributed"),
    "compare": Verb("seqmarket.cli.compare:main", "runs side by side, on the same rows"),
    "leaderboard": Verb("seqmarket.cli.leaderboard:main", "all models of an experiment"),
    "register": Verb("seqmarket.cli.register:main", "make a run's model challenger or champion"),
    "inspect": Verb("seqmarket.cli.inspect_customer:main", "show all that is held of a customer"),
    "erase": Verb("seqmarket.cli.erase:main", "remove customers, and prove that nothing is left"),
    "simulate": Verb("seqmarket.cli.simulate:main", "simulate a log whose truth is known"),
    "sync": Verb("seqmarket.cli.sync:main", "send a locally recorded run to MLflow"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script.

    Args:
        arguments: The verb and its arguments; None: of the process.

    Returns:
        The exit code: 0, 2 for a mistake that the user can mend, 130 when interrupted.
    """
    # Two threads that wait by spinning lose most of their speed to one busy neighbour.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch then asks for large arrays in pages of 2 MiB, which are cleared and found faster.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    verb, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(_help())
        return 0
    if verb == "--version":
        print(f"seqmarket {__version__}")
        return 0
    return guarded(lambda: _load(verb)(rest), resume=_resume(rest) if verb == "train" else None)


def _load(verb: str) -> Callable[[Sequence[str]], int | None]:
    if verb not in VERBS:
        raise SeqmarketError(f"there is no command '{verb}'; {did_you_mean(verb, VERBS)}")
    module, _, function = VERBS[verb].target.partition(":")
    found = getattr(importlib.import_module(module), function)
    return cast(Callable[[Sequence[str]], int | None], found)


def _resume(overrides: Sequence[str]) -> str:
    kept = [item for item in overrides if not item.lstrip("+").startswith("ckpt_path=")]
    script = Path(sys.argv[0])
    program = f"python {script.name}" if script.suffix == ".py" else f"{script.name} train"
    return f"{program} {shlex.join([*kept, 'ckpt_path=last'])}"


def _help() -> str:
    verbs = "\n".join(f"  {name:<10}{verb.purpose}" for name, verb in VERBS.items())
    return (
        "Deep sequence modelling of customer journeys.\n\n"
        f"  seqmarket <command> ...\n\n{verbs}\n\n"
        "`seqmarket <command> --help` tells more."
    )


if __name__ == "__main__":
    sys.exit(main())
