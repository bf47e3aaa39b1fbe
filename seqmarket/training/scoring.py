"""What a trained run is asked later: metrics on a fold, and scores for the customers of a log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.encoding import encode_shard
from seqmarket.data.event_log import EventLog
from seqmarket.data.labels import Neighbours
from seqmarket.data.sealed import write_sealed
from seqmarket.data.splits import Fold, to_microseconds
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import QUANTILES, EventArrays, LabelTable, NextRule, SequenceSpec
from seqmarket.training.changed_data import refuse_changed
from seqmarket.training.checkpoint import TrainedModel, load_trained
from seqmarket.training.data import open_data
from seqmarket.training.evaluation import evaluate
from seqmarket.training.models import fit_baseline, model_name
from seqmarket.training.predictors import (
    BaselinePredictor,
    CalibratedPredictor,
    DeepPredictor,
    Predictor,
    among_scored,
)
from seqmarket.training.results import TaskResult
from seqmarket.training.run import make_datamodule, set_threads
from seqmarket.training.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """What a model says about the customers of a log.

    Attributes:
        table: One row per customer with an event at or before the prediction time.
        n_skipped: Customers without one, who cannot be scored.
    """

    table: pl.DataFrame
    n_skipped: int


def evaluate_run(model_file: Path, fold: Fold, *, with_baselines: bool) -> list[TaskResult]:
    """Evaluates a trained run on a fold of the log that it was trained on.

    Args:
        model_file: Its `model.ckpt`, or a checkpoint of its middle.
        fold: Which rows.
        with_baselines: Whether its baselines are fitted again and evaluated beside it.

    Raises:
        SeqmarketError: If the log, or what is admitted of it, is not what the run was trained on.
    """
    trained = load_trained(model_file)
    config = trained.config
    data = _own_data(trained)
    own, spec = model_name(config.model), trained.spec
    validation = data.tables("validation")
    predictor = _predictors(trained, data)(data.store.events)
    method = config.training.calibration
    if method != "none" and not trained.calibrations:
        # A checkpoint of a run's middle; the baselines beside it are calibrated too.
        predictor = CalibratedPredictor.fit(predictor.predictor, validation, spec, method)
    models: dict[str, Predictor] = {own: predictor}
    for other, component in config.baselines.items() if with_baselines else ():
        if other != own:
            log.info("fitting the baseline %s", other)
            baseline = fit_baseline(component, data, f"baselines.{other}.")
            models[other] = (
                CalibratedPredictor.fit(baseline, validation, spec, method)
                if method != "none"
                else baseline
            )
    tables = data.tables(fold)
    predictions = {
        model: among_scored(predictor.predict(tables), tables, spec)
        for model, predictor in models.items()
    }
    return evaluate(predictions, tables, n_resamples=config.training.resamples, seed=config.seed)


def score_customers(trained: TrainedModel, event_log: EventLog, as_of: datetime) -> Scores:
    """Scores every customer of a log as of a moment; later events are not looked at.

    Args:
        trained: The model.
        event_log: Any log with the features that the model reads.
        as_of: The prediction time.

    Returns:
        Columns `customer_id`, `prediction_time`, `last_event_time`, `events`; per task about a
        window its probability, or the expected value and the median, and whether the customer is
        of the kind that the task asks about; for the next channel or type the likeliest one, and
        a probability for each; for the time to the next event its quantiles in days.

    Raises:
        SeqmarketError: If a feature is missing, no customer has an event by then, or the model
            is a baseline and the log that it is fitted on again has changed.
    """
    check_features(event_log, trained.spec)
    moment = to_microseconds(as_of)
    tables, predictors = [], _predictors(trained)
    for shard in event_log.shards():
        known = shard.keep(shard.time <= moment)
        if known.n_customers:
            events = encode_shard(known, event_log.lexicon, trained.spec)
            scores = _score(trained, predictors(events), events, as_of)
            tables.append(scores.insert_column(0, known.customer_id.alias("customer_id")))
    if not tables:
        raise nobody_known(as_of)
    table = pl.concat(tables).sort("customer_id")
    return Scores(table, event_log.n_customers - len(table))


def _score(
    trained: TrainedModel, predictor: Predictor, events: EventArrays, as_of: datetime
) -> pl.DataFrame:
    """Scores the customers of one shard, all of whose events are known."""
    near = Neighbours(events, trained.spec)
    newest = events.offsets[1:] - 1
    tables = {
        name: _unlabelled(task, newest, to_microseconds(as_of))
        for name, task in trained.tasks.items()
    }
    probabilities = predictor.predict(tables)
    table = pl.DataFrame(
        {
            "prediction_time": pl.Series([as_of]).new_from_index(0, len(newest)),
            "last_event_time": pl.Series(events.time[newest]).cast(pl.Datetime("us", "UTC")),
            "events": pl.Series(np.diff(events.offsets), dtype=pl.UInt32),
        }
    )
    for name, task in trained.tasks.items():
        if name in probabilities:
            columns = _columns(task, probabilities[name], trained.spec, near, newest, as_of)
            table = table.with_columns(**columns)
    return table


def write_scores(scores: Scores, path: Path) -> None:
    """Writes the table as Parquet, whole or not at all, and its digest beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(path, scores.table.write_parquet)


