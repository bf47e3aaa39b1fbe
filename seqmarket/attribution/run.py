"""The journeys of a trained run, attributed by any number of methods."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from seqmarket.attribution.attributor import Attribution, Attributor, Evidence
from seqmarket.attribution.checks import checks_of
from seqmarket.attribution.config import AttributionSettings
from seqmarket.attribution.holdout import check_holdout
from seqmarket.attribution.journeys import Journeys, make_journeys
from seqmarket.attribution.replay import Known
from seqmarket.data.simulation.truth import Truth
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.data.splits import Fold, Period, to_microseconds
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY
from seqmarket.training.checkpoint import TrainedModel
from seqmarket.training.instantiate import build
from seqmarket.training.run import set_threads
from seqmarket.training.scoring import own_store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attributed:
    """What the methods say of a run's journeys.

    Attributes:
        settings: What was asked for.
        trained: The run's model.
        log_name: Name of the run's log.
        journeys: Of the fold.
        attributions: By method.
        seconds: That each method took.
        left_out: Methods that cannot be used here -> why.
        truth: Of the same period; None: the log is not simulated, or not all of it is there.
        checks: What else can be said of the methods: name of a table -> the table.
    """

    settings: AttributionSettings
    trained: TrainedModel
    log_name: str
    journeys: Journeys
    attributions: Mapping[str, Attribution]
    seconds: Mapping[str, float]
    left_out: Mapping[str, str]
    truth: Truth | None
    checks: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def attribute_run(
    trained: TrainedModel,
    settings: AttributionSettings,
    methods: Mapping[str, Attributor],
    tell: Callable[[str], None] = log.info,
) -> Attributed:
    """Attributes the conversions of a fold of the log that a run was trained on.

    Effects are learnt from the journeys of the training period. A method that cannot be used is
    left out as long as another one can.

    Args:
        trained: The run's model.
        settings: Whose journeys, and how they are made.
        methods: By name.
        tell: Told of each method that is done, in a line.

    Raises:
        SeqmarketError: The log has changed since the run was trained, it has no conversion then, or
            not the column that is named for a hold-out, or no method can be used.
    """
    set_threads(trained.config.training.threads)  # results repeat with the same number only
    store = own_store(trained)
    evidence = gather(store, settings, trained)
    if settings.holdout:
        check_holdout(evidence.journeys, settings.holdout)
    tell(f"{evidence.journeys.period}: {describe(evidence.journeys)}")
    if not len(evidence.journeys.conversion):
        raise SeqmarketError(
            "there is no purchase to attribute",
            where=f"fold={settings.fold}, {evidence.journeys.period}",
            fix="choose another period (fold=train, fold=validation), or lengthen it (data.split)",
        )
    found: dict[str, Attribution] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, SeqmarketError] = {}
    for name, method in methods.items():
        began = time.perf_counter()
        try:
            found[name] = method.attribute(evidence)
        except SeqmarketError as error:
            refused[name] = error
            tell(f"{name} is left out: {error.what}")
            continue
        seconds[name] = time.perf_counter() - began
        tell(f"{name} {seconds[name]:.1f} s")
    if not found:
        raise next(iter(refused.values()))
    world = _world(trained, evidence.journeys, tell)
    truth, known = (None, None) if world is None else _truth(world, tell)
    return Attributed(
        settings=settings,
        trained=trained,
        log_name=store.name,
        journeys=evidence.journeys,
        attributions=found,
        seconds=seconds,
        left_out={name: error.what for name, error in refused.items()},
        truth=truth,
        checks=checks_of(evidence, found, methods, settings, tell, known),
    )


def gather(
    store: SequenceStore, settings: AttributionSettings, trained: TrainedModel | None
) -> Evidence:
    """What methods may look at: the journeys of the fold, and those of the training period.

    Raises:
        SeqmarketError: A name in the settings is not of the log, or there is nothing to attribute.
    """
    journeys = _journeys(store, settings.fold, settings)
    return Evidence(journeys, _journeys(store, "train", settings), trained)


def counts(journeys: Journeys) -> dict[str, int]:
    """How much there is to attribute: in the period, and of touches also in the lookback before."""
    paths = journeys.converting
    return {
        "touches": len(journeys.touch),
        "conversions": len(journeys.conversion),
        "conversions_without_touches": int((paths.first == paths.stop).sum()),
        "censored_touches": journeys.censored,
    }


def describe(journeys: Journeys) -> str:
    """The same in words."""
    found = counts(journeys)
    return (
        f"{found['conversions']:,} conversions, {found['conversions_without_touches']:,} of them "
        f"without a touch; {found['touches']:,} touches, {found['censored_touches']:,} censored"
    )


def _journeys(store: SequenceStore, fold: Fold, settings: AttributionSettings) -> Journeys:
    """Those of the customers that take part in the fold."""
    members = store.split.customers(fold, store.events.n_customers)
    period = store.split.periods[fold]
    return make_journeys(store.events, store.spec, period, settings.journeys, members)


class _World(NamedTuple):
    """A simulated world, and the days of it that are attributed."""

    source: JourneySimulator
    days: tuple[int, int]


def _truth(world: _World, tell: Callable[[str], None]) -> tuple[Truth, Known]:
    began = time.perf_counter()
    truth = world.source.truth(*world.days)
    tell(f"truth {time.perf_counter() - began:.1f} s")
    worth = dict(truth.channels.select("channel", "shapley").iter_rows())
    return truth, Known(worth, lambda plans: world.source.replay(plans, *world.days))


def _world(trained: TrainedModel, journeys: Journeys, tell: Callable[[str], None]) -> _World | None:
    source = build(trained.config.data.source, prefix="data.")
    if not isinstance(source, JourneySimulator):
        return None
    days = _days(journeys.period, to_microseconds(source.start))
    # A part of the customers, or of a day, has a truth that nobody has counted.
    everybody = journeys.members.all() and journeys.n_customers == source.n_customers
    if days is None or not everybody:
        tell("the truth is not compared: it is known for whole days and all customers")
        return None
    if journeys.settings.conversions == "first":
        tell("the truth is not compared: it is of all purchases, and not of each customer's first")
        return None
    return _World(source, days)


def _days(period: Period, start: int) -> tuple[int, int] | None:
    """A period in days since a moment, before which nothing happened; None: not in whole days."""
    first, stop = period.start - start, period.end - start
    if first < MICROSECONDS_PER_DAY:
        first = 0
    if first % MICROSECONDS_PER_DAY or stop % MICROSECONDS_PER_DAY:
        return None
    return first // MICROSECONDS_PER_DAY, stop // MICROSECONDS_PER_DAY
