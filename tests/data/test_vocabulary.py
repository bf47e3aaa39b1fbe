"""Categories and scalings: the order of the ids, what is unknown, and numbers that stay finite."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqmarket.data import vocabulary
from seqmarket.data.settings import EncodingSettings
from seqmarket.data.vocabulary import (
    encode_categories,
    encode_numeric,
    fit_categories,
    fit_scaling,
    signed_log1p,
)
from seqmarket.schema import SPECIAL_TOKENS, UNK, CategoricalFeature, NumericFeature

SEEN = pl.Series("device", ["b", "c", "a", "b", "c", None, "d", "b", None, None, None])


def fitted(**settings: int) -> tuple[str, ...]:
    return fit_categories("device", SEEN, EncodingSettings(**settings)).categories


def test_categories_stand_by_frequency_then_name() -> None:
    assert fitted() == ("b", "c", "a", "d")


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    shuffled = SEEN.shuffle(seed=seed)
    assert fit_categories("device", shuffled, EncodingSettings()).categories == fitted()


def test_rare_categories_get_no_id() -> None:
    assert fitted(min_count=2) == ("b", "c")
    assert fitted(min_count=3) == ("b",)
    assert fitted(max_categories=3) == ("b", "c", "a")
    assert fitted(max_categories=3, min_count=2) == ("b", "c")
    assert fitted(min_count=4) == ()


def test_unknown_and_missing_become_unk() -> None:
    feature = fit_categories("device", SEEN, EncodingSettings(min_count=2))
    values = pl.Series("device", ["c", "b", "a", "new", None, ""], dtype=pl.String)
    ids = encode_categories(feature, values)
    assert ids.tolist() == [SPECIAL_TOKENS + 1, SPECIAL_TOKENS, UNK, UNK, UNK, UNK]
    assert ids.dtype == np.int32
    assert ids.max() < feature.size


@pytest.mark.parametrize("values", [["a", None], [None, None], []])
def test_without_categories_all_is_unknown(values: list[str | None]) -> None:
    nothing = pl.Series("device", [None, None], dtype=pl.String)
    feature = fit_categories("device", nothing, EncodingSettings())
    assert feature == CategoricalFeature("device", ())
    ids = encode_categories(feature, pl.Series("device", values, dtype=pl.String))
    assert ids.tolist() == [UNK] * len(values)
    assert ids.dtype == np.int32


def test_signed_logarithm() -> None:
    values = signed_log1p(np.array([-np.e + 1, 0.0, np.e - 1, 1e12]))
    assert values[:3] == pytest.approx([-1, 0, 1])
    assert values[3] < 30


def test_scaling_is_that_of_a_normal_distribution() -> None:
    wanted = np.random.default_rng(0).normal(1.5, 0.4, 20_000)
    raw = np.sign(wanted) * np.expm1(np.abs(wanted))
    feature = fit_scaling("pages", pl.Series("pages", raw))
    assert feature.center == pytest.approx(1.5, abs=0.02)
    assert feature.scale == pytest.approx(0.4, abs=0.02)
    assert not feature.has_missing
    scaled = encode_numeric([feature], pl.DataFrame({"pages": raw}))
    assert scaled.std() == pytest.approx(1, abs=0.05)


def outlier_moves_nothing() -> None:
    usual = np.linspace(1, 3, 101)
    before = fit_scaling("value", pl.Series(usual))
    after = fit_scaling("value", pl.Series([*usual, 1e30]))
    assert after.center == pytest.approx(before.center, abs=0.05)
    assert after.scale == pytest.approx(before.scale, rel=0.05)


def test_an_outlier_moves_nothing() -> None:
    outlier_moves_nothing()


def test_scaling_by_mean_and_deviation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_moments(values: np.ndarray, _: list[float]) -> list[float]:
        return [values.mean() - 0.67 * values.std(), values.mean(), values.mean() + values.std()]

    monkeypatch.setattr(vocabulary.np, "quantile", by_moments)
    with pytest.raises(AssertionError):
        outlier_moves_nothing()


def test_missing_values_are_flagged_where_training_had_some() -> None:
    sometimes = fit_scaling("a", pl.Series("a", [1.0, None, 3.0]))
    never = fit_scaling("b", pl.Series("b", [1.0, 2.0, 3.0]))
    assert (sometimes.has_missing, never.has_missing) == (True, False)
    frame = pl.DataFrame({"a": [None, 1.0], "b": [None, 2.0]}, schema_overrides={"a": pl.Float64})
    inputs = encode_numeric([sometimes, never], frame)
    # The values first, then the flags: `a` is missing in the first row, and `b` cannot say so.
    assert inputs.shape == (2, 3)
    assert inputs[0].tolist() == [0, 0, 1]
    assert inputs[1].tolist() == pytest.approx([inputs[1, 0], 0, 0])
    assert inputs[1, 0] < 0
    assert inputs.dtype == np.float32


def test_a_column_that_training_never_shows() -> None:
    empty = pl.Series("cost", [None, None], dtype=pl.Float64)
    feature = fit_scaling("cost", empty)
    assert feature == NumericFeature("cost", 0.0, 1.0, has_missing=True)
    inputs = encode_numeric([feature], pl.DataFrame({"cost": [None, 4.0]}))
    assert inputs == pytest.approx(np.array([[0, 1], [np.log(5), 0]], dtype=np.float32))


def test_without_features_there_are_no_inputs() -> None:
    assert encode_numeric([], pl.DataFrame({"cost": [1.0, 2.0]})).shape == (2, 0)


def test_counts_without_a_range_are_scaled_by_their_deviation() -> None:
    values = [0.0] * 90 + [5.0] * 10
    feature = fit_scaling("clicks", pl.Series(values))
    assert feature.center == 0
    assert feature.scale == pytest.approx(np.std(np.log1p(values)))


@pytest.mark.parametrize("n", [1, 3, 10, 1000])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 19.99, -3.3])
def test_a_constant_stays_in_proportion(value: float, n: int) -> None:
    """Rounding makes the deviation of equal numbers a tiny number, by which one must not divide."""
    feature = fit_scaling("price", pl.Series([value] * n))
    assert feature.scale == 1
    inputs = encode_numeric([feature], pl.DataFrame({"price": [value, value + 1]}))
    assert inputs[0, 0] == 0
    assert abs(inputs[1, 0]) < 1
