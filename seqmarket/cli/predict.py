"""`seqmarket predict`: scores every customer of a log as of a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from seqmarket.cli.arguments import RUN_HELP, parse_arguments, refuse_other_groups
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import make_folder_of, writing
from seqmarket.data.settings import as_utc
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import DataConfig, parse_config

if TYPE_CHECKING:
    from seqmarket.data.event_log import EventLog
    from seqmarket.training.checkpoint import TrainedModel


def main(arguments: Sequence[str]) -> None:
    """Runs `predict RUN --output FILE [--as-of TIME] [data=files data.path=... overrides]`.

    Raises:
        SeqmarketError: There is no such run, the log breaks a rule, or lacks a feature.
    """
    asked = open_question(
        "predict",
        "Scores every customer of a log as of a moment. Without data overrides, the run's own log.",
        arguments,
    )
    from seqmarket.training.scoring import score_customers, write_scores

    scores = score_customers(asked.trained, asked.event_log, asked.as_of)
    with writing(asked.output):
        write_scores(scores, asked.output)
    message = f"{len(scores.table):,} customers scored as of {asked.as_of:%Y-%m-%d %H:%M} UTC"
    if scores.n_skipped:
        message += f", {scores.n_skipped:,} left out who have no event by then"
    print(f"{message}: {asked.output}")


class Question(NamedTuple):
    """A trained run, and the log whose customers it is asked about.

    Attributes:
        trained: The run's model.
        event_log: The log, validated and admitted by the gate.
        as_of: The moment as of which.
        output: The file to write.
    """

    trained: TrainedModel
    event_log: EventLog
    as_of: datetime
    output: Path


def open_question(verb: str, purpose: str, arguments: Sequence[str]) -> Question:
    """Reads `RUN --output FILE [--as-of TIME] [overrides]`, the run and the log.

    Args:
        verb: Name of the command.
        purpose: What it does.
        arguments: The command line after the verb.

    Raises:
        SeqmarketError: There is no such run, or the log breaks a rule.
    """
    options, overrides = parse_arguments(
        verb,
        purpose,
        arguments,
        {
            "run": {"help": RUN_HELP},
            "--as-of": {"help": "ISO date or time, UTC without a zone; default: the log's end"},
            "--output": {"type": Path, "required": True, "help": "Parquet file to write"},
        },
    )
    refuse_other_groups(verb, overrides, ("data", "paths", "tracking"))
    as_of = None if options.as_of is None else _moment(options.as_of)
    changes = [item for item in overrides if item.lstrip("+~").startswith("data")]
    _refuse_removals(verb, changes)
    config = load_config([item for item in overrides if item not in changes])

    from seqmarket.training.locate import find_model

    model_file = find_model(options.run, config.paths, config.tracking)
    make_folder_of(options.output)

    from seqmarket.data.engine.progress import lines
    from seqmarket.data.prepare import Workshop, prepare_log
    from seqmarket.training.checkpoint import load_trained
    from seqmarket.training.instantiate import build

    trained = load_trained(model_file)
    data = _data_config(trained.plain_config, changes)
    source = build(data.source, prefix="data.")
    place = Workshop(config.paths.cache_dir, data.engine, data.resources, lines)
    with writing(config.paths.cache_dir):
        event_log = prepare_log(source, data.log, place, "scoring")
    return Question(trained, event_log, as_of or event_log.observed_until, options.output)


def _data_config(trained: Mapping[str, Any], changes: Sequence[str]) -> DataConfig:
    """The run's own log, with changed keys, or a log of another kind (`data=...`)."""
    if _names_another_log(changes):
        # Who may be used, and under what name, stays as it was for training unless it is said.
        own = parse_config(dict(trained)).data
        said = [change.lstrip("+~") for change in changes]
        kept = {
            name: getattr(own, name)
            for name in ("privacy", "identity")
            if not any(change.startswith(f"data.{name}") for change in said)
        }
        return load_config(changes).data.model_copy(update=kept)
    from omegaconf import OmegaConf

    keys = [change.lstrip("+") for change in changes]  # known or not, the source will say
    changed = OmegaConf.merge(dict(trained), OmegaConf.from_dotlist(keys))
    return parse_config(cast(dict[str, Any], OmegaConf.to_container(changed))).data


def _names_another_log(changes: Sequence[str]) -> bool:
    return any(change.lstrip("+").startswith("data=") for change in changes)


def _refuse_removals(verb: str, changes: Sequence[str]) -> None:
    for change in [] if _names_another_log(changes) else changes:
        if change.startswith("~"):
            raise SeqmarketError(
                f"'{change}': nothing can be taken away from the data of a run",
                where=f"seqmarket {verb}",
                fix="set keys with data.key=value, or name a log of another kind with data=...",
            )


def _moment(text: str) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise SeqmarketError(
            f"'{text}' is not a date or time", where="--as-of", fix="write it as 2026-11-22"
        ) from error
