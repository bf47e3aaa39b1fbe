"""Folds: periods in time, groups of customers, and clear refusals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

from seqmarket.data.settings import SplitSettings
from seqmarket.data.splits import FOLDS, Split, make_split, to_datetime, to_microseconds
from seqmarket.errors import SeqmarketError

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 4, 11, tzinfo=UTC)  # 100 days


def customers(n: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    offsets = rng.permutation(n) % 50
    return pl.DataFrame(
        {
            "customer_id": [f"c{i:04d}" for i in range(n)],
            "first_time": [to_microseconds(START + timedelta(days=int(d))) for d in offsets],
        }
    )


def split_of(customers: pl.DataFrame, until: datetime, settings: SplitSettings) -> Split:
    return make_split(customers["first_time"].min(), until, settings, lambda: customers)


def test_moments_survive_the_round_trip_exactly() -> None:
    moment = datetime(2026, 11, 22, 13, 14, 15, 999_999, tzinfo=UTC)
    assert to_datetime(to_microseconds(moment)) == moment


def test_shares_divide_the_observed_time() -> None:
    split = split_of(customers(), END, SplitSettings())
    day = 86_400_000_000
    lengths = [(p.end - p.start) / day for p in split.periods.values()]
    assert lengths == pytest.approx([65, 15, 20])
    assert split.periods["train"].end == split.periods["validation"].start


ODD_START = datetime(2026, 1, 1, 22, 38, 44, 546_000, tzinfo=UTC)


def odd_customers() -> pl.DataFrame:
    """A log that begins at an odd time of the day."""
    later = to_microseconds(ODD_START) - to_microseconds(START)
    return customers().with_columns(pl.col("first_time") + later)


def at_midnight(moments: Iterable[int]) -> bool:
    return all(to_datetime(m).time() == time(0) for m in moments)


def cutoffs(split: Split) -> list[int]:
    return [int(t) for fold in FOLDS for t in split.cutoffs(fold, timedelta(days=7))]


@pytest.mark.parametrize("kind", ["time", "time_and_customer", "cohort"])
@pytest.mark.parametrize("warm_up", ["0d", "30h", "30d"])
def test_cutoffs_are_at_midnight(kind: str, warm_up: str) -> None:
    settings = SplitSettings.model_validate({"kind": kind, "warm_up": warm_up})
    split = split_of(odd_customers(), END + timedelta(hours=7), settings)
    train = split.periods["train"]
    assert len(cutoffs(split)) >= 5
    assert at_midnight(cutoffs(split))
    first = to_datetime(split.cutoffs("train", 0)[0])
    assert timedelta(0) <= first - to_datetime(train.start) - settings.warm_up < timedelta(days=1)
    assert to_datetime(train.start) == (START if kind == "cohort" else ODD_START)
    assert to_datetime(split.periods["test"].end) == END + timedelta(hours=7)
    mutant = replace(split, warm_up=split.warm_up + 1)
    assert not at_midnight(cutoffs(mutant))


def test_a_short_log_is_divided_where_the_shares_are() -> None:
    until = ODD_START + timedelta(days=9)
    early = odd_customers().filter(pl.col("first_time") < to_microseconds(until))
    split = split_of(early, until, SplitSettings(warm_up=timedelta(0)))
    train = split.periods["train"]
    assert to_datetime(train.end) - ODD_START == 0.65 * timedelta(days=9)
    assert to_datetime(split.cutoffs("train", 0)[0]) == ODD_START


def test_dates_stay_where_they_are_set() -> None:
    settings = SplitSettings.model_validate({"train_end": "2026-02-01T09:30:00"})
    split = split_of(odd_customers(), END, settings)
    assert to_datetime(split.periods["train"].end).time() == time(9, 30)
    assert at_midnight([split.periods["validation"].end])


def test_a_period_too_short_for_a_midnight_is_refused_by_name() -> None:
    with pytest.raises(SeqmarketError, match="validation_end") as caught:
        split_of(odd_customers(), END, SplitSettings(validation_fraction=0.001))
    assert "at least a day" in str(caught.value)


def test_dates_go_before_shares() -> None:
    settings = SplitSettings.model_validate(
        {"train_end": "2026-02-01", "validation_end": "2026-03-01", "test_end": "2026-04-01"}
    )
    split = split_of(customers(), END, settings)
    ends = [to_datetime(p.end).date().isoformat() for p in split.periods.values()]
    assert ends == ["2026-02-01", "2026-03-01", "2026-04-01"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_end": "2025-12-01"},
        {"train_end": "2026-03-01", "validation_end": "2026-02-01"},
        {"test_end": "2027-01-01"},
        {"train_fraction": 0.8, "validation_fraction": 0.2},
    ],
)
def test_impossible_boundaries_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SeqmarketError) as caught:
        split_of(customers(), END, SplitSettings.model_validate(wrong))
    assert "data.split." in str(caught.value)


def test_the_warm_up_of_a_short_log_leaves_half_of_the_training() -> None:
    settings = SplitSettings.model_validate({"train_end": "2026-02-20"})
    split = split_of(customers(), END, settings)
    assert split.warm_up == 25 * 86_400_000_000
    assert len(split.cutoffs("train", timedelta(days=7))) == 3


def test_cutoffs_leave_room_for_the_window_and_the_warm_up() -> None:
    split = split_of(customers(), END, SplitSettings())
    window = timedelta(days=7)
    for fold in FOLDS:
        cutoffs = split.cutoffs(fold, window)
        assert (cutoffs + window // timedelta(microseconds=1) < split.periods[fold].end).all()
    assert to_datetime(split.cutoffs("train", window)[0]) == START + timedelta(days=33)
    assert len(split.cutoffs("test", timedelta(days=28))) == 0


def folds_of(split: Split) -> list[int]:
    assert split.customer_fold is not None
    return split.customer_fold.tolist()


def test_hashed_groups_depend_on_the_customer_alone() -> None:
    settings = SplitSettings(kind="time_and_customer")
    everyone = customers()
    folds = folds_of(split_of(everyone, END, settings))
    shares = np.bincount(folds, minlength=3) / len(folds)
    assert shares == pytest.approx([0.65, 0.15, 0.2], abs=0.08)
    fewer = everyone.filter(pl.int_range(pl.len()) % 3 == 0)
    assert folds_of(split_of(fewer, END, settings)) == folds[::3]


def test_cohorts_are_ordered_by_the_first_event() -> None:
    everyone = customers()
    split = split_of(everyone, END, SplitSettings(kind="cohort"))
    folds = np.array(folds_of(split))
    first = everyone["first_time"].to_numpy()
    assert first[folds == 0].max() <= first[folds == 1].min()
    assert first[folds == 1].max() <= first[folds == 2].min()
    assert np.bincount(folds).tolist() == [195, 45, 60]
    assert len(set(map(str, split.periods.values()))) == 1


@pytest.mark.parametrize("kind", ["time_and_customer", "cohort"])
def test_the_order_of_the_customers_does_not_matter(kind: str) -> None:
    settings = SplitSettings.model_validate({"kind": kind})
    everyone = customers()
    folds = dict(
        zip(everyone["customer_id"], folds_of(split_of(everyone, END, settings)), strict=True)
    )
    shuffled = everyone.sample(fraction=1, shuffle=True, seed=1)
    again = folds_of(split_of(shuffled, END, settings))
    assert again == [folds[name] for name in shuffled["customer_id"]]


def by_position(shares: tuple[float, float] = (0.5332, 0.1333)) -> SplitSettings:
    train, validation = shares
    return SplitSettings(
        kind="cohort", order="position", train_fraction=train, validation_fraction=validation
    )


@pytest.mark.parametrize("n", [3804, 9658])
def test_cohorts_by_position_are_thirds_of_the_file(n: int) -> None:
    """As published: of two logs the first two thirds train, to the nearest case."""
    place = np.random.default_rng(2).permutation(n)
    everyone = customers(n).with_columns(position=pl.Series(place * 3.0))
    folds = np.array(folds_of(split_of(everyone, END, by_position())))
    expected = [0 if p / n < 0.5332 else 1 if p < round(n / 3) * 2 else 2 for p in place.tolist()]
    assert folds.tolist() == expected
    by_time = folds_of(split_of(everyone, END, by_position().model_copy(update=TIME)))
    assert by_time != expected


TIME = {"order": "first_time"}


def test_a_log_whose_order_means_nothing_has_no_cohorts_by_position() -> None:
    with pytest.raises(SeqmarketError, match="position in a log whose order means nothing") as it:
        split_of(customers(), END, by_position())
    assert it.value.where == "data.split.order"


def test_customers_are_looked_at_only_where_they_are_divided() -> None:
    def unwanted() -> pl.DataFrame:
        raise AssertionError

    assert make_split(to_microseconds(START), END, SplitSettings(), unwanted).customer_fold is None


def test_a_customer_of_one_group_takes_part_in_one_fold() -> None:
    split = split_of(customers(), END, SplitSettings(kind="time_and_customer"))
    taking_part = np.stack([split.customers(fold, 300) for fold in FOLDS])
    assert (taking_part.sum(axis=0) == 1).all()


def test_the_round_trip_through_plain_containers() -> None:
    split = split_of(customers(), END, SplitSettings(kind="cohort"))
    again = Split.from_dict(split.to_dict(), split.customer_fold)
    assert again.periods == split.periods
    assert again.cutoff_every == split.cutoff_every


def by_customer(**settings: object) -> Split:
    parsed = SplitSettings.model_validate({"kind": "customer", "warm_up": "30d", **settings})
    return split_of(odd_customers(), END, parsed)


def test_other_customers_at_the_same_time() -> None:
    split = by_customer()
    train, validation, test = split.periods.values()
    assert to_datetime(train.start) == START
    assert to_datetime(train.end) == END
    assert validation == test
    assert to_datetime(test.start) == START + timedelta(days=30)
    assert to_datetime(test.end) == END
    for fold in FOLDS:
        cutoffs = split.cutoffs(fold, timedelta(days=7))
        assert to_datetime(cutoffs[0]) == START + timedelta(days=30)
    taking_part = np.stack([split.customers(fold, 300) for fold in FOLDS])
    assert (taking_part.sum(axis=0) == 1).all()
    as_by_hash = split_of(customers(), END, SplitSettings(kind="time_and_customer"))
    assert folds_of(split) == folds_of(as_by_hash)


def everybody_is_tested_after_training(split: Split) -> None:
    periods = split.periods
    assert to_datetime(periods["train"].end) == datetime(2026, 3, 1, tzinfo=UTC)
    assert periods["validation"].end == periods["train"].end == periods["test"].start
    assert to_datetime(periods["test"].end) == datetime(2026, 4, 1, tzinfo=UTC)
    train, validation, test = (split.customers(fold, 300) for fold in FOLDS)
    assert not (train & validation).any()
    assert test.all()
    assert not (train | validation).all()


def test_everybody_after_the_end_of_training() -> None:
    split = by_customer(train_end="2026-03-01", test_end="2026-04-01")
    everybody_is_tested_after_training(split)
    everybody_is_tested_after_training(Split.from_dict(split.to_dict(), split.customer_fold))
    with pytest.raises(AssertionError):
        everybody_is_tested_after_training(replace(split, everybody_tested=False))


@pytest.mark.parametrize(
    "wrong",
    [{"train_end": "2025-12-01"}, {"train_end": "2026-03-01", "test_end": "2026-02-01"}],
)
def test_impossible_ends_of_training_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SeqmarketError, match=r"data\.split\."):
        by_customer(**wrong)
