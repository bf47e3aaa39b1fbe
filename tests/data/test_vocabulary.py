"""Categories and scalings: the order of the ids, what is unknown, and numbers that stay finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from numpy.typing import ArrayLike

from seqmarket.data.ranked import SortedPiece, SortedPieces
from seqmarket.data.settings import EncodingSettings
from seqmarket.data.vocabulary import (
    category_ids,
    encode_numeric,
    fit_categories,
    fit_scaling,
    signed_log1p,
)
from seqmarket.schema import SPECIAL_TOKENS, UNK, CategoricalFeature, NumericFeature

TEXTS = ("a", "b", "c", "d")
COUNTS = np.array([1, 3, 2, 1])


def fitted(**settings: int) -> tuple[str, ...]:
    return fit_categories("device", TEXTS, COUNTS, EncodingSettings(**settings)).categories


def scaling(name: str, values: ArrayLike, n_missing: int = 0) -> NumericFeature:
    with TemporaryDirectory() as folder:
        piece = SortedPiece.write(Path(folder) / "v", 0, np.sort(np.asarray(values, dtype=float)))
        return fit_scaling(name, SortedPieces([piece]), n_missing)


def test_categories_stand_by_frequency_then_name() -> None:
    assert fitted() == ("b", "c", "a", "d")


def test_a_text_of_other_periods_gets_no_id() -> None:
    feature = fit_categories("device", ("a", "b"), np.array([0, 1]), EncodingSettings())
    assert feature.categories == ("b",)


def test_rare_categories_get_no_id() -> None:
    assert fitted(min_count=2) == ("b", "c")
    assert fitted(min_count=3) == ("b",)
    assert fitted(max_categories=3) == ("b", "c", "a")
    assert fitted(max_categories=3, min_count=2) == ("b", "c")
    assert fitted(min_count=4) == ()


def test_unknown_and_missing_become_unk() -> None:
    feature = fit_categories("device", TEXTS, COUNTS, EncodingSettings(min_count=2))
    ids = category_ids(feature, ("", "a", "b", "c", "new"))
    codes = np.array([3, 2, 1, 4, -1, 0])  # c, b, a, new, a null and an empty text
    assert ids[codes].tolist() == [SPECIAL_TOKENS + 1, SPECIAL_TOKENS, UNK, UNK, UNK, UNK]
    assert ids.dtype == np.int32
    assert ids.max() < feature.size


@pytest.mark.parametrize("codes", [[0, -1], [-1, -1], []])
def test_without_categories_all_is_unknown(codes: list[int]) -> None:
    feature = fit_categories("device", (), np.array([], dtype=np.int64), EncodingSettings())
    assert feature == CategoricalFeature("device", ())
    ids = category_ids(feature, ("a",))[np.array(codes, dtype=np.int32)]
    assert ids.tolist() == [UNK] * len(codes)
    assert ids.dtype == np.int32


def test_signed_logarithm() -> None:
    values = signed_log1p(np.array([-np.e + 1, 0.0, np.e - 1, 1e12]))
    assert values[:3] == pytest.approx([-1, 0, 1])
    assert values[3] < 30


def test_scaling_is_that_of_a_normal_distribution() -> None:
    wanted = np.random.default_rng(0).normal(1.5, 0.4, 20_000)
    raw = np.sign(wanted) * np.expm1(np.abs(wanted))
    feature = scaling("pages", raw)
    assert feature.center == pytest.approx(1.5, abs=0.02)
    assert feature.scale == pytest.approx(0.4, abs=0.02)
    assert not feature.has_missing
    scaled = encode_numeric([feature], {"pages": raw}, len(raw))
    assert scaled.std() == pytest.approx(1, abs=0.05)


def outlier_moves_nothing(fit: Callable[[str, ArrayLike], NumericFeature]) -> None:
    usual = np.linspace(1, 3, 101)
    before = fit("value", usual)
    after = fit("value", [*usual, 1e30])
    assert after.center == pytest.approx(before.center, abs=0.05)
    assert after.scale == pytest.approx(before.scale, rel=0.05)


def test_an_outlier_moves_nothing() -> None:
    outlier_moves_nothing(scaling)


def test_scaling_by_mean_and_deviation_is_noticed() -> None:
    def by_moments(name: str, values: ArrayLike) -> NumericFeature:
        logs = signed_log1p(np.asarray(values))
        return NumericFeature(name, logs.mean(), logs.std(), has_missing=False)

    with pytest.raises(AssertionError):
        outlier_moves_nothing(by_moments)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_and_division_of_the_values_do_not_matter(
    seed: int, sorted_pieces: Callable[..., SortedPieces]
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 3, 200).round(1)
    pieces = np.split(random.permutation(values), [20, 20, 150])
    divided = sorted_pieces(pieces)
    assert fit_scaling("value", divided, 0) == scaling("value", values)


def test_missing_values_are_flagged_where_training_had_some() -> None:
    sometimes = scaling("a", [1.0, 3.0], n_missing=1)
    never = scaling("b", [1.0, 2.0, 3.0])
    assert (sometimes.has_missing, never.has_missing) == (True, False)
    columns = {"a": np.array([np.nan, 1.0]), "b": np.array([np.nan, 2.0])}
    inputs = encode_numeric([sometimes, never], columns, 2)
    # The values first, then the flags: `a` is missing in the first row, and `b` cannot say so.
    assert inputs.shape == (2, 3)
    assert inputs[0].tolist() == [0, 0, 1]
    assert inputs[1].tolist() == pytest.approx([inputs[1, 0], 0, 0])
    assert inputs[1, 0] < 0
    assert inputs.dtype == np.float32


def test_a_column_that_training_never_shows() -> None:
    feature = scaling("cost", [], n_missing=2)
    assert feature == NumericFeature("cost", 0.0, 1.0, has_missing=True)
    inputs = encode_numeric([feature], {"cost": np.array([np.nan, 4.0])}, 2)
    assert inputs == pytest.approx(np.array([[0, 1], [np.log(5), 0]], dtype=np.float32))


def test_without_features_there_are_no_inputs() -> None:
    assert encode_numeric([], {"cost": np.array([1.0, 2.0])}, 2).shape == (2, 0)


@pytest.mark.parametrize(("clicked", "width"), [(300, 1.349), (100, 3.29), (20, 5.152), (1, 1)])
def test_counts_without_a_range_are_scaled_by_a_wider_one(clicked: int, width: float) -> None:
    values = [0.0] * (1_000 - clicked) + [5.0] * clicked
    feature = scaling("clicks", values)
    assert feature.center == 0
    assert feature.scale == pytest.approx(np.log(6) / width)


@pytest.mark.parametrize("n", [1, 3, 10, 1000])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 19.99, -3.3])
def test_a_constant_stays_in_proportion(value: float, n: int) -> None:
    """Rounding makes the deviation of equal numbers a tiny number, by which one must not divide."""
    feature = scaling("price", [value] * n)
    assert feature.scale == 1
    inputs = encode_numeric([feature], {"price": np.array([value, value + 1])}, 2)
    assert inputs[0, 0] == 0
    assert abs(inputs[1, 0]) < 1
