"""What is counted of the rows as read does not depend on how they are divided into chunks."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqmarket.data.chunk import Chunk, Text
from seqmarket.data.quality.columns import ColumnStats, IdentifierPatterns

IDS = ["a@shop.example", "c1", "+49 170 1234567", "c1", "a@shop.example", "c2", "c3"]


def chunk(rows: slice) -> Chunk:
    def text(values: list[str | None]) -> Text:
        distinct = sorted({value for value in values[rows] if value is not None})
        codes = [-1 if v is None else distinct.index(v) for v in values[rows]]
        return Text(np.array(codes, dtype=np.int32), pl.Series(distinct, dtype=pl.String))

    number = np.array([3.0, np.nan, -1.0, 7.5, np.nan, np.nan, 2.0])
    n = len(number[rows])
    return Chunk(
        np.arange(n),
        np.zeros(n, dtype=np.int64),
        {"customer_id": text(IDS), "device": text(["x", None, "y", None, None, "x", "z"])},
        {"value": number[rows], "cost": np.full(n, np.nan)},
    )


def total(edges: list[int]) -> tuple[ColumnStats, IdentifierPatterns]:
    chunks = [chunk(slice(a, b)) for a, b in zip(edges, [*edges[1:], 7], strict=True)]
    return (
        reduce(ColumnStats.merge, map(ColumnStats.of, chunks)),
        reduce(
            IdentifierPatterns.merge,
            (IdentifierPatterns.of(piece.texts["customer_id"]) for piece in chunks),
        ),
    )


def test_columns(plain: Callable[[Any], Any]) -> None:
    columns = plain(total([0])[0])["columns"]
    assert columns["value"] == {"rows": 7, "nulls": 3, "low": -1.0, "high": 7.5}
    assert columns["cost"] == {"rows": 7, "nulls": 7, "low": None, "high": None}
    assert columns["device"] == {"rows": 7, "nulls": 3, "low": None, "high": None}


@pytest.mark.parametrize("edges", [[0, 1], [0, 4, 5], [0, 1, 2, 3, 4, 5, 6]])
def test_chunks_add_up(edges: list[int]) -> None:
    assert total(edges) == total([0])


def test_the_check_sees_what_depends_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = IdentifierPatterns.of

    def distinct_only(identifiers: Text) -> IdentifierPatterns:
        n = len(identifiers.values)
        return whole(Text(np.arange(n, dtype=np.int32), identifiers.values))

    monkeypatch.setattr(IdentifierPatterns, "of", distinct_only)
    with pytest.raises(AssertionError):
        test_chunks_add_up([0, 4, 5])


def test_identifiers_count_by_rows() -> None:
    assert total([0])[1] == IdentifierPatterns(rows=7, emails=2, phones=1)


@pytest.mark.parametrize(
    "identifier",
    ["+4930123456", "+49 30 / 123456", "(212) 555-0123", "0170 1234567", "1-212-555-0123"],
)
def test_telephone_numbers(identifier: str) -> None:
    assert patterns([identifier]).phones == 1


@pytest.mark.parametrize(
    "identifier",
    ["12345678", "0012345678", "2024-01-01", "123-456", "00000-00001", "a@b", "@x.de", "c 0170",
     "123e4567-e89b-12d3-a456-426614174000"],
)  # fmt: skip
def test_what_is_neither(identifier: str) -> None:
    assert patterns([identifier]) == IdentifierPatterns(1, 0, 0)


def patterns(ids: list[str]) -> IdentifierPatterns:
    return IdentifierPatterns.of(Text(np.arange(len(ids), dtype=np.int32), pl.Series(ids)))
