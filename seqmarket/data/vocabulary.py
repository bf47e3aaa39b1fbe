"""Categories and scalings: fitted from counts over the training period, applied to any log."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.ranked import SortedPieces
from seqmarket.data.settings import EncodingSettings
from seqmarket.schema import SPECIAL_TOKENS, UNK, CategoricalFeature, NumericFeature

_NORMAL_WIDTHS = ((0.25, 0.75, 1.349), (0.05, 0.95, 3.290), (0.005, 0.995, 5.152), (0.0, 1.0, 1.0))
"""Two quantiles, and how many standard deviations lie between them in a normal distribution."""

_NARROWEST = 1e-30
"""A spread; with a smaller one, inputs would not fit into float32."""


def fit_categories(
    name: str, texts: Sequence[str], counts: NDArray[np.int64], settings: EncodingSettings
) -> CategoricalFeature:
    """The categories of a column, the most frequent first, ties in alphabetical order.

    Args:
        name: Name of the feature.
        texts: Its distinct texts, sorted.
        counts: (texts,) how often each occurs in the training period. Nulls are not counted.
        settings: The least count and the largest number of categories.
    """
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= settings.min_count][: settings.max_categories]
    return CategoricalFeature(name, tuple(texts[i] for i in order))


def category_ids(feature: CategoricalFeature, texts: Sequence[str]) -> NDArray[np.int32]:
    """From a code, an index into the sorted `texts` or -1 for a null, to an id: (texts + 1,) int32.

    UNK for nulls (the last entry, which -1 finds) and for texts that training did not show.
    """
    ids = np.full(len(texts) + 1, UNK, dtype=np.int32)
    # There are far fewer categories than texts where these are many.
    for index, category in enumerate(feature.categories):
        code = bisect_left(texts, category)
        if code < len(texts) and texts[code] == category:
            ids[code] = SPECIAL_TOKENS + index
    return ids


def signed_log1p(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sign(x) * log(1 + |x|)``: tames heavy tails of money and counts, keeps the sign."""
    size = np.abs(values)
    np.log1p(size, out=size)
    return np.copysign(size, values, out=size)


def fit_scaling(name: str, training: SortedPieces, n_missing: int) -> NumericFeature:
    """Median and spread of ``signed_log1p(x)``; the spread is that of a normal distribution.

    It is taken from the interquartile range. Counts often have one of 0; then from a wider range,
    at last from the whole. Quantiles, not moments: the sum of floats depends on their order.

    Args:
        name: Name of the feature.
        training: Its values in the training period.
        n_missing: How often it is missing there.
    """
    if not len(training):
        return NumericFeature(name, 0.0, 1.0, has_missing=True)

    def quantile(share: float) -> float:
        low, high, weight = training.around(share)
        pair = signed_log1p(np.array([low, high], dtype=np.float64))
        return float(np.quantile(pair, weight))

    widths = ((quantile(high) - quantile(low)) / width for low, high, width in _NORMAL_WIDTHS)
    scale = next((width for width in widths if width > _NARROWEST), 1.0)
    return NumericFeature(name, quantile(0.5), scale, has_missing=n_missing > 0)


def encode_numeric(
    features: Sequence[NumericFeature], columns: Mapping[str, NDArray[np.float64]], n_rows: int
) -> NDArray[np.float32]:
    """Scaled values, then the missing flags: (rows, inputs) float32 without NaN."""
    inputs = np.empty(
        (n_rows, len(features) + sum(feature.has_missing for feature in features)), np.float32
    )
    flag = len(features)
    for index, feature in enumerate(features):
        values = signed_log1p(columns[feature.name])
        values -= feature.center
        values /= feature.scale
        missing = np.isnan(values)
        values[missing] = 0.0
        inputs[:, index] = values
        if feature.has_missing:
            inputs[:, flag] = missing
            flag += 1
    return inputs
