"""Events of one customer and time must come out in one order, whatever order they came in."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from seqmarket.data.engine.order import by_customer_and_time, order_content

N = 400


def rows(seed: int) -> dict[str, NDArray[np.generic]]:
    """Rows with many ties and repetitions, nulls among them, in an order of the seed's own."""
    made = np.random.default_rng(1)
    columns = {
        "customer": made.integers(0, 5, N),
        "time": made.integers(0, 20, N),
        "channel": made.integers(-1, 2, N).astype(np.int32),
        "value": np.where(made.random(N) < 0.3, np.nan, made.integers(0, 2, N).astype(float)),
        "position": np.arange(N, dtype=np.float64),
    }
    shuffle = np.random.default_rng(seed).permutation(N)
    return {name: column[shuffle] for name, column in columns.items()}


def arranged(seed: int, **options: bool) -> list[tuple[object, ...]]:
    columns = rows(seed)
    place = by_customer_and_time(columns["customer"], columns["time"])
    columns = {name: column[place] for name, column in columns.items()}
    content = {name: columns[name] for name in ("channel", "value")}
    order = columns["position"] if options.get("by_position") else None
    tied, repeats = order_content(columns["customer"], columns["time"], content, order, **options)
    table = [column[tied][~repeats] for name, column in columns.items() if name != "position"]
    return [tuple(map(str, row)) for row in zip(*table, strict=True)]


def distinct() -> set[tuple[str, ...]]:
    table = [column for name, column in rows(0).items() if name != "position"]
    return {tuple(map(str, row)) for row in zip(*table, strict=True)}


def test_order_of_rows_does_not_matter() -> None:
    first = arranged(0)
    assert all(arranged(seed) == first for seed in range(1, 6))


def test_every_distinct_row_is_left_once() -> None:
    left = arranged(0)
    assert len(left) == len(distinct())
    assert set(left) == distinct()


def test_by_position_the_first_of_repeated_rows_is_left() -> None:
    assert set(arranged(0, by_position=True)) == distinct()
    columns = {
        "customer": np.zeros(4, dtype=np.int64),
        "time": np.zeros(4, dtype=np.int64),
        "channel": np.array([1, 0, 1, 2], dtype=np.int32),
    }
    tied, repeats = order_content(
        columns["customer"],
        columns["time"],
        {"channel": columns["channel"]},
        np.arange(4.0),
        by_position=True,
    )
    assert columns["channel"][tied][~repeats].tolist() == [1, 0, 2]


def test_columns_beside_order_and_do_not_tell_apart() -> None:
    zero = np.zeros(3, dtype=np.int64)
    tied, repeats = order_content(
        zero, zero, {"value": np.zeros(3)}, None, beside={"segment": np.array([2.0, 0.0, 1.0])}
    )
    assert tied.tolist() == [1, 2, 0]
    assert repeats.tolist() == [False, True, True]


def test_mutant_a_sort_by_customer_and_time_alone_depends_on_the_order_of_rows() -> None:
    def careless(seed: int) -> list[object]:
        columns = rows(seed)
        place = by_customer_and_time(columns["customer"], columns["time"])
        return columns["channel"][place].tolist()

    assert any(careless(seed) != careless(0) for seed in range(1, 6))


@pytest.mark.parametrize("span", [10, 2**62])
def test_times_too_far_apart_for_a_packed_key_are_sorted_all_the_same(span: int) -> None:
    random = np.random.default_rng(2)
    customer, time = random.integers(0, 50, 300), random.integers(-span, span, 300)
    place = by_customer_and_time(customer, time)
    expected = sorted(zip(customer.tolist(), time.tolist(), strict=True))
    assert list(zip(customer[place].tolist(), time[place].tolist(), strict=True)) == expected
