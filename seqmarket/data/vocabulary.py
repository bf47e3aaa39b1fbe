"""Fits categories and scalings on the training period, and applies them to the whole log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.settings import EncodingSettings
from seqmarket.schema import SPECIAL_TOKENS, UNK, CategoricalFeature, NumericFeature


def fit_categories(
    name: str, training: pl.Series, settings: EncodingSettings
) -> CategoricalFeature:
    """The categories of a column, the most frequent first, ties in alphabetical order.

    Args:
        name: Name of the feature.
        training: Its values in the training period; nulls become UNK, not a category.
        settings: The least count and the largest number of categories.
    """
    counts = (
        training.drop_nulls()
        .alias("category")
        .value_counts(name="count")
        .filter(pl.col("count") >= settings.min_count)
        .sort(["count", "category"], descending=[True, False])
        .head(settings.max_categories)
    )
    return CategoricalFeature(name, tuple(counts["category"]))


def encode_categories(feature: CategoricalFeature, values: pl.Series) -> NDArray[np.int32]:
    """Ids of a column's values; UNK for nulls and for categories that training did not show."""
    ids = np.arange(SPECIAL_TOKENS, feature.size)
    if not len(ids):
        return np.full(len(values), UNK, dtype=np.int32)
    encoded = values.replace_strict(
        pl.Series(feature.categories, dtype=pl.String),
        pl.Series(ids, dtype=pl.Int32),
        default=UNK,
        return_dtype=pl.Int32,
    )
    return encoded.fill_null(UNK).to_numpy()


def signed_log1p(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sign(x) * log(1 + |x|)``: tames heavy tails of money and counts, keeps the sign."""
    return np.sign(values) * np.log1p(np.abs(values))


def fit_scaling(name: str, training: pl.Series) -> NumericFeature:
    """Median and interquartile range (as a normal's standard deviation) of ``signed_log1p(x)``."""
    values = signed_log1p(training.drop_nulls().to_numpy().astype(np.float64))
    has_missing = training.null_count() > 0
    if not len(values):
        return NumericFeature(name, 0.0, 1.0, has_missing=True)
    low, center, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    # Counts often have a zero interquartile range; their spread is then the standard deviation,
    # which rounding makes a tiny number, not 0, where all values are the same.
    deviation = float(values.std()) if np.ptp(values) > 0 else 0.0
    scale = (high - low) / 1.349 or deviation or 1.0
    return NumericFeature(name, center, scale, has_missing)


def encode_numeric(features: Sequence[NumericFeature], frame: pl.DataFrame) -> NDArray[np.float32]:
    """Scaled values, then the missing flags: (rows, inputs) float32 without NaN."""
    scaled, flags = [], []
    for feature in features:
        column = frame[feature.name]
        missing = column.is_null().to_numpy()
        values = column.fill_null(0.0).to_numpy().astype(np.float64)
        values = (signed_log1p(values) - feature.center) / feature.scale
        scaled.append(np.where(missing, 0.0, values))
        if feature.has_missing:
            flags.append(missing)
    columns = scaled + flags
    if not columns:
        return np.zeros((frame.height, 0), dtype=np.float32)
    return np.stack(columns, axis=1).astype(np.float32)
