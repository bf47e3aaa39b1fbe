"""`compare` from the outside, on runs that were trained: what is said, written and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from seqmarket.training.asked import row_table
from seqmarket.training.checkpoint import load_trained
from seqmarket.training.data import open_data
from seqmarket.training.run import make_datamodule
from seqmarket.training.tasks import make_tasks


@pytest.fixture
def copies(gru_run, logistic_run, tmp_path: Path) -> Callable[[str], str]:
    """A copy of a run's folder, as the report is added to it."""

    def copy(name: str) -> str:
        run = {"gru": gru_run, "logistic": logistic_run}[name]
        return str(shutil.copytree(run.folder, tmp_path / name, dirs_exist_ok=True))

    return copy


def test_a_run_against_its_baselines(seqmarket, copies, tmp_path) -> None:
    run = copies("gru")
    outcome = seqmarket(["compare", run, "--resamples", "100", "--output", "out", "tracking=off"])
    assert outcome.code == 0, outcome.err
    assert "gru" in outcome.out
    assert "report: out/report.html" in outcome.out
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["contenders"][0]["model"] == "gru"
    kept = Path(run) / "tracking" / "artifacts" / "comparisons"
    assert len(list(kept.rglob("report.html"))) == 1
    # Every estimate is the one that the run itself has logged.
    logged = json.loads(
        (Path(run) / "tracking" / "artifacts" / "results" / "metrics.json").read_text()
    )
    own = {(r["task"], r["model"], r["metric"]): r["estimate"] for r in logged}
    found = pl.read_parquet(tmp_path / "out" / "results.parquet")
    compared = 0
    for task, model, metric, estimate in found.select(
        "task", "contender", "metric", "estimate"
    ).iter_rows():
        if metric == "macro_f1" and own[task, model, metric] != pytest.approx(estimate):
            continue  # the likeliest class of a tie is one of them only, in a table
        assert own[task, model, metric] == pytest.approx(estimate, nan_ok=True), (model, metric)
        compared += 1
    assert compared > 20


def test_another_run_is_compared_on_the_same_rows(seqmarket, copies) -> None:
    command = ["compare", copies("gru"), copies("logistic"), "--resamples", "100"]
    outcome = seqmarket([*command, "--baseline", copies("logistic"), "tracking=off"])
    assert outcome.code == 0, outcome.err
    assert "compared with rfm_logistic" in outcome.out, outcome.out


def test_what_cannot_be_compared_is_refused_and_nothing_is_left(
    seqmarket, copies, tmp_path
) -> None:
    run, other = copies("gru"), copies("logistic")
    terms = Path(other) / "tracking" / "artifacts" / "results" / "terms.json"
    changed = json.loads(terms.read_text())
    changed["split"]["kind"] = "customer"
    terms.write_text(json.dumps(changed))
    outcome = seqmarket(["compare", run, other, "--output", "out", "tracking=off"])
    assert outcome.code == 2
    said = "these runs cannot be compared, because these differ: split (kind: time, or customer)"
    assert outcome.err.startswith(f"error: {said}")
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/at/all"], "there is no such file or run folder"),
        (["RUN", "--resamples", "5"], "5 resamples are too few"),
        (["RUN", "--level", "2"], "a confidence level of 2 makes no sense"),
        (["RUN", "--baseline", "gur"], "did you mean 'gru'?"),
        (["RUN", "model=lstm"], "'model=lstm' has no effect here"),
        (["some_name"], "there is no MLflow database to look for runs in"),
    ],
)
def test_mistakes_are_named(seqmarket, copies, arguments, said) -> None:
    run = copies("gru")
    outcome = seqmarket(["compare", *(run if item == "RUN" else item for item in arguments)])
    assert outcome.code == 2
    assert said in outcome.err


def test_a_run_of_before_is_named_with_what_mends_it(seqmarket, copies) -> None:
    run = copies("gru")
    (Path(run) / "tracking" / "artifacts" / "results" / "terms.json").unlink()
    outcome = seqmarket(["compare", run, "tracking=off"])
    assert outcome.code == 2
    assert "has no results/terms.json, which a comparison needs" in outcome.err


def test_rows_are_described_as_of_their_moment(gru_run) -> None:
    """Recency, tenure and the rest, counted anew from the events for some rows."""
    trained = load_trained(gru_run.model_file)
    store = open_data(trained.config)
    rows = pl.read_parquet(gru_run.folder / "rows.parquet").filter(task="churn")
    events = store.events
    for row in rows.sample(20, seed=1).to_dicts():
        own = slice(events.offsets[row["customer"]], events.offsets[row["customer"] + 1])
        moment = int(row["prediction_time"].timestamp()) * 1_000_000
        known = events.time[own] <= moment
        times = events.time[own][known]
        assert row["events"] == known.sum()
        assert row["recency"] == pytest.approx((moment - times.max()) / 86_400e6)
        assert row["tenure"] == pytest.approx((moment - times.min()) / 86_400e6)
        bought = events.purchase[own][known]
        assert row["spent"] == pytest.approx(
            float(events.value[own][known][bought].sum()), rel=1e-5
        )
        last = events.channel[own][known][-1]
        assert row["last_channel"] == store.spec.channel.categories[last - 2]


def test_a_later_event_changes_no_row(gru_run) -> None:
    """With the mutant that reads on by one event, rows do change."""
    trained = load_trained(gru_run.model_file)
    store = open_data(trained.config)
    data = make_datamodule(trained.config, store, make_tasks(trained.config.task))
    table = data.tables("test")["churn"]
    table = table.take(np.unique(table.customer, return_index=True)[1])  # one row of each
    events = store.events
    owner = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    seen = np.full(events.n_customers, events.n_events)
    seen[table.customer] = table.event
    later = np.arange(events.n_events) > seen[owner]
    changed = replace(
        events,
        value=np.where(later, events.value + 64, events.value),
        channel=np.where(later, 2, events.channel),
        time=np.where(later, events.time + 10**9, events.time),
    )

    def described(table, events):
        return row_table({"churn": table}, events, store.spec)

    assert_frame_equal(described(table, events), described(table, changed))
    reading_on = replace(table, event=table.event + 1)
    with pytest.raises(AssertionError):
        assert_frame_equal(described(reading_on, events), described(reading_on, changed))
