"""`seqmarket register`: puts the model of a run into the registry, under an alias."""

from __future__ import annotations

from collections.abc import Sequence

from seqmarket.cli.arguments import parse_arguments, refuse_other_groups
from seqmarket.cli.compose import load_config


def main(arguments: Sequence[str]) -> None:
    """Runs `register RUN [--name NAME] [--alias challenger|champion] [--without-comparison WHY]`.

    Raises:
        SeqmarketError: There is no such run, MLflow does not know it, or it may not be promoted.
    """
    options, overrides = parse_arguments(
        "register",
        "Registers the model of a run in MLflow. As champion it takes the place of the present "
        "one, if its run was compared with that and is better somewhere or worse nowhere.",
        arguments,
        {
            "run": {
                "metavar": "RUN",
                "help": "a run: its folder, 'last', its id or name in MLflow, or "
                "models:/NAME@ALIAS",
            },
            "--name": {"help": "of the registered model; default: seqmarket-LOG"},
            "--alias": {"choices": ("challenger", "champion"), "default": "challenger"},
            "--without-comparison": {
                "metavar": "REASON",
                "help": "promote it all the same; the reason is kept with the version",
            },
        },
    )
    refuse_other_groups("register", overrides, ("paths", "tracking"))
    config = load_config(overrides)

    from seqmarket.comparison.registration import register

    done = register(
        options.run,
        config.paths,
        config.tracking,
        name=options.name,
        alias=options.alias,
        without_comparison=options.without_comparison,
    )
    for line in done.said:
        print(line)
