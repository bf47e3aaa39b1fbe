"""Runs are compared on the same rows only, and refused where these mean something else."""

from __future__ import annotations

import polars as pl
import pytest

from seqmarket.comparison.matched import match
from seqmarket.errors import SeqmarketError

OTHER_SPLIT = {
    "split": {
        "periods": {
            "train": ["2025-01-01T00:00:00+00:00", "2025-12-01T00:00:00+00:00"],
            "validation": ["2025-12-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"],
            "test": ["2026-03-01T00:00:00+00:00", "2026-05-01T00:00:00+00:00"],
        },
        "kind": "time",
    }
}
OTHER_LABEL = {
    "labels": {
        "churn": {"in_words": "no purchase in 14 days", "rule": {"window": 14 * 86400000000}},
        "next_channel": {"in_words": "the next channel", "rule": {"of": "channel"}},
        "value": {"in_words": "the value of 28 days", "rule": {"window": 28 * 86400000000}},
    }
}
OTHER_LOG = {
    "log": {"name": "made", "source": "other", "gate": {}, "validation": {}, "cleaning": []}
}


def test_the_same_rows_are_matched(make_run, contend) -> None:
    a, b = make_run(seed=1), make_run(seed=2, noise=2.0)
    found = match([contend("a", a), contend("b", b)])
    assert list(found.tasks) == ["churn", "next_channel", "value"]
    assert [task.kind for task in found.tasks.values()] == ["binary", "categorical", "amount"]
    assert not found.obstacles
    assert not found.left_out
    churn = found.tasks["churn"]
    assert len(churn) == 240
    assert churn.n_customers == 60
    assert churn.rows["recency"].null_count() == 0


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (OTHER_SPLIT, "split (train: 2025-01-01 to 2026-01-01, or 2025-01-01 to 2025-12-01"),
        (OTHER_LABEL, "label of churn (no purchase in 28 days; no purchase in 14 days)"),
        (OTHER_LOG, "data (source: abc, or other)"),
    ],
)
def test_runs_with_other_terms_are_refused_in_one_message(make_run, contend, terms, said) -> None:
    pair = [contend("a", make_run()), contend("b", make_run(terms=terms))]
    with pytest.raises(SeqmarketError) as refused:
        match(pair)
    assert said in refused.value.what
    assert refused.value.where == "a and b"
    assert "--restrict-to-common" in str(refused.value.fix)


def test_the_way_out_leaves_its_stamp(make_run, contend) -> None:
    pair = [contend("a", make_run()), contend("b", make_run(terms=OTHER_SPLIT))]
    found = match(pair, restrict=True)
    assert len(found.obstacles) == 1
    assert list(found.tasks) == ["churn", "next_channel", "value"]


def test_a_task_whose_label_differs_is_never_compared(make_run, contend) -> None:
    pair = [contend("a", make_run()), contend("b", make_run(terms=OTHER_LABEL))]
    found = match(pair, restrict=True)
    assert list(found.tasks) == ["next_channel", "value"]
    assert found.left_out == ["churn: its label is defined differently"]


def test_other_rows_are_refused_or_left_out(make_run, contend) -> None:
    pair = [contend("a", make_run()), contend("b", make_run(skipped=40))]
    with pytest.raises(SeqmarketError, match=r"rows of churn \(200 are the same, 40 are not\)"):
        match(pair)
    found = match(pair, restrict=True)
    assert len(found.tasks["churn"]) == 200
    assert found.left_out[0] == "churn: 40 rows that not all runs have"


def test_rows_of_one_moment_are_told_apart_by_their_place(make_run, contend, monkeypatch) -> None:
    a, b = make_run(), make_run(noise=1.0)
    for run in (a, b):
        frame = run.predictions.with_columns(
            prediction_time=pl.col("prediction_time").first().over("customer")
        )
        run.__dict__["predictions"] = frame
        rows = run.rows.with_columns(
            prediction_time=pl.col("prediction_time").first().over("customer")
        )
        run.__dict__["rows"] = rows
    churn = match([contend("a", a), contend("b", b)]).tasks["churn"]
    assert len(churn) == 240
    assert len(churn.rows) == 240
    assert churn.rows["recency"].n_unique() == 240


def test_other_customers_cannot_be_matched_at_all(make_run, contend) -> None:
    pair = [contend("a", make_run()), contend("b", make_run(terms={"customers": "another"}))]
    for restrict in (False, True):
        with pytest.raises(SeqmarketError, match="other customers"):
            match(pair, restrict=restrict)


def test_who_does_not_answer_is_left_out_of_the_task(make_run, contend) -> None:
    run = make_run()
    frame = run.predictions
    partly = frame.filter((pl.col("model") != "majority") | (pl.col("task") == "churn"))
    run.__dict__["predictions"] = partly
    found = match([contend("gru", run), contend("majority", run, model="majority")])
    assert list(found.tasks) == ["churn"]
    assert found.left_out == [
        "next_channel: gru alone answers it",
        "value: gru alone answers it",
    ]
