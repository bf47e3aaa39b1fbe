"""BG/NBD against its story, told by integrals and simulated customers, and against its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betainc, betaln, roots_genlaguerre, roots_jacobi
from scipy.stats import beta

from seqmarket.nn.repurchase import BetaGeometric, Histories
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays, LabelTable

DAY = MICROSECONDS_PER_DAY
# Of 2,357 customers of CDNOW, in weeks: table 2 of the source.
PUBLISHED = BetaGeometric(r=0.243, alpha=4.414, a=0.793, b=2.426)
MODEL = BetaGeometric(r=0.8, alpha=6.0, a=0.9, b=2.5)


def history(*rows: tuple[float, float, float]) -> Histories:
    repeats, last, age = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return Histories(repeats.astype(np.int64) + 1, repeats, last, age)


SEEN = history((0, 0, 0), (0, 0, 20), (1, 3, 20), (4, 19, 20), (4, 8, 20), (9, 15, 15), (2, 5, 90))


def simulated(
    model: BetaGeometric, n: int, until: float, window: float
) -> tuple[Histories, np.ndarray]:
    """Histories of n customers who live as the model says, and what they buy in the window after.

    Times are what the model says, and not rounded to days.
    """
    rng = np.random.default_rng(7)
    rate = rng.gamma(model.r, 1 / model.alpha, n)
    leaves = rng.beta(model.a, model.b, n)
    age = rng.uniform(0.6 * until, until, n)
    now, alive = np.zeros(n), np.ones(n, dtype=bool)
    repeats, last, later = np.zeros(n), np.zeros(n), np.zeros(n)
    while alive.any():
        now = now + rng.exponential(1 / rate)
        inside, after = alive & (now <= age), alive & (now > age) & (now <= age + window)
        repeats, last = repeats + inside, np.where(inside, now, last)
        later = later + after
        alive &= (now <= age + window) & (rng.random(n) >= leaves)
    return Histories(repeats.astype(np.int64) + 1, repeats, last, age), later


def likelihood_of_the_story(model: BetaGeometric, x: float, last: float, age: float) -> float:
    """The integral over all rates and probabilities of leaving, by Gaussian quadrature."""
    scaled, of_rate = roots_genlaguerre(80, model.r - 1)
    centred, of_p = roots_jacobi(40, model.b - 1, model.a - 1)
    rate, p = (scaled / model.alpha)[:, None], ((1 + centred) / 2)[None, :]
    seen = (1 - p) ** x * rate**x * np.exp(-rate * age)
    if x > 0:
        seen = seen + p * (1 - p) ** (x - 1) * rate**x * np.exp(-rate * last)
    return float(of_rate @ seen @ of_p / (of_rate.sum() * of_p.sum()))


class GoneAtTheEnd(BetaGeometric):
    """A mutant: whoever left was seen until the prediction time."""

    def _branches(self, seen: Histories) -> tuple[np.ndarray, np.ndarray]:
        return super()._branches(seen._replace(last=seen.age))


class GoneAtOnce(BetaGeometric):
    """A mutant: customers may leave after the first purchase, too."""

    def _branches(self, seen: Histories) -> tuple[np.ndarray, np.ndarray]:
        alive, gone = super()._branches(seen)
        gone_at_once = np.log(self.a / self.b) - self.r * np.log(self.alpha)
        return alive, np.where(seen.repeats > 0, gone, gone_at_once)


def assert_likelihood(kind: type[BetaGeometric]) -> None:
    model = kind(r=1.7, alpha=6.0, a=1.3, b=2.5)
    found = np.exp(model.log_likelihoods(SEEN))
    for i in range(len(found)):
        row = (SEEN.repeats[i], SEEN.last[i], SEEN.age[i])
        assert found[i] == pytest.approx(likelihood_of_the_story(model, *row), rel=1e-4)


def test_the_likelihood_is_the_integral_of_the_story() -> None:
    assert_likelihood(BetaGeometric)


@pytest.mark.parametrize("mutant", [GoneAtTheEnd, GoneAtOnce])
def test_another_story_is_told_apart(mutant: type[BetaGeometric]) -> None:
    with pytest.raises(AssertionError):
        assert_likelihood(mutant)


HAPPENED = simulated(MODEL, 300_000, until=30.0, window=12.0)


def assert_forecast(
    forecast: Callable[[BetaGeometric, Histories], np.ndarray],
    outcome: np.ndarray,
    kind: type[BetaGeometric] = BetaGeometric,
) -> None:
    """In each group of customers that look alike, what was forecast happens."""
    seen, _ = HAPPENED
    model = kind(MODEL.r, MODEL.alpha, MODEL.a, MODEL.b)
    forecasts = forecast(model, seen)
    silent = (seen.age - seen.last) / seen.age
    groups = np.minimum(seen.repeats, 4) * 3 + np.digitize(silent, [0.2, 0.6])
    for group in np.unique(groups):
        inside = groups == group
        if inside.sum() < 500:
            continue
        error = outcome[inside].std() / np.sqrt(inside.sum())
        difference = forecasts[inside].mean() - outcome[inside].mean()
        assert abs(difference) <= 4.5 * error + 1e-4


def test_purchases_happen_as_often_as_forecast() -> None:
    assert_forecast(lambda model, seen: model.buys(seen, 12.0), HAPPENED[1] > 0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_exactly_so_many_happen_as_often_as_forecast(n: int) -> None:
    assert_forecast(lambda model, seen: model.exactly(seen, 12.0, n), HAPPENED[1] == n)


def test_as_many_happen_as_expected() -> None:
    assert_forecast(lambda model, seen: model.expected(seen, 12.0), HAPPENED[1])


@pytest.mark.parametrize("mutant", [GoneAtTheEnd, GoneAtOnce])
def test_forecasts_of_another_story_are_told_apart(mutant: type[BetaGeometric]) -> None:
    with pytest.raises(AssertionError):
        assert_forecast(lambda model, seen: model.buys(seen, 12.0), HAPPENED[1] > 0, mutant)


def test_a_forecast_without_departures_is_told_apart() -> None:
    def immortal(model: BetaGeometric, seen: Histories) -> np.ndarray:
        return model.buys(seen, 12.0) / model.alive(seen)

    with pytest.raises(AssertionError):
        assert_forecast(immortal, HAPPENED[1] > 0)


def test_to_buy_nothing_is_to_be_seen_the_same_later() -> None:
    later = SEEN._replace(age=SEEN.age + 39.0)
    ratio = np.exp(PUBLISHED.log_likelihoods(later) - PUBLISHED.log_likelihoods(SEEN))
    np.testing.assert_allclose(1 - PUBLISHED.buys(SEEN, 39.0), ratio, rtol=1e-12)


def test_the_numbers_of_purchases_sum_to_all() -> None:
    counted = [PUBLISHED.exactly(SEEN, 39.0, n) for n in range(1, 3000)]
    np.testing.assert_allclose(np.sum(counted, axis=0), PUBLISHED.buys(SEEN, 39.0), rtol=1e-5)


@pytest.mark.parametrize("a", [0.3, 1.0, 1.0 + 1e-9, 2.4])
def test_the_expectation_is_that_of_an_integral(a: float) -> None:
    """Of (1 - e^(-rate p t)) / p over the customers who are alive."""
    model = replace(PUBLISHED, a=a)
    seen = history((0, 0, 20), (3, 12, 20), (150, 38, 39), (40, 20, 39))
    found = model.expected(seen, 39.0)
    for i in range(len(found)):
        r, since = model.r + seen.repeats[i], model.alpha + seen.age[i]

        def made(p: float, r: float = r, since: float = since, x: float = seen.repeats[i]) -> float:
            number = -np.expm1(r * np.log(since / (since + p * 39.0))) / p
            return float(number * beta.pdf(p, a, model.b + x))

        integral = quad(made, 0, 0.05)[0] + quad(made, 0.05, 1)[0]
        assert found[i] == pytest.approx(model.alive(seen)[i] * integral, rel=2e-5)


def test_the_expectation_is_a_sum_of_probabilities() -> None:
    """Of at least n purchases: the customer stays n - 1 times, and n would come in the window."""
    rng = np.random.default_rng(0)
    n = np.arange(1, 20_000)
    for a in np.exp(np.linspace(-6, 9, 40)):
        b, r, alpha = np.exp(rng.uniform([-6, -5, 0], [9, 3, 6])).tolist()
        model = BetaGeometric(r, alpha, float(a), b)
        seen = history(*((x, age / 2, age) for x, age in ((0, 9), (1, 40), (30, 300), (200, 300))))
        found = model.expected(seen, 273.0)
        for i in range(len(found)):
            x, since = seen.repeats[i], alpha + seen.age[i]
            stays = np.exp(betaln(a, b + x + n - 1) - betaln(a, b + x))
            come = betainc(n, r + x, 273.0 / (since + 273.0))
            expected = model.alive(seen)[i] * np.dot(stays, come)
            assert found[i] == pytest.approx(expected, rel=1e-4)


def test_the_expectation_of_the_source() -> None:
    """Of one customer of CDNOW, in the 39 weeks that follow 38.86 weeks."""
    assert PUBLISHED.expected(history((2, 30.43, 38.86)), 39.0) == pytest.approx(1.226, abs=5e-4)


def test_parameters_are_recovered() -> None:
    found = BetaGeometric.fit(simulated(MODEL, 60_000, 40.0, 1.0)[0])
    assert found.r == pytest.approx(MODEL.r, rel=0.05)
    assert found.alpha == pytest.approx(MODEL.alpha, rel=0.05)
    assert found.a == pytest.approx(MODEL.a, rel=0.15)
    assert found.b == pytest.approx(MODEL.b, rel=0.15)


def test_no_likelihood_is_higher_than_that_of_the_fit() -> None:
    seen, _ = simulated(MODEL, 5_000, 40.0, 1.0)
    best = BetaGeometric.fit(seen)
    highest = best.log_likelihoods(seen).sum()
    for name in ("r", "alpha", "a", "b"):
        for factor in (0.98, 1.02):
            other = replace(best, **{name: factor * getattr(best, name)})
            assert other.log_likelihoods(seen).sum() < highest


def test_customers_of_whom_nobody_came_back() -> None:
    seen = history(*[(0.0, 0.0, 30.0 + i) for i in range(50)])
    model = BetaGeometric.fit(seen)
    assert (model.buys(seen, 39.0) < 0.01).all()
    assert np.isfinite(model.expected(seen, 39.0)).all()


def some_events() -> tuple[EventArrays, np.ndarray]:
    """Of ten customers; purchases come several a day, and may be missing."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 12, 10)
    n = int(lengths.sum())
    days = [np.sort(rng.integers(0, 9, length)) + rng.random() / 2 for length in lengths]
    empty = np.zeros((n, 0), dtype=np.int32)
    ids = np.full(n, 2, dtype=np.int32)
    events = EventArrays(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        time=((np.concatenate(days) + 10_000) * DAY).astype(np.int64),
        channel=ids,
        event_type=ids,
        purchase=rng.random(n) < 0.5,
        value=np.ones(n, dtype=np.float32),
        categorical=empty,
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((10, 0), dtype=np.int32),
        static_features=np.zeros((10, 0), dtype=np.float32),
    )
    return events, np.repeat(np.arange(10), lengths)


def test_a_history_is_what_one_counts_by_hand() -> None:
    events, owner = some_events()
    event = np.arange(events.n_events)
    now = events.time + 5 * DAY // 2
    label = np.zeros(len(event), dtype=np.int64)
    table = LabelTable("purchase", "binary", owner, event, now, label)
    found = Histories.of(events, table, events.purchase)
    assert (found.days == 0).any()
    assert (found.days > 2).any()
    for row, customer in enumerate(owner):
        own = np.arange(events.offsets[customer], row + 1)
        bought = sorted({int(events.time[i] // DAY) for i in own if events.purchase[i]})
        begin = bought[0] if bought else events.time[own[0]] // DAY
        assert found.days[row] == len(bought)
        assert found.repeats[row] == max(len(bought) - 1, 0)
        assert found.last[row] == (bought[-1] - bought[0] if bought else 0)
        assert found.age[row] == pytest.approx(now[row] / DAY - begin)
