"""The summary of channels: its figures by hand, its intervals by another bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqmarket.attribution import summary
from seqmarket.attribution.attributor import Attribution, Evidence, by_customer
from seqmarket.attribution.journeys import Floats, Journeys, make_journeys
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.summary import ORGANIC, channel_summary, resample
from seqmarket.attribution.touch_table import attribution_table
from seqmarket.schema import NumericFeature

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]


def linear(journeys: Journeys) -> Attribution:
    return Linear().attribute(Evidence(journeys, journeys))


def test_figures_are_as_by_hand(make: Make) -> None:
    journeys = make(
        [
            [(1.0, "mail", 0.0, 2.0), (2.0, "search", 0.0, 3.0), (3.0, "buy", 50.0)],
            [(1.0, "mail", 0.0, 2.0)],
            [(5.0, "buy", 7.0)],
        ]
    )
    table = channel_summary(journeys, {"linear": linear(journeys)}, n_resamples=50)
    rows = {row["channel"]: row for row in table.iter_rows(named=True)}
    assert set(rows) == {"mail", "search", ORGANIC}
    mail = rows["mail"]
    assert (mail["touches"], mail["credit"], mail["share"]) == (2, 0.5, 0.5)
    assert mail["cost"] == pytest.approx(4.0)
    assert mail["cpa"] == pytest.approx(8.0)
    assert mail["value"] == pytest.approx(25.0)
    assert mail["roas"] == pytest.approx(6.25)
    assert (rows[ORGANIC]["credit"], rows[ORGANIC]["value"]) == (1.0, 7.0)
    assert rows[ORGANIC]["share"] is None
    assert mail["credit_low"] <= 0.5 <= mail["credit_high"]


def counts_organic_twice(patch: pytest.MonkeyPatch) -> None:
    honest = summary.resample
    patch.setattr(
        summary,
        "resample",
        lambda journeys, found, **how: honest(
            journeys, replace(found, organic=2 * found.organic), **how
        ),
    )


def shares_with_organic(patch: pytest.MonkeyPatch) -> None:
    def shares(credit: Floats) -> Floats:
        return np.asarray(credit[..., :-1] / np.maximum(credit.sum(axis=-1, keepdims=True), 1e-9))

    patch.setattr(summary.Shares, "share", lambda own: (shares(own.credit), shares(own.draws)))


def gives_everybody_to_one(patch: pytest.MonkeyPatch) -> None:
    honest = summary.by_customer
    patch.setattr(summary, "by_customer", lambda j, credit: np.roll(honest(j, credit), 1, axis=1))


@pytest.mark.parametrize(
    "mutant", [counts_organic_twice, shares_with_organic, gives_everybody_to_one]
)
def test_wrong_figures_are_noticed(
    make: Make,
    mutant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        test_figures_are_as_by_hand(make)


def test_without_values_there_is_no_return(make: Make) -> None:
    journeys = make([[(1.0, "mail", 0.0, 2.0), (2.0, "buy")]])
    table = summary.channel_summary(journeys, {"linear": linear(journeys)})
    mail = table.row(by_predicate=pl.col("channel") == "mail", named=True)
    assert (mail["cpa"], mail["roas"]) == (pytest.approx(2.0), None)


def test_touches_and_costs_are_those_of_the_period(make: Make) -> None:
    """Credit may go to a touch before it all the same."""
    log: Log = [[(8.0, "mail", 0.0, 4.0), (11.0, "search", 0.0, 1.0), (12.0, "buy", 6.0)]]
    journeys = make(log, first=10.0)
    table = channel_summary(journeys, {"linear": linear(journeys)}, n_resamples=5)
    rows = {row["channel"]: row for row in table.iter_rows(named=True)}
    mail, search = rows["mail"], rows["search"]
    assert (mail["touches"], mail["cost"], mail["credit"], mail["cpa"]) == (0, 0, 0.5, None)
    assert (search["touches"], search["credit"]) == (1, 0.5)
    assert search["cpa"] == pytest.approx(2)
    assert search["roas"] == pytest.approx(3)


@pytest.mark.parametrize("center", [0.0198, 0.4, 0.6931471805599453, 1.1])
def test_there_is_no_return_on_a_cost_of_nothing(make: Make, center: float) -> None:
    """A cost of 0 comes back out of a scaled float32, and is 0 all the same."""
    seen = make([[(1.0, "mail"), (3.0, "buy", 30.0)]])
    spec = replace(seen.spec, numeric=(NumericFeature("cost", center, 0.7, has_missing=False),))
    events = replace(seen.events, features=np.full((2, 1), -center / 0.7, dtype=np.float32))
    journeys = make_journeys(events, spec, seen.period, seen.settings)
    table = channel_summary(journeys, {"linear": linear(journeys)}, n_resamples=5)
    assert table.select("cost", "cpa", "roas").row(0) == (0, None, None)


def test_shares_are_of_the_resamples_that_have_any(make: Make) -> None:
    """One customer in ten has credit, so that a third of the resamples have none."""
    journeys = make([[(1.0, "mail"), (2.0, "buy")], *[[(1.0, "mail")]] * 9])
    found = linear(journeys)
    shares = resample(journeys, found).share()[1]
    assert 0.25 < np.isnan(shares).any(axis=1).mean() < 0.45
    row = channel_summary(journeys, {"linear": found}).row(0, named=True)
    assert (row["share_low"], row["share"], row["share_high"]) == (1, 1, 1)
    assert row["credit_low"] == 0


def test_what_costs_nothing_or_sells_nothing_has_no_price(make: Make) -> None:
    journeys = make([[(1.0, "mail"), (3.0, "buy", 5.0)], [(1.0, "search", 0.0, 1.0)]])
    table = channel_summary(journeys, {"linear": linear(journeys)}, n_resamples=5)
    rows = {row["channel"]: row for row in table.iter_rows(named=True)}
    assert rows["mail"]["cpa"] is rows["mail"]["roas"] is rows["search"]["cpa"] is None
    assert rows["search"]["roas"] == 0


def widths_are_those_of_a_bootstrap(journeys: Journeys) -> None:
    found = linear(journeys)
    drawn = resample(journeys, found, n_resamples=3_000, seed=1)
    each = np.column_stack([by_customer(journeys, found.credit), found.organic])
    random = np.random.default_rng(2)
    n = len(each)
    plain = np.array([each[random.integers(n, size=n)].sum(axis=0) for _ in range(3_000)])
    assert drawn.credit == pytest.approx(each.sum(axis=0))
    assert drawn.draws.mean(axis=0) == pytest.approx(plain.mean(axis=0), rel=0.05, abs=0.1)
    assert drawn.draws.std(axis=0) == pytest.approx(plain.std(axis=0), rel=0.1)


def test_intervals_are_those_of_a_bootstrap_of_customers(
    make: Make, random_log: Callable[[int], Log]
) -> None:
    """Most customers here have no credit; that there are so many of them counts all the same."""
    idle: Log = [[(1.0, "mail")]] * 200
    widths_are_those_of_a_bootstrap(make([*random_log(3), *idle]))


def test_a_fixed_number_of_buyers_is_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn:
        def __init__(self, seed: int) -> None:
            self._random = generator(seed)

        def binomial(self, n: int, p: float) -> int:
            return round(n * p)

        def integers(self, high: int, size: int) -> Any:
            return self._random.integers(high, size=size)

    generator = np.random.default_rng
    journeys = make([*random_log(3), *[[(1.0, "mail")]] * 200])
    honest = summary.resample

    def fixed(*args: Any, **settings: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(summary.np.random, "default_rng", Stubborn)
            return honest(*args, **settings)

    monkeypatch.setitem(globals(), "resample", fixed)
    with pytest.raises(AssertionError):
        widths_are_those_of_a_bootstrap(journeys)


def test_intervals_are_where_a_bootstrap_has_them(
    make: Make, random_log: Callable[[int], Log]
) -> None:
    """Bounds of credits and shares, from the table; methods do not disturb one another."""
    journeys = make(random_log(3))
    found = linear(journeys)
    each = np.column_stack([by_customer(journeys, found.credit), found.organic])
    random = np.random.default_rng(9)
    n = len(each)
    plain = np.array([each[random.integers(n, size=n)].sum(axis=0) for _ in range(3_000)])
    share = plain[:, :-1] / plain[:, :-1].sum(axis=1, keepdims=True)
    low, high = np.quantile(np.column_stack([plain, share]), [0.1, 0.9], axis=0)
    methods = {"linear": found, "again": found}
    table = channel_summary(journeys, methods, n_resamples=3_000, level=0.8)
    for row in table.iter_rows(named=True):
        k = [*journeys.channels, ORGANIC].index(row["channel"])
        columns = [("credit", k)] + [("share", k + each.shape[1])] * (row["share"] is not None)
        for name, column in columns:
            width = row[f"{name}_high"] - row[f"{name}_low"]
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
            assert width == pytest.approx(high[column] - low[column], rel=0.15)
    one, other = (table.filter(method=name).drop("method") for name in methods)
    assert one.equals(other)


def test_intervals_repeat(make: Make, random_log: Callable[[int], Log]) -> None:
    journeys = make(random_log(1))
    tables = [channel_summary(journeys, {"linear": linear(journeys)}, seed=s) for s in (4, 4, 5)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert tables[0]["share"].sum() == pytest.approx(1)


def test_the_table_of_touches_names_no_customer(make: Make) -> None:
    journeys = make([[(1.0, "mail"), (2.0, "new"), (3.0, "buy")]])
    table = attribution_table(journeys, {"linear": linear(journeys), "again": linear(journeys)})
    assert table.columns == ["method", "customer", "touch", "time", "channel", "credit", "value"]
    assert table["channel"].to_list() == ["mail", "<other>"] * 2
    assert table.group_by("method").agg(pl.col("credit").sum())["credit"].to_list() == [1.0, 1.0]


def test_there_are_no_shares_of_harm(make: Make) -> None:
    journeys = make([[(1.0, "mail"), (2.0, "search"), (3.0, "buy", 50.0)] for _ in range(5)])
    found = linear(journeys)
    table = channel_summary(journeys, {"harm": replace(found, credit=-found.credit)})
    assert table.filter(pl.col("channel") != ORGANIC)["share"].is_nan().all()
    assert table.filter(pl.col("channel") != ORGANIC)["credit"].max() < 0
