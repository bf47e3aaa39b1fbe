"""A trained run asked later: the same metrics again, and scores that know nothing of the future."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
import torch
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

from seqmarket.data.event_log import EventLog
from seqmarket.data.sealed import digest_file
from seqmarket.data.shard import Shard
from seqmarket.data.splits import to_microseconds
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY, QUANTILES
from seqmarket.training.checkpoint import TrainedModel, load_trained
from seqmarket.training.data import open_data
from seqmarket.training.instantiate import build
from seqmarket.training.results import TaskResult
from seqmarket.training.scoring import (
    Scores,
    evaluate_run,
    score_customers,
    write_scores,
)

AS_OF = datetime(2024, 4, 1, tzinfo=UTC)  # some customers are lost by then, others yet to come


@pytest.fixture(scope="module")
def model(gru_run) -> TrainedModel:
    return load_trained(gru_run.model_file)


LogLike = Callable[[EventLog, pl.DataFrame], EventLog]


@pytest.fixture(scope="module")
def log(model: TrainedModel, read_log: Callable[..., EventLog]) -> EventLog:
    return read_log(build(model.config.data.source))


@pytest.fixture(scope="module")
def scores(model: TrainedModel, log: EventLog) -> Scores:
    return score_customers(model, log, AS_OF)


def estimates(results: list[TaskResult], fold: str, model: str) -> dict[str, float]:
    return {
        f"{fold}/{result.task}/{metric}": value.estimate
        for result in results
        for metric, value in result.models[model].items()
    }


def test_the_test_metrics_of_the_run_come_out_again(gru_run) -> None:
    torch.set_num_threads(2)  # not those of the run, which are part of what repeats its results
    results = evaluate_run(gru_run.model_file, "test", with_baselines=True)
    assert estimates(results, "test", "gru") == gru_run.metrics
    assert torch.get_num_threads() == 1
    models = {result.task: set(result.models) for result in results}
    assert models["purchase"] == {"gru", "majority", "rfm_logistic"}
    assert set(results[0].models) == {"gru", "majority", "repeat_last"}


def test_another_fold_is_another_answer(gru_run) -> None:
    results = evaluate_run(gru_run.model_file, "validation", with_baselines=False)
    found = estimates(results, "test", "gru")
    assert set(found) == set(gru_run.metrics)
    assert all(found[name] != gru_run.metrics[name] for name in found)
    assert all(set(result.models) == {"gru"} for result in results)
    assert all(result.differences == {} for result in results)


def test_a_checkpoint_of_the_middle_can_be_evaluated(gru_run) -> None:
    best = gru_run.folder / "checkpoints" / "best.ckpt"
    found = estimates(evaluate_run(best, "test", with_baselines=False), "test", "gru")
    # The same weights; the calibration, which it does not carry, is fitted again.
    assert found == gru_run.metrics


def test_a_baseline_is_fitted_again_with_the_same_outcome(logistic_run) -> None:
    results = evaluate_run(logistic_run.model_file, "test", with_baselines=True)
    assert estimates(results, "test", "rfm_logistic") == logistic_run.metrics
    assert set(results[0].models) == {"rfm_logistic", "majority"}


def test_a_changed_log_is_refused(
    trained: Callable[..., Any], log: EventLog, tmp_path: Path
) -> None:
    """Also where a baseline, which has to be fitted again, is asked about another log."""
    path = tmp_path / "log.parquet"
    frame = log.frame.collect()
    frame.write_parquet(path)
    run = trained(
        "model=majority", "data=files", f"data.path={path}", "task=churn", drop=("model.", "data")
    )
    before = evaluate_run(run.model_file, "test", with_baselines=False)
    assert estimates(before, "test", "majority") == run.metrics
    score_customers(load_trained(run.model_file), log, AS_OF)
    frame.filter(pl.col("time") < frame["time"].max()).write_parquet(path)
    with pytest.raises(SeqmarketError, match="log has changed since this run was trained"):
        evaluate_run(run.model_file, "test", with_baselines=False)
    with pytest.raises(SeqmarketError, match="log has changed since this run was trained"):
        score_customers(load_trained(run.model_file), log, AS_OF)


def test_one_row_per_customer_with_an_event_by_then(log: EventLog, scores: Scores) -> None:
    known = log.frame.filter(pl.col("time") <= AS_OF).collect()
    expected = known.group_by("customer_id").agg(
        pl.lit(AS_OF).alias("prediction_time"),
        pl.col("time").max().alias("last_event_time"),
        pl.len().alias("events"),
    )
    expected = expected.sort("customer_id")
    table = scores.table
    assert_frame_equal(table.select(expected.columns), expected, check_dtypes=False)
    everybody = log.frame.select(pl.col("customer_id").n_unique()).collect().item()
    assert scores.n_skipped == everybody - len(expected) > 0
    assert table["prediction_time"].dtype == table["last_event_time"].dtype
    assert table["last_event_time"].dtype == pl.Datetime("us", "UTC")


def test_probabilities_are_such(model: TrainedModel, scores: Scores) -> None:
    table = scores.table
    for task in ("purchase", "churn"):
        assert table[f"{task}_probability"].is_between(0, 1).all()
        assert table[f"{task}_probability"].std() > 0
    channels = model.spec.channel.categories
    each = table.select(f"next_channel_probability_{channel}" for channel in channels).to_numpy()
    assert each.sum(axis=1) == pytest.approx(1)
    assert ((each > 0) & (each < 1)).all()
    likeliest = np.array(channels)[each.argmax(axis=1)]
    assert table["next_channel"].to_list() == likeliest.tolist()
    days = table.select(cs.starts_with("time_to_next_days_")).to_numpy()
    assert (np.diff(days, axis=1) >= 0).all()
    assert (table["value_expected"] > 0).all()
    assert table["value_asked"].equals(table["churn_asked"])
    assert len(table.columns) == 4 + 2 * 2 + 1 + len(channels) + len(QUANTILES) + 3


def test_whom_the_task_asks_about(log: EventLog, scores: Scores) -> None:
    since = AS_OF - timedelta(days=56)
    bought = (
        log.frame.filter(
            pl.col("time").is_between(since, AS_OF, closed="right"),
            pl.col("event_type") == "purchase",
        )
        .collect()["customer_id"]
        .unique()
        .to_list()
    )
    asked = scores.table.filter("churn_asked")["customer_id"].to_list()
    assert asked == sorted(bought)
    assert 0 < len(asked) < len(scores.table)
    assert (scores.table["purchase_asked"] == scores.table["churn_asked"]).all()


def later_events_change_nothing(model: TrainedModel, known: EventLog, scores: Scores) -> None:
    without = score_customers(model, known, AS_OF)
    assert without.n_skipped == 0
    assert_frame_equal(without.table, scores.table, check_exact=True)


@pytest.fixture
def known(log: EventLog, log_like: LogLike) -> EventLog:
    """The log as it was then."""
    return log_like(log, log.frame.filter(pl.col("time") <= AS_OF).collect())


def test_later_events_change_nothing(model: TrainedModel, known: EventLog, scores: Scores) -> None:
    later_events_change_nothing(model, known, scores)


def test_a_glimpse_of_the_next_day_is_noticed(
    model: TrainedModel, log: EventLog, known: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def a_day_more(shard: Shard, kept: NDArray[np.bool_]) -> Shard:
        as_of = to_microseconds(AS_OF)
        assert (kept == (shard.time <= as_of)).all()
        seen = keep(shard, shard.time <= as_of + MICROSECONDS_PER_DAY)
        return replace(seen, time=np.minimum(seen.time, as_of))

    keep = Shard.keep
    monkeypatch.setattr(Shard, "keep", a_day_more)
    leaked = score_customers(model, log, AS_OF)
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        later_events_change_nothing(model, known, leaked)


def test_an_event_at_the_moment_itself_is_known(model: TrainedModel, log: EventLog) -> None:
    event = log.frame.filter(pl.col("time") > AS_OF).first().collect()
    who, moment = event["customer_id"][0], event["time"][0]

    def events_at(as_of: datetime) -> int:
        table = score_customers(model, log, as_of).table
        return int(table.filter(customer_id=who)["events"].sum())

    assert events_at(moment) == events_at(moment - timedelta(microseconds=1)) + 1


@pytest.mark.parametrize("name", ["gru", "rfm_logistic"])
def test_scores_are_what_the_evaluation_predicted(
    request: pytest.FixtureRequest, log: EventLog, name: str
) -> None:
    """At a cutoff of the test period, both ways of asking give the same answer."""
    run = request.getfixturevalue("gru_run" if name == "gru" else "logistic_run")
    trained = load_trained(run.model_file)
    ids = open_data(trained.config).customer_ids()
    predicted = pl.read_parquet(run.folder / "predictions.parquet").filter(model=name)
    moment = predicted.filter(task="churn")["prediction_time"].min()
    assert isinstance(moment, datetime)
    table = score_customers(trained, log, moment).table
    for task in ("purchase", "churn"):
        expected = predicted.filter(task=task, prediction_time=moment)
        named = expected.with_columns(customer_id=ids.gather(expected["customer"]))
        expected = named.sort("customer_id")
        found = table.filter(f"{task}_asked")
        assert found["customer_id"].to_list() == expected["customer_id"].to_list()
        assert found[f"{task}_probability"].to_numpy() == pytest.approx(
            expected["probability"].to_numpy(), abs=1e-6
        )
    assert ("next_channel" in table.columns) == (name == "gru")


@pytest.mark.parametrize(
    ("key", "feature", "columns"),
    [
        ("categorical", "device", {"codes": ("channel", "event_type")}),
        ("numeric", "pages", {"numbers": ("value", "cost")}),
        ("static_categorical", "segment", {"static_codes": ()}),
    ],
)
def test_a_log_without_a_feature_is_refused(
    model: TrainedModel, log: EventLog, key: str, feature: str, columns: dict[str, Any]
) -> None:
    without = replace(log, columns=replace(log.columns, **columns))
    with pytest.raises(SeqmarketError, match=f"reads the feature '{feature}'") as caught:
        score_customers(model, without, AS_OF)
    assert caught.value.where == f"data.{key}"
    assert f"data.{key}=['{feature}']" in str(caught.value)


def test_a_moment_before_the_first_event_is_refused(model: TrainedModel, log: EventLog) -> None:
    with pytest.raises(SeqmarketError, match="no customer has an event at or before 1999-01-01"):
        score_customers(model, log, datetime(1999, 1, 1, tzinfo=UTC))


def test_what_the_model_never_saw_is_unknown_to_it(
    model: TrainedModel, log: EventLog, log_like: LogLike
) -> None:
    strange = log.frame.with_columns(
        channel=pl.lit("brand_new"), device=pl.lit("watch"), pages=pl.lit(1e300)
    )
    table = score_customers(model, log_like(log, strange.collect()), AS_OF).table
    assert table["churn_probability"].is_between(0, 1).all()
    assert "brand_new" not in table["next_channel"]


Write = Callable[[Scores, Path], None]


def keeps_what_was_there(write: Write, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(frame: pl.DataFrame, file: Path) -> None:
        file.write_bytes(b"PAR1 half of")
        raise OSError(28, "No space left on device")

    path.write_bytes(b"yesterday's")
    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    with pytest.raises(OSError, match="No space left"):
        write(Scores(pl.DataFrame({"customer_id": ["a"]}), 0), path)
    assert path.read_bytes() == b"yesterday's"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeps_what_was_there(write_scores, tmp_path / "scores.parquet", monkeypatch)


def test_scores_written_in_place_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError):
        keeps_what_was_there(
            lambda scores, path: scores.table.write_parquet(path), tmp_path / "a", monkeypatch
        )


def test_scores_are_read_back_as_they_were(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.parquet"
    write_scores(scores, path)
    assert_frame_equal(pl.read_parquet(path), scores.table, check_exact=True)
    assert sorted(path.parent.iterdir()) == [path, digest_file(path)]
