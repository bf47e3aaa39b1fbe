"""Figures of an attribution: each can be drawn, and shows what it says; no identifier anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.first import FirstTouch
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.plots.interaction import channel_interaction, interaction
from seqmarket.attribution.plots.organic import organic_by_method
from seqmarket.attribution.plots.replay import budgets_replayed
from seqmarket.attribution.plots.samples import sample_journeys
from seqmarket.attribution.plots.shares import MOST_CHANNELS, shares_by_channel
from seqmarket.attribution.plots.timing import credit_over_time
from seqmarket.attribution.replay import Known, replay_table
from seqmarket.attribution.summary import channel_summary
from seqmarket.data.simulation.truth import Truth

Make = Callable[..., Journeys]

TRUTH = Truth(
    10.0,
    4.0,
    9,
    pl.DataFrame({"channel": ["mail", "search", "gone"], "shapley": [5.0, 3.0, -2.0]}),
    pl.DataFrame(),
    None,
)


def rules(journeys: Journeys) -> dict[str, Attribution]:
    evidence = Evidence(journeys, journeys)
    return {"first": FirstTouch().attribute(evidence), "linear": Linear().attribute(evidence)}


def harmful(found: Attribution) -> Attribution:
    n = len(found.credit)
    credit = found.credit * np.where(np.arange(n) % 2, -2.0, 3.0)
    return Attribution("signed", "anyway", credit, found.organic, credit, found.organic)


def drawn(figure: Figure) -> Figure:
    """It can be rendered without a warning."""
    figure.savefig(BytesIO(), bbox_inches="tight")
    return figure


def figures(journeys: Journeys, found: dict[str, Attribution], **truth: Truth) -> list[Figure]:
    channels = channel_summary(journeys, found, n_resamples=20)
    return [
        drawn(figure)
        for figure in (
            shares_by_channel(channels, 0.9, **truth),
            organic_by_method(channels, 0.9, **truth),
            credit_over_time(journeys, found),
            channel_interaction(journeys, found),
            sample_journeys(journeys, found, 6, 1),
        )
    ]


@pytest.mark.parametrize("truth", [{}, {"truth": TRUTH}])
@pytest.mark.parametrize("restart", [True, False])
def test_every_figure_is_drawn(make: Make, random_log, truth, restart: bool) -> None:
    journeys = make(random_log(1), restart=restart)
    found = rules(journeys)
    figures(journeys, {**found, "signed": harmful(found["linear"])}, **truth)


@pytest.mark.parametrize(
    "log",
    [
        [[(1.0, "mail")]],  # no conversion
        [[(1.0, "buy", 2.0)]],  # no touch
        [[(1.0, "mail"), (2.0, "buy", 2.0)]],
    ],
)
def test_little_is_no_defect(make: Make, log) -> None:
    journeys = make(log)
    figures(journeys, rules(journeys))


def test_names_with_dollars_are_no_formulas(make: Make, random_log) -> None:
    journeys = replace(make(random_log(1)), channels=(r"$5 \or $9", "$1$", "$", "d", "e"))
    shares, *_ = figures(journeys, rules(journeys))
    titles = [axes.get_title(loc="left") for axes in shares.axes]
    assert r"\$1\$" in titles  # which is drawn as $1$


def test_replays_are_drawn_with_what_is_known(make: Make, random_log) -> None:
    journeys = make(random_log(1))
    found = rules(journeys)
    world = Known({"mail": 3.0}, lambda plans: [sum(plan.values()) for plan in plans])
    for known, label in ((None, "no measure of effects"), (world, "expected purchases")):
        figure = drawn(budgets_replayed(replay_table(journeys, found, [0.3, 0.6], known=known)))
        axes = figure.axes[0]
        assert label in axes.get_xlabel()
        methods = [text.get_text() for text in axes.get_yticklabels()]
        assert methods[-1] == ("truth" if known else "proportional")
        assert methods[:2] == ["first", "linear"]


def test_no_resamples_draw_no_intervals(make: Make, random_log) -> None:
    journeys = make(random_log(2))
    channels = channel_summary(journeys, rules(journeys), n_resamples=0)
    drawn(shares_by_channel(channels, 0.9))
    drawn(organic_by_method(channels, 0.9))


def test_shares_without_bounds_are_cut_and_the_smaller_channels_left_out(make: Make) -> None:
    row = {"method": "a", "organic_is": "anyway", "share_low": -80.0, "share_high": 90.0}
    rows = [{**row, "channel": f"c{i}", "share": 30.0 - 5 * i} for i in range(MOST_CHANNELS + 3)]
    figure = drawn(shares_by_channel(pl.DataFrame(rows), 0.9))
    assert figure.get_suptitle().endswith(f"the {MOST_CHANNELS} largest of 15 channels")
    low, high = figure.axes[0].get_xlim()
    assert -4 < low < high < 4


def test_the_largest_channel_comes_first_and_the_truth_is_a_line(make: Make) -> None:
    journeys = make([[(1.0, "mail"), (2.0, "buy")], [(1.0, "mail"), (2.0, "search"), (3.0, "buy")]])
    channels = channel_summary(journeys, rules(journeys), n_resamples=20)
    figure = shares_by_channel(channels, 0.9, TRUTH)
    assert figure.axes[0].get_title("left") == "mail"
    places = np.array([line.get_xdata()[0] for line in figure.axes[0].lines])  # type: ignore[index]
    assert np.isclose(places, 5 / 6).sum() == 1


def test_interaction_is_as_by_hand(make: Make) -> None:
    """Linear: a touch beside another has half; each group is large enough to tell."""
    alone = [[(1.0, "mail"), (2.0, "buy")]] * 30
    together = [[(1.0, "mail"), (1.5, "search"), (2.0, "buy")]] * 30
    nothing = [[(1.0, "mail"), (1.5, "search")]] * 9  # leads nowhere: no observed credit
    journeys = make([*alone, *together, *nothing])
    change = interaction(journeys, rules(journeys)["linear"])
    mail, search = (journeys.channels.index(name) for name in ("mail", "search"))
    assert change[mail, search] == pytest.approx(-0.5)
    assert np.isnan(change[search, mail])  # never without
    assert np.isnan(change[mail, mail])


def test_sample_journeys_are_of_different_customers_and_name_none(make: Make) -> None:
    one = [(1.0, "mail"), (2.0, "search"), (2.5, "mail"), (3.0, "buy")]
    again = [(11.0, "mail"), (12.0, "search"), (12.5, "mail"), (13.0, "buy")]
    journeys = make([[*one, *again], one])
    figure = drawn(sample_journeys(journeys, rules(journeys), 6, 1))
    shown = [axes for axes in figure.axes if axes.get_xticklabels() and axes.images]
    assert len(shown) == 2
    assert [text.get_text() for text in shown[0].get_xticklabels()] == [
        "mail · 2 d",
        "search · 24 h",
        "mail · 12 h",
    ]