def own_store(trained: TrainedModel) -> SequenceStore:
    """The log of a run, as it was when the run was trained.

    Raises:
        SeqmarketError: If the log, or what is admitted of it, has changed since.
    """
    store = open_data(trained.config)
    refuse_changed(
        trained.store_fingerprint,
        trained.gate,
        store,
        where="the run's data: trained",
        since="since this run was trained",
        fix="restore the log, or train again",
    )
    return store


def _own_data(trained: TrainedModel) -> JourneyDataModule:
    return make_datamodule(trained.config, own_store(trained), trained.tasks)


def _predictors(
    trained: TrainedModel, data: JourneyDataModule | None = None
) -> Callable[[EventArrays], CalibratedPredictor]:
    """From encoded events to the model that answers questions about them."""
    config = trained.config
    set_threads(config.training.threads)
    model, tokens = trained.model, config.training.eval_tokens
    # A baseline has no file of its own: it is fitted again, on the log of its run.
    fitted = None if model else fit_baseline(config.model, data or _own_data(trained), "model.")

    def of(events: EventArrays) -> CalibratedPredictor:
        predictor: Predictor
        if fitted is not None:
            predictor = BaselinePredictor(fitted.baseline, events, fitted.without)
        else:
            assert model is not None
            predictor = DeepPredictor(model, trained.tasks, events, trained.spec, tokens=tokens)
        return CalibratedPredictor(predictor, trained.calibrations)

    return of


def _unlabelled(task: Task, newest: NDArray[np.int64], as_of: int) -> LabelTable:
    n = len(newest)
    customer = np.arange(n, dtype=np.int64)
    time = np.full(n, as_of, dtype=np.int64)
    label = np.zeros(n, dtype=np.int64)
    return LabelTable(task.name, task.kind, customer, newest, time, label, task.rule)


def _columns(
    task: Task,
    predicted: NDArray[np.float64],
    spec: SequenceSpec,
    near: Neighbours,
    newest: NDArray[np.int64],
    as_of: datetime,
) -> Mapping[str, pl.Series]:
    name = task.name
    if isinstance(task.rule, NextRule):
        if task.kind == "duration":
            return {
                f"{name}_days_{round(100 * share)}": pl.Series(predicted[:, i])
                for i, share in enumerate(QUANTILES)
            }
        classes = task.classes(spec)
        likeliest = pl.Series(np.array(classes)[predicted.argmax(axis=1)])
        each = {
            f"{name}_probability_{one}": pl.Series(predicted[:, i]) for i, one in enumerate(classes)
        }
        return {name: likeliest, **each}
    active = near.last(task.rule.active)[newest]
    asked = {f"{name}_asked": pl.Series(active > to_microseconds(as_of) - task.rule.active_within)}
    if task.kind == "amount":
        answers = {"expected": predicted[:, 0], "median": predicted[:, 1]}
        return {f"{name}_{what}": pl.Series(column) for what, column in answers.items()} | asked
    return {f"{name}_probability": pl.Series(predicted)} | asked


def nobody_known(as_of: datetime) -> SeqmarketError:
    """The message for a moment before the log's first event."""
    return SeqmarketError(
        f"no customer has an event at or before {as_of:%Y-%m-%d %H:%M}",
        where="--as-of",
        fix="choose a later moment",
    )


def check_features(event_log: EventLog, spec: SequenceSpec) -> None:
    """Refuses a log without a feature that a model reads.

    Raises:
        SeqmarketError: Names the feature, and the key that declares it.
    """
    needed = {
        "data.categorical": ([f.name for f in spec.categorical], event_log.categorical),
        "data.numeric": (
            [f.name for f in spec.numeric if f.name not in ("value", "cost")],
            event_log.numeric,
        ),
        "data.static_categorical": (
            [f.name for f in spec.static_categorical],
            event_log.columns.static_codes,
        ),
        "data.static_numeric": (
            [f.name for f in spec.static_numeric],
            event_log.columns.static_numbers,
        ),
    }
    for key, (wanted, given) in needed.items():
        missing = [name for name in wanted if name not in given]
        if missing:
            raise SeqmarketError(
                f"the model reads the feature '{missing[0]}', which this log does not declare",
                where=key,
                fix=f"declare it: {key}={list(wanted)}",
            )
