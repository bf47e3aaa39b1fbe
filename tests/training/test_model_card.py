from dataclasses import replace
from datetime import date

from seqmarket.metrics.resampling import Interval
from seqmarket.training.model_card import (
    CalibrationFacts,
    CardFacts,
    TaskDefinition,
    TrainingCost,
    model_card,
)
from seqmarket.training.results import TaskResult


def _values(auroc: float, log_loss: float) -> dict[str, Interval]:
    return {
        "auroc": Interval(auroc, auroc - 0.01, auroc + 0.01),
        "log_loss": Interval(log_loss, log_loss - 0.01, log_loss + 0.01),
    }


PURCHASE = TaskResult(
    task="purchase",
    kind="binary",
    n_rows=19_953,
    n_customers=2_411,
    base_rate=0.5,
    models={"transformer": _values(0.81, 0.51), "gbdt": _values(0.8, 0.52)},
    differences={
        "gbdt": {"auroc": Interval(0.01, 0.005, 0.015), "log_loss": Interval(-0.01, -0.02, -0.005)}
    },
    period=(date(2017, 10, 1), date(2017, 11, 26)),
)
FACTS = CardFacts(
    run_name="first-light",
    model="transformer",
    n_parameters=412_345,
    data_name="complete_journey",
    fingerprint="ab12cd34",
    periods={
        "train": (date(2017, 1, 1), date(2017, 8, 20)),
        "test": (date(2017, 10, 1), date(2017, 12, 3)),
    },
    n_customers=2_469,
    n_events=165_000,
    tasks=[
        TaskDefinition("purchase", "a purchase in the 7 days after it", "Asked at weekly cutoffs.")
    ],
    results=[PURCHASE],
    cost=TrainingCost(
        wall_seconds=412.3, epochs=12, best_epoch=7, events_per_second=41_234.5, threads=2
    ),
    calibration={"purchase": CalibrationFacts("platt", "calibration_error", 0.021, 0.012)},
    environment={"torch": "2.13.0"},
    overrides=["model=transformer"],
    class_rows={"next_channel": {"mail_a": 12, "store": 9_000}},
)


def test_card_states_the_facts() -> None:
    card = model_card(FACTS)
    for fact in (
        "# transformer: first-light",
        "412,345 parameters",
        "fingerprint `ab12cd34`",
        "165,000 events of 2,469 customers",
        "test: 2017-10-01 to 2017-12-03",
        "a purchase in the 7 days after it. Asked at weekly cutoffs.",
        "19,953 rows of 2,411 customers",
        "| purchase | platt | ECE | 0.0210 | 0.0120 |",
        "6 min 52 s on cpu, 2 threads",
        "epochs: 12, weights of epoch 7",
        "41,234 events/s",
        "model=transformer",
        "| torch | 2.13.0 |",
        "predictions are not effects",
    ):
        assert fact in card


def test_card_says_where_the_model_is_below_a_baseline() -> None:
    assert "**purchase**: at or above the best baseline on AUROC, log loss." in model_card(FACTS)
    below = {
        "gbdt": {"auroc": Interval(-0.01, -0.02, -0.005), "log_loss": Interval(-0.01, -0.02, 0.01)}
    }
    card = model_card(replace(FACTS, results=[replace(PURCHASE, differences=below)]))
    assert (
        "**purchase**: **below the best baseline** on AUROC (gbdt); 1 of 1 beyond sampling error."
        in card
    )
    assert "AUROC: transformer stands below gbdt" in card


def test_card_names_what_is_too_small_to_judge() -> None:
    card = model_card(FACTS)
    assert "too few test rows to judge mail_a (12)" in card
    assert "store (9,000)" not in card
    assert "its figures are uncertain" not in card
    rare = replace(PURCHASE, n_rows=1_000, base_rate=0.05)
    assert "only 50 of 1,000 test rows are positive" in model_card(replace(FACTS, results=[rare]))


def test_card_says_when_calibration_made_it_worse_or_was_not_done() -> None:
    assert "made it worse" not in model_card(FACTS)
    worse = {"purchase": CalibrationFacts("platt", "log_loss", 0.5, 0.6)}
    assert "Calibration made it worse on: purchase." in model_card(
        replace(FACTS, calibration=worse)
    )
    assert "no calibration was fitted" in model_card(replace(FACTS, calibration={}))


def test_card_of_an_ensemble_says_so() -> None:
    assert "Trained once with one seed" in model_card(FACTS)
    card = model_card(replace(FACTS, members=5))
    assert "The mean of 5 networks, each from a seed of its own" in card
    assert "Trained once" not in card


def test_card_states_amounts_and_durations_without_positives() -> None:
    interval = Interval(2.5, 2.0, 3.0)
    value = TaskResult(
        task="value",
        kind="amount",
        n_rows=1_000,
        n_customers=300,
        base_rate=None,
        models={
            model: {"mean_absolute_error": interval, "gini": interval} for model in ("gru", "gbdt")
        },
        differences={"gbdt": {"mean_absolute_error": interval, "gini": interval}},
    )
    days = replace(
        value,
        task="time_to_next",
        kind="duration",
        models={"gru": {"mean_absolute_error": interval, "pinball_loss": interval}},
        differences={},
    )
    card = model_card(replace(FACTS, results=[value, days], class_rows={}))
    assert "**value**: **below the best baseline** on MAE (gbdt); 1 of 1 beyond sampling" in card
    assert "MAE: gru stands below gbdt, the best baseline: +2.5000" in card
    assert "Gini: gru stands at or above gbdt" in card
    assert "| model | MAE | pinball |" in card
    assert "test rows of time_to_next: 1,000 rows of 300 customers\n" in card
    assert "positive" not in card


def test_card_masks_passwords() -> None:
    card = model_card(replace(FACTS, overrides=["tracking.uri=http://ann:secret@host:5000"]))
    assert "secret" not in card
    assert "tracking.uri=http://***@host:5000" in card


def test_card_of_a_baseline_run_claims_nothing_about_networks() -> None:
    lone = replace(PURCHASE, models={"gbdt": _values(0.8, 0.52)}, differences={})
    cost = replace(FACTS.cost, best_epoch=None, events_per_second=None)
    card = model_card(
        replace(FACTS, model="gbdt", n_parameters=None, results=[lone], cost=cost, deep=False)
    )
    assert "gbdt was not compared with any baseline" in card
    for word in ("parameters", "Attention", "epochs:", "neural"):
        assert word not in card
