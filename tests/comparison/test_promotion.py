"""A model becomes the champion by a comparison with the present one, and by no other."""

from __future__ import annotations

import json
import os

import pytest

from seqmarket.comparison.contest import run_contest
from seqmarket.comparison.matched import match
from seqmarket.comparison.promotion import check_promotion, evidence
from seqmarket.comparison.report import Report
from seqmarket.errors import SeqmarketError

COMMAND = "seqmarket compare CHAMPION RUN"


@pytest.fixture
def champion(make_run):
    return make_run(seed=1, noise=1.5)


@pytest.fixture
def compared(contend, champion):
    """Compares a candidate with the champion, and puts the report among its artifacts."""

    def compare(run, *, against=None, place="champion", restrict=False, turned=False):
        pair = [contend("champion", against or champion), contend("candidate", run)]
        pair = pair[::-1] if turned else pair
        report = Report(run_contest(pair, match(pair, restrict=restrict), n_resamples=100))
        report.write(run.folder / "comparisons" / place)
        return run

    return compare


def test_without_a_comparison_it_is_refused_with_the_command(make_run, champion) -> None:
    with pytest.raises(SeqmarketError, match="was not compared") as refused:
        check_promotion(make_run(seed=2), champion.key, COMMAND)
    assert str(refused.value.fix).startswith(COMMAND)
    assert "--without-comparison" in str(refused.value.fix)


@pytest.mark.parametrize("turned", [False, True])
def test_a_better_one_is_let_through_whoever_was_the_reference(
    make_run, champion, compared, turned
) -> None:
    run = compared(make_run(seed=2, noise=0.0, config={"x": 1}), turned=turned)
    found = check_promotion(run, champion.key, COMMAND)
    assert found.verdicts["churn"] == "better"
    assert found.place == "comparisons/champion"


@pytest.mark.parametrize("turned", [False, True])
def test_a_worse_one_is_refused(make_run, champion, compared, turned) -> None:
    run = compared(make_run(seed=2, noise=40.0, config={"x": 1}), turned=turned)
    with pytest.raises(SeqmarketError, match=r"worse than the champion \(churn"):
        check_promotion(run, champion.key, COMMAND)


def test_no_difference_is_no_obstacle(make_run, champion, compared) -> None:
    run = compared(make_run(seed=2, noise=1.5))
    found = check_promotion(run, champion.key, COMMAND)
    assert set(found.verdicts.values()) == {"no difference"}


def test_a_comparison_with_another_run_does_not_count(make_run, champion, compared) -> None:
    run = compared(make_run(seed=2, noise=0.0, config={"x": 1}), against=make_run(seed=7))
    with pytest.raises(SeqmarketError, match="was not compared"):
        check_promotion(run, champion.key, COMMAND)


def test_a_restricted_comparison_does_not_count(make_run, champion, compared) -> None:
    run = make_run(seed=2, noise=0.0, skipped=20, config={"x": 1})
    compared(run, restrict=True)
    with pytest.raises(SeqmarketError, match="was not compared"):
        check_promotion(run, champion.key, COMMAND)


def test_a_baseline_of_the_run_is_not_the_candidate(make_run, champion, contend) -> None:
    run = make_run(seed=2)
    pair = [contend("champion", champion), contend("majority", run, model="majority")]
    Report(run_contest(pair, match(pair), n_resamples=100)).write(run.folder / "comparisons" / "c")
    assert list(evidence(run, champion.key)) == []


def test_the_newest_comparison_decides(make_run, champion, compared) -> None:
    run = make_run(seed=2, noise=0.0, config={"x": 1})
    compared(run, place="newer")
    older = run.folder / "comparisons" / "older"
    older.mkdir()
    about = json.loads((run.folder / "comparisons" / "newer" / "about.json").read_text())
    about["tasks"] = {"churn": {"reference": "champion", "verdicts": {"candidate": "worse"}}}
    (older / "about.json").write_text(json.dumps(about))
    os.utime(older / "about.json", (1, 1))
    assert check_promotion(run, champion.key, COMMAND).place == "comparisons/newer"
    os.utime(older / "about.json", (2**31, 2**31))
    with pytest.raises(SeqmarketError, match="worse"):
        check_promotion(run, champion.key, COMMAND)
