"""Calibration maps find the distortion that was planted, keep the order, and survive odd input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from seqmarket.metrics.calibration import (
    AmountScaling,
    PlattScaling,
    TemperatureScaling,
    calibration_from_dict,
    fit_calibration,
    reliability,
)
from seqmarket.metrics.classification import binary_metrics
from seqmarket.metrics.ranking import categorical_metrics


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def distorted(seed: int, a: float, b: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose calibration is ``sigmoid(a * logit + b)``, and labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, n)
    return sigmoid(z), (rng.random(n) < sigmoid(a * z + b)).astype(np.int64)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.5, -1.0), (2.0, 0.7)])
def test_platt_finds_the_planted_map(a: float, b: float) -> None:
    probability, label = distorted(0, a, b)
    fitted = PlattScaling.fit(probability, label)
    assert fitted.a == pytest.approx(a, abs=0.06)
    assert fitted.b == pytest.approx(b, abs=0.06)
    before = binary_metrics(label, probability)
    after = binary_metrics(label, fitted.apply(probability))
    assert after["auroc"] == pytest.approx(before["auroc"])
    assert after["calibration_error"] < 0.02


def test_platt_equals_unpenalised_logistic_regression() -> None:
    probability, label = distorted(1, 0.7, 0.2)
    z = np.log(probability / (1 - probability))
    model = LogisticRegression(C=1e9, tol=1e-10).fit(z[:, None], label)
    fitted = PlattScaling.fit(probability, label)
    # Platt's targets differ from 0 and 1 by one row in thousands.
    assert fitted.a == pytest.approx(model.coef_[0, 0], rel=3e-3)
    assert fitted.b == pytest.approx(model.intercept_[0], abs=3e-3)


def test_platt_of_one_class_is_the_identity() -> None:
    probability, label = distorted(0, 1, 0, n=50)
    assert PlattScaling.fit(probability, np.zeros_like(label)) == PlattScaling()
    assert PlattScaling.fit(probability, np.ones_like(label)) == PlattScaling()
    assert PlattScaling.fit(probability[:0], label[:0]) == PlattScaling()
    np.testing.assert_allclose(PlattScaling().apply(probability), probability)


def test_platt_never_turns_the_order_around() -> None:
    probability, label = distorted(0, -1.0, 0.5)
    fitted = PlattScaling.fit(probability, label)
    assert fitted.a == 1.0
    assert fitted.apply(probability).mean() == pytest.approx(label.mean(), abs=1e-3)


def test_platt_of_a_constant_moves_it_to_the_rate() -> None:
    label = np.array([1] * 300 + [0] * 700)
    fitted = PlattScaling.fit(np.full(1000, 0.9), label)
    assert fitted.a == 1.0
    assert fitted.apply(np.array([0.9]))[0] == pytest.approx(0.3, abs=2e-3)


def test_platt_of_separable_rows_stays_finite() -> None:
    probability = np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0])
    fitted = PlattScaling.fit(probability, np.array([0, 0, 0, 1, 1, 1]))
    calibrated = fitted.apply(probability)
    assert np.isfinite([fitted.a, fitted.b]).all()
    assert (np.diff(calibrated) >= 0).all()
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_finds_the_planted_one(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = np.exp(logits / temperature)
    true /= true.sum(axis=1, keepdims=True)
    label = (true.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    fitted = TemperatureScaling.fit(p, label)
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    calibrated = fitted.apply(p)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), p.argmax(axis=1))
    before, after = categorical_metrics(label, p), categorical_metrics(label, calibrated)
    assert after["log_loss"] <= before["log_loss"] + 1e-12


def test_temperature_stays_within_bounds() -> None:
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    assert 0.05 <= TemperatureScaling.fit(p, np.array([0, 1, 0])).temperature < 0.06
    assert TemperatureScaling.fit(p, np.array([1, 0, 1])).temperature == pytest.approx(20.0)
    assert TemperatureScaling.fit(p[:0], np.array([], dtype=np.int64)) == TemperatureScaling()
    certain = TemperatureScaling.fit(np.array([[1.0, 0.0]]), np.array([1]))
    assert np.isfinite(certain.apply(np.array([[1.0, 0.0]]))).all()


def test_the_kind_of_task_chooses_the_map_and_json_keeps_it() -> None:
    probability, label = distorted(2, 0.5, 0.5, n=500)
    both = np.stack([1 - probability, probability], axis=1)
    binary = fit_calibration("binary", probability, label)
    categorical = fit_calibration("categorical", both, label)
    assert isinstance(binary, PlattScaling)
    assert isinstance(categorical, TemperatureScaling)
    for fitted in (binary, categorical):
        assert calibration_from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    assert fit_calibration("binary", probability, label) == binary  # bit by bit


def test_reliability_of_known_bins() -> None:
    probability = np.array([0.9, 0.1, 0.1, 0.9, 0.4, 0.6])
    label = np.array([1, 0, 1, 1, 0, 1])
    curve = reliability(label, probability, bins=3)
    np.testing.assert_allclose(curve.predicted, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(curve.observed, [0.5, 0.5, 1.0])
    np.testing.assert_array_equal(curve.n_rows, [2, 2, 2])
    assert len(reliability(label[:0], probability[:0]).predicted) == 0


def test_reliability_agrees_with_the_calibration_error() -> None:
    probability, label = distorted(3, 0.5, 0.5, n=2_000)
    curve = reliability(label, probability)
    error = (curve.n_rows * np.abs(curve.predicted - curve.observed)).sum() / len(label)
    assert binary_metrics(label, probability)["calibration_error"] == pytest.approx(error, abs=2e-3)


def amounts_off_by(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Means that are right only after the power law, with their medians, and amounts drawn."""
    rng = np.random.default_rng(0)
    mean = np.exp(rng.normal(3.0, 1.0, 20_000))
    happens = rng.random(20_000) < 0.7
    label = np.where(happens, rng.gamma(2.0, np.exp(b) * mean**a / 2.0 / 0.7), 0.0)
    return np.stack([mean, 0.8 * mean], axis=1), label


