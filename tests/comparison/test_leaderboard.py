"""Seeds are one line, other terms another table, and a file is changed in its place only."""

from __future__ import annotations

import json

import pytest

from seqmarket.comparison.leaderboard import (
    BEGIN,
    END,
    leaderboards,
    to_frame,
    to_markdown,
    update,
)
from seqmarket.errors import SeqmarketError

VALUES = {
    ("churn", "auroc"): 0.8,
    ("churn", "average_precision"): 0.4,
    ("churn", "log_loss"): 0.3,
    ("value", "mean_absolute_error"): 70.0,
    ("value", "gini"): 0.7,
}


@pytest.fixture
def scored(make_run):
    """A run with these metrics; baselines are worse, and answer churn only."""

    def make(auroc: float = 0.8, **facts):
        run = make_run(**facts)
        values = {**VALUES, ("churn", "auroc"): auroc}
        rows = [
            {
                "task": task,
                "kind": "binary" if task == "churn" else "amount",
                "model": model,
                "metric": metric,
                "estimate": value / (2 if model == "majority" else 1),
                "low": value - 0.01,
                "high": None if metric == "gini" else value + 0.01,
            }
            for (task, metric), value in values.items()
            for model in ("gru", "majority")
            if model == "gru" or task == "churn"
        ]
        (run.folder / "results" / "metrics.json").write_text(json.dumps(rows))
        return run

    return make


def test_seeds_are_one_line_with_their_spread(scored) -> None:
    board = leaderboards([scored(0.80, seed=1), scored(0.84, seed=2)])[0]
    assert [(model.name, len(model.runs)) for model in board.models] == [
        ("gru", 2),
        ("majority", 2),
    ]
    row = board.table().filter(model="gru", task="churn", metric="auroc").to_dicts()[0]
    assert row["estimate"] == pytest.approx(0.82)
    assert row["seed_sd"] == pytest.approx(0.0283, abs=1e-4)
    assert ".820 [.810, .830] ±.028" in to_markdown([board])


def test_the_best_is_first_and_bold(scored) -> None:
    wide = {"model": {"_target_": "seqmarket.models.gru.GRUEncoder", "d_model": 128}}
    board = leaderboards([scored(0.7), scored(0.9, config=wide)])[0]
    ranked = [model.name for model in board.ranked("churn", "auroc")]
    assert ranked == ["gru, d_model=128", "gru, d_model=64", "majority"]
    lowest = [model.name for model in board.ranked("churn", "log_loss")]
    assert lowest[0] == "majority"  # half of the loss: lower is better
    lines = to_markdown([board]).splitlines()
    assert lines[4].startswith("| gru, d_model=128 | **.900 [.890, .910]**")


def test_other_terms_are_another_table(scored) -> None:
    """Never mixed: their rows mean something else."""
    other = {"split": {"periods": {"test": ["2026-04-01", "2026-05-01"]}, "kind": "time"}}
    label = {"labels": {"churn": {"in_words": "14 days", "rule": {"window": 1}}}}
    boards = leaderboards([scored(), scored(terms=other), scored(terms=label), scored(seed=2)])
    assert [len(board.models[0].runs) for board in boards] == [2, 1, 1]
    assert boards[1].about == "made, test 2026-04-01 to 2026-05-01"
    assert boards[0].apart == ""
    assert boards[1].apart.startswith("split (")
    assert boards[2].apart.startswith("label of churn (no purchase in 28 days; 14 days)")
    assert to_frame(boards)["apart"].n_unique() == 3
    with_others = leaderboards([scored(), scored(terms={"customers": "d00d"})])
    assert [board.apart for board in with_others] == ["", "other customers"]


def test_the_check_of_terms_is_what_keeps_tables_apart(scored, monkeypatch) -> None:
    """The mutant that takes all terms for the same is caught by the number of tables."""
    label = {"labels": {"churn": {"in_words": "14 days", "rule": {"window": 1}}}}
    runs = [scored(), scored(terms=label)]
    assert len(leaderboards(runs)) == 2
    monkeypatch.setattr("seqmarket.comparison.leaderboard._same_terms", lambda run, other: True)
    assert len(leaderboards(runs)) == 1


def test_a_model_without_the_column_is_left_out_of_it(scored) -> None:
    board = leaderboards([scored()], ["value/gini"])[0]
    assert [row[0] for row in board.cells(board.columns)[1]] == ["gru"]
    assert ".700" in to_markdown([board])  # an interval that is not known is not shown
    with pytest.raises(SeqmarketError) as refused:
        leaderboards([scored()], ["churn/aurok"])
    assert refused.value.fix == "did you mean 'churn/auroc'?"


def test_a_file_is_changed_between_its_marks_only(scored, tmp_path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\nthe rest\n")
    boards = leaderboards([scored()])
    update(page, boards)
    first = page.read_text()
    assert first.startswith(f"# Mine\n\n{BEGIN}\n\nmade, test")
    assert first.endswith(f"{END}\n\nthe rest\n")
    assert "old" not in first
    update(page, boards)
    assert page.read_text() == first
    page.write_text("nothing")
    with pytest.raises(SeqmarketError, match="no place for the leaderboard"):
        update(page, boards)
    assert page.read_text() == "nothing"
