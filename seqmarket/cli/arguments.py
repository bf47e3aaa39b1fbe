"""Command lines that mix options of a verb with overrides of the configuration."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from seqmarket.errors import SeqmarketError

_OVERRIDE = re.compile(r"^(~[\w@][\w/@.]*(=.*)?|\+{0,2}[\w@][\w/@.]*=.*)$", re.DOTALL)

RUN_HELP = (
    "a run: its folder, a checkpoint file, 'last', the id of an MLflow run, or models:/NAME@ALIAS"
)


def parse_arguments(
    verb: str, purpose: str, arguments: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> tuple[argparse.Namespace, list[str]]:
    """Separates the verb's own options from overrides such as ``data.path=log.csv``.

    Args:
        verb: Name of the command.
        purpose: What it does.
        arguments: The command line after the verb.
        options: What `argparse` is told about each option.

    Returns:
        The options, and the overrides in their order.

    Raises:
        SeqmarketError: If an argument is neither.
    """
    parser = argparse.ArgumentParser(
        prog=f"seqmarket {verb}",
        description=purpose,
        epilog="Further arguments of the form key=value override the configuration.",
    )
    for name, settings in options.items():
        parser.add_argument(name, **settings)
    overrides = [item for item in arguments if _OVERRIDE.match(item)]
    own = [item for item in arguments if item not in overrides]
    parsed, unknown = parser.parse_known_args(own)
    if unknown:
        raise SeqmarketError(
            f"'{unknown[0]}' is neither an option of {verb} nor an override (key=value)",
            fix=f"seqmarket {verb} --help",
        )
    return parsed, overrides


def refuse_other_groups(verb: str, overrides: Sequence[str], groups: Sequence[str]) -> None:
    """Refuses overrides that a verb would not heed: the run brings its own configuration.

    Raises:
        SeqmarketError: Names the first such override.
    """
    for item in overrides:
        group = re.split(r"[=.@/]", item.lstrip("+~"), maxsplit=1)[0]
        if group not in groups:
            raise SeqmarketError(
                f"'{item}' has no effect here: the run keeps the configuration it was trained with",
                where=f"seqmarket {verb}",
                fix=f"only these can be overridden: {', '.join(groups)}",
            )