def test_amounts_are_scaled_back_by_a_power_law() -> None:
    amounts, label = amounts_off_by(0.8, 0.5)
    fitted = AmountScaling.fit(amounts, label)
    assert (fitted.a, fitted.b) == pytest.approx((0.8, 0.5), abs=0.08)
    scaled = fitted.apply(amounts)
    assert scaled[:, 0].sum() == pytest.approx(label.sum(), rel=1e-3)
    np.testing.assert_array_equal(scaled[:, 1], amounts[:, 1])
    assert calibration_from_dict(fitted.to_dict()) == fitted


def test_amounts_that_order_the_rows_wrongly_keep_their_order() -> None:
    amounts, label = amounts_off_by(1.0, 0.0)
    fitted = AmountScaling.fit(
        amounts, label[np.argsort(-label)][np.argsort(np.argsort(amounts[:, 0]))]
    )
    assert fitted.a == 1.0
    assert fitted.apply(amounts)[:, 0].sum() == pytest.approx(label.sum())


def test_amounts_of_nothing_stay_as_they_are() -> None:
    amounts = np.array([[0.0, 0.0], [2.0, 1.0]])
    assert AmountScaling.fit(amounts, np.zeros(2)) == AmountScaling()
    assert AmountScaling.fit(np.zeros((2, 2)), np.ones(2)) == AmountScaling()
    np.testing.assert_array_equal(AmountScaling(2.0, 0.0).apply(amounts), [[0, 0], [4, 1]])
    constant = np.full((4, 2), 3.0)
    label = np.array([0.0, 2.0, 0.0, 2.0])
    np.testing.assert_allclose(AmountScaling.fit(constant, label).apply(constant)[:, 0], 1.0)


def test_rows_that_are_expected_to_be_nothing_do_not_bend_the_others() -> None:
    amounts, label = amounts_off_by(0.8, 0.5)
    zeros, some = np.zeros((5_000, 2)), np.full(5_000, 3.0)
    fitted = AmountScaling.fit(np.concatenate([amounts, zeros]), np.concatenate([label, some]))
    assert fitted == AmountScaling.fit(amounts, label)
