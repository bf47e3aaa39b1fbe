"""Who is better is said with the right sign, against the right reference, once corrected."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from seqmarket.comparison.contest import result_table, run_contest
from seqmarket.comparison.matched import match
from seqmarket.comparison.verdict import remarks, verdict
from seqmarket.metrics.classification import binary_metrics


def contest_of(contenders, **settings):
    return run_contest(contenders, match(contenders), n_resamples=200, **settings)


def test_a_better_model_is_found_and_a_seed_is_not(make_run, contend) -> None:
    good = contend("good", make_run(seed=1, noise=0.2))
    poor = contend("poor", make_run(seed=2, noise=6.0, config={"task": {"x": 1}}))
    found = contest_of([poor, good])
    assert found.challengers == ["good"]
    assert found.tasks["churn"].challenge("good", "auroc").verdict(0.95) == "better"
    assert "good is better than poor at churn (AUROC +." in verdict(found)
    turned = contest_of([poor, good], reference="good")
    assert turned.tasks["churn"].challenge("poor", "auroc").verdict(0.95) == "worse"
    assert "poor is worse than good at churn (AUROC -." in verdict(turned)


def test_lower_is_better_where_it_is(make_run, contend) -> None:
    a, b = make_run(seed=1), make_run(seed=2)
    off = b.predictions.with_columns(quantities=b.predictions["quantities"].list.eval(_plus(5)))
    b.__dict__["predictions"] = off
    found = contest_of([contend("a", a), contend("b", b)])
    challenge = found.tasks["value"].challenge("b", "mean_absolute_error")
    assert challenge.difference.estimate > 0
    assert challenge.verdict(0.95) == "worse"


def _plus(number):
    import polars as pl

    return pl.element() + number


def test_estimates_are_those_of_the_run(make_run, contend) -> None:
    run = make_run()
    found = contest_of([contend("gru", run), contend("majority", run, model="majority")])
    rows = run.predictions.filter(task="churn", model="gru")
    label = rows["label"].cast(int).to_numpy()
    for metric, value in binary_metrics(label, rows["probability"].to_numpy()).items():
        assert found.tasks["churn"].interval("gru", metric).estimate == pytest.approx(value)


def test_models_of_one_run_are_held_against_its_strongest_baseline(make_run, contend) -> None:
    models = {"gru": 0.5, "weak": 9.0, "strong": 0.1}
    run = make_run(models=models)
    found = contest_of([contend(name, run, model=name) for name in models])
    assert found.tasks["churn"].reference == "strong"
    assert found.challengers == ["gru"]
    assert found.n_tests == 3


def test_p_values_are_corrected_for_all_tests_of_the_comparison(make_run, contend) -> None:
    a, b, c = (make_run(seed=seed, noise=0.5 + seed / 5) for seed in range(3))
    found = contest_of([contend("a", a), contend("b", b), contend("c", c)])
    assert found.n_tests == 6
    tested = [
        challenge
        for task in found.tasks.values()
        for challenge in task.challenges
        if not np.isnan(challenge.adjusted)
    ]
    assert all(c.adjusted >= c.difference.p_value for c in tested)
    smallest = min(tested, key=lambda c: c.difference.p_value)
    assert smallest.adjusted == pytest.approx(min(1, 6 * smallest.difference.p_value))


def test_seeds_are_a_mean_and_a_spread(make_run, contend) -> None:
    runs = [make_run(seed=seed) for seed in (1, 2, 3)]
    found = contest_of([contend("gru", *runs), contend("majority", runs[0], model="majority")])
    table = result_table(found).filter(contender="gru", task="churn", metric="auroc")
    row = table.to_dicts()[0]
    each = found.tasks["churn"].seeds("gru", "auroc")
    assert row["seeds"] == 3
    assert row["estimate"] == pytest.approx(each.mean())
    assert row["seed_sd"] == pytest.approx(each.std(ddof=1))
    assert not any("One seed only" in text for text in remarks(found))


def test_one_seed_and_a_restriction_are_said(make_run, contend) -> None:
    contenders = [contend("a", make_run()), contend("b", make_run(skipped=40))]
    found = run_contest(contenders, match(contenders, restrict=True), n_resamples=100)
    said = " ".join(remarks(found))
    assert "RESTRICTED to the rows that all runs share" in said
    assert "One seed only: a and b" in said


def test_the_same_seed_gives_the_same_table(make_run, contend) -> None:
    contenders = [contend("a", make_run()), contend("b", make_run(seed=2))]
    first, second = (result_table(contest_of(contenders)) for _ in range(2))
    assert first.equals(second)
    assert not first.equals(result_table(contest_of(contenders, seed=5)))


def test_a_difference_that_is_not_tested_has_no_verdict(make_run, contend) -> None:
    found = contest_of([contend("a", make_run()), contend("b", make_run(seed=2))])
    challenge = found.tasks["churn"].challenge("b", "brier")
    assert challenge.verdict(0.95) == ""
    assert dataclasses.replace(challenge, adjusted=0.2).verdict(0.95) == "no difference"
