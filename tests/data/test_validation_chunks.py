"""What becomes of a row does not depend on the chunk that it is read in; nor do codes of texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmarket.data.parsing import TimeFormat, code_text, parse_text
from seqmarket.data.reading import RawPart
from seqmarket.data.validation import Converted, Converter, EventSchema

CONVERTER = Converter(
    EventSchema(categorical=("device",)), TimeFormat(), datetime(2030, 1, 1, tzinfo=UTC)
)

Read = Callable[..., Any]

BROKEN = {
    "customer_id": ["a", "b", "7", None, " "],
    "time": ["2024-01-01", "2024-03-01T10:00", "2024-01-01T10:00Z", "2099-01-01", "never", None],
    "channel": ["web", "mail", ""],
    "event_type": ["visit", "purchase"],
    "value": ["1", "-1", "x", "", "inf"],
    "cost": ["0", "-0.0", None],
    "device": ["phone", "", None],
}


@st.composite
def logs(draw: st.DrawFn) -> pl.DataFrame:
    n = draw(st.integers(0, 9))
    return pl.DataFrame(
        {
            name: draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))
            for name, values in BROKEN.items()
        },
        schema=dict.fromkeys(BROKEN, pl.String),
    )


def outcome(
    read: Read, frame: pl.DataFrame, chunk_rows: int, convert: Callable[..., Converted]
) -> tuple[list[object], ...]:
    flaws = {"has a flaw": np.arange(3, len(frame), 5)}
    flawed = RawPart(frame.lazy(), "log", flaws=lambda: flaws)
    found = read([flawed], CONVERTER, policy="drop", chunk_rows=chunk_rows, convert=convert)
    return (found.frame.rows(), found.broken, found.aside.rows())


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(frame=logs())
def test_chunks_change_nothing(read_rows: Read, frame: pl.DataFrame) -> None:
    whole = outcome(read_rows, frame, 100, Converter.convert)
    assert len(whole[0]) + len(whole[1]) == len(frame)
    for chunk_rows in (1, 2, 7):
        assert outcome(read_rows, frame, chunk_rows, Converter.convert) == whole


def without_first_row(
    self: Converter, log: RawPart, first_row: int, raw: pl.DataFrame, flaws: Any
) -> Converted:
    """A mutant that takes every chunk for the first one."""
    converted = self.convert(log, 0, raw, flaws)
    return replace(converted, broken=converted.broken.with_columns(pl.col("row") + first_row))


def with_own_majority(
    self: Converter, log: RawPart, first_row: int, raw: pl.DataFrame, flaws: Any
) -> Converted:
    """A mutant that judges in each chunk by itself which times are at fault."""
    alone = replace(self, zoned_is_broken=None).convert(log, first_row, raw, flaws)
    fewer = alone.with_offset < alone.without_offset
    at_fault = fewer if alone.with_offset and alone.without_offset else None
    return replace(self, zoned_is_broken=at_fault).convert(log, first_row, raw, flaws)


@pytest.mark.parametrize("mutant", [without_first_row, with_own_majority])
def test_the_check_of_chunks_finds_mutants(
    mutant: Callable[..., Converted], read_rows: Read
) -> None:
    times = ["2024-01-01", "2024-01-01T10:00Z", "2024-01-01", "2024-01-01"] * 3
    frame = pl.DataFrame({name: values[:1] * 12 for name, values in BROKEN.items()})
    frame = frame.with_columns(time=pl.Series(times))
    whole = outcome(read_rows, frame, 100, mutant)
    assert outcome(read_rows, frame, 1, mutant) != whole


@given(
    st.lists(st.none() | st.sampled_from(["a", "b", " a", "", "  ", "\N{EURO SIGN}", "007", "7"]))
)
def test_codes_of_texts(texts: list[str | None]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    coded = code_text(column)
    expected = parse_text(column).column
    assert coded.to_series().to_list() == expected.to_list()
    assert sorted(coded.values) == sorted(expected.drop_nulls().unique())
    rows = np.arange(len(texts)) % 3 > 0
    kept = coded.keep(rows)
    assert kept.to_series().to_list() == expected.filter(pl.Series(rows)).to_list()
    assert set(kept.code.tolist()) - {-1} == set(range(len(kept.values)))


def test_codes_of_a_column_in_pieces() -> None:
    pieces = [pl.Series(["b", "a"]), pl.Series([None, "c", "a"]), pl.Series(["c", "b"])]
    column = pl.concat(pieces, rechunk=False)
    assert column.n_chunks() == 3
    assert code_text(column).to_series().to_list() == ["b", "a", None, "c", "a", "c", "b"]
