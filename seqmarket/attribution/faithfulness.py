"""Whether credit says what the run's model rests on: deletion, drawn weights, completeness.

Faithful to the model is not true of the world: a model may rest on touches that bring nothing
about. A method that divides purchases without the model may well be far from it and nearer the
truth.

Sources: deletion after Samek et al., "Evaluating the visualization of what a deep neural network
has learned" (2017); drawn weights after Adebayo et al., "Sanity checks for saliency maps" (2018).

V  conversions     M  touches     R  touches of all converting paths
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from seqmarket.attribution.asking import PurchaseModel
from seqmarket.attribution.attributor import Attribution, Attributor, Evidence
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.sharing import check_telling
from seqmarket.attribution.without_touches import expected_without
from seqmarket.errors import SeqmarketError
from seqmarket.training.checkpoint import TrainedModel

_LEAST = 3
"""Touches of a path among which some can be chosen."""

_SHARE = 0.2
"""Of a path's touches that are taken out."""

_DRAWS = 5
"""Of touches by chance, for each path."""


def faithfulness_table(
    evidence: Evidence,
    attributions: Mapping[str, Attribution],
    methods: Mapping[str, Attributor],
    untrained: TrainedModel,
    *,
    conversions: int,
    n_resamples: int = 500,
    seed: int = 0,
    level: float = 0.9,
) -> pl.DataFrame:
    """One row per method.

    Columns: `method`, `conversions` (that the model was asked about), `deletion` (mean part of what
    the model expects that is gone with the fifth of a path's touches that has the most credit),
    `by_chance` (the same, of as many drawn touches), `gain` (the difference) with `gain_low` and
    `gain_high`, `drawn_weights` (see `agreement_within_paths`: with the same method asking a model
    whose weights are drawn; low is good, null for methods that ask no model) and `unaccounted`
    (conversions that are neither credited nor organic, whatever their sign).

    Args:
        evidence: What the methods looked at, the run's model included.
        attributions: What they said, by name.
        methods: The methods themselves.
        untrained: The run's model before its training.
        conversions: Most conversions that the model is asked about.
        n_resamples: Of customers, behind each interval; 0: no intervals.
        seed: Of the draws.
        level: Of the intervals.

    Raises:
        SeqmarketError: The run's model does not say whether a purchase comes, no path has enough
            touches to choose from, or the model expects next to nothing of the purchases.
    """
    journeys = some_conversions(evidence.journeys, conversions, seed)
    model = PurchaseModel.of(evidence, "faithfulness")
    asked = evidence._replace(journeys=journeys)
    random = np.random.default_rng(seed)
    everything = model.with_all_touches(journeys)
    paths, touch = journeys.converting.rows()
    check_telling("faithfulness", _without(model, journeys, paths, touch) / everything)
    drawn = np.mean(
        [
            _lost(model, journeys, everything, random.random(len(journeys.touch)), random)
            for _ in range(_DRAWS)
        ],
        axis=0,
    )
    rows = []
    for name, found in attributions.items():
        lost = _lost(model, journeys, everything, found.credit, random)
        low, high = _interval(journeys.converts, lost - drawn, n_resamples, seed, level)
        rows.append(
            {
                "method": name,
                "conversions": len(lost),
                "deletion": float(lost.mean()),
                "by_chance": float(drawn.mean()),
                "gain": float((lost - drawn).mean()),
                "gain_low": low,
                "gain_high": high,
                "drawn_weights": _with_drawn_weights(methods[name], found, asked, untrained),
                "unaccounted": abs(len(evidence.journeys.conversion) - found.total),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def some_conversions(journeys: Journeys, most: int, seed: int) -> Journeys:
    """Journeys of which some conversions are asked about: those with touches to choose from.

    All touches stay, so that what was found of them keeps its place.

    Raises:
        SeqmarketError: There is no such conversion.
    """
    paths = journeys.converting
    many = np.flatnonzero(paths.stop - paths.first >= _LEAST)
    if not len(many):
        raise SeqmarketError(
            f"no path to a conversion has {_LEAST} touches to choose from",
            where="faithfulness",
            fix="faithfulness=0, or a longer journeys.lookback",
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(many)[:most])
    return replace(
        journeys,
        conversion=journeys.conversion[chosen],
        converts=journeys.converts[chosen],
        paths=paths.take(chosen)._replace(conversion=np.arange(len(chosen))),
    )


def most_credited(journeys: Journeys, credit: Floats, random: np.random.Generator) -> Ints:
    """(N, 2) path and touch of a fifth of each path's touches, and at least one, by credit.

    Args:
        journeys: The journeys.
        credit: (M,) of the touches; those with the same are chosen among by chance, for a rule
            that gives all alike would else be one that points to the first.
        random: Of that choice.
    """
    path, touch = journeys.converting.rows()
    order = np.lexsort((random.random(len(path)), -credit[touch], path))
    size = np.bincount(path, minlength=len(journeys.conversion))
    place = np.arange(len(path)) - np.repeat(np.cumsum(size) - size, size)
    wanted = np.maximum(np.round(_SHARE * size), 1)
    chosen = order[place < wanted[path]]
    return np.column_stack([path[chosen], touch[chosen]])


def agreement_within_paths(journeys: Journeys, one: Floats, other: Floats) -> float | None:
    """Mean over converting paths of Spearman's rank correlation of the credit of its touches.

    Args:
        journeys: The journeys.
        one: (M,) credit.
        other: (M,) likewise.

    Returns:
        None where every path's touches have the same credit.
    """
    found = []
    for first, stop, _ in zip(*journeys.converting, strict=True):
        pair = one[first:stop], other[first:stop]
        if all(np.ptp(each) > 0 for each in pair):
            found.append(spearmanr(*pair).statistic)
    return float(np.mean(found)) if found else None


def _lost(
    model: PurchaseModel,
    journeys: Journeys,
    everything: Floats,
    credit: Floats,
    random: np.random.Generator,
) -> Floats:
    """(V,) part of what the model expects that is gone with the touches of most credit."""
    path, touch = most_credited(journeys, credit, random).T
    return np.asarray(1 - _without(model, journeys, path, touch) / everything)


def _without(model: PurchaseModel, journeys: Journeys, path: Ints, touch: Ints) -> Floats:
    """(V,) what the model expects without some of the touches of each path."""
    every = np.arange(len(journeys.conversion))
    return expected_without(model, journeys, every, path, touch)


def _with_drawn_weights(
    method: Attributor, found: Attribution, asked: Evidence, untrained: TrainedModel
) -> float | None:
    if not getattr(method, "asks_model", False):
        return None
    try:
        drawn = method.attribute(asked._replace(trained=untrained)).credit
        # A touch on one path alone has the same credit, whichever others are asked about.
        alone = asked.journeys.settings.restart
        own = found.credit if alone else method.attribute(asked).credit
        return agreement_within_paths(asked.journeys, own, drawn)
    except SeqmarketError:  # of a model that knows nothing, there may be nothing to say
        return None


def _interval(
    customer: Ints, each: Floats, n_resamples: int, seed: int, level: float
) -> tuple[float | None, float | None]:
    """Bounds of a mean over conversions, where customers are drawn anew with all of theirs."""
    if not n_resamples:
        return None, None
    _, whose = np.unique(customer, return_inverse=True)
    number, total = np.bincount(whose), np.bincount(whose, each)
    n = len(number)
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    means = total[drawn].sum(axis=1) / number[drawn].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail]).tolist()
    return low, high
