"""How the first stage reads a raw log, without gate, shards and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from seqmarket.data.chunk import Chunk
from seqmarket.data.parsing import UTC_TIME
from seqmarket.data.reading import RawPart, read_chunks
from seqmarket.data.validation import (
    Converted,
    Converter,
    offence,
    quarantined_rows,
    reason_text,
)


class ReadRows(NamedTuple):
    """The good rows in the order of the log; part, row and reason of the others; these as found."""

    frame: pl.DataFrame
    broken: list[tuple[int, int, str]]
    aside: pl.DataFrame


@pytest.fixture
def read_rows() -> Callable[..., ReadRows]:
    return _read_rows


def _read_rows(
    parts: Sequence[RawPart],
    converter: Converter,
    *,
    policy: str = "error",
    chunk_rows: int = 1 << 18,
    convert: Callable[..., Converted] = Converter.convert,
) -> ReadRows:
    found = _stage(parts, converter, chunk_rows, convert)
    zoned = sum(converted.with_offset for *_, converted in found)
    bare = sum(converted.without_offset for *_, converted in found)
    if zoned and bare:
        converter = replace(converter, zoned_is_broken=zoned < bare)
        found = _stage(parts, converter, chunk_rows, convert)
    broken = [
        (index, row, rule)
        for index, *_, converted in found
        for row, rule in converted.broken.iter_rows()
    ]
    if broken and policy == "error":
        index, row, rule = broken[0]
        raise offence(parts[index], row, rule, len(broken) - 1, converter.names)
    aside = [
        quarantined_rows(parts[index], first, raw, converted.broken, converter.names)
        for index, first, raw, converted in found
    ]
    return ReadRows(
        pl.concat(_table(converted.chunk) for *_, converted in found),
        [(index, row, reason_text(rule, converter.names)) for index, row, rule in broken],
        pl.concat(aside, how="diagonal"),
    )


def _stage(
    parts: Sequence[RawPart],
    converter: Converter,
    chunk_rows: int,
    convert: Callable[..., Converted],
) -> list[tuple[int, int, pl.DataFrame, Converted]]:
    return [
        (index, first, raw, convert(converter, part, first, raw, part.flaws()))
        for index, part in enumerate(parts)
        for first, raw in read_chunks(part, chunk_rows)
    ]


def _table(chunk: Chunk) -> pl.DataFrame:
    assert (np.diff(chunk.row) > 0).all()
    for text in chunk.texts.values():
        assert text.code.dtype == np.int32
        assert set(text.code.tolist()) - {-1} == set(range(len(text.values)))
        assert text.values.n_unique() == len(text.values)
    for number in chunk.numbers.values():
        assert number.dtype == np.float64
        assert not np.isinf(number).any()
    columns = {
        "time": pl.Series(chunk.time, dtype=pl.Int64).cast(UTC_TIME),
        **{name: text.to_series() for name, text in chunk.texts.items()},
        **{name: pl.Series(number).fill_nan(None) for name, number in chunk.numbers.items()},
    }
    lengths = {len(column) for column in columns.values()}
    assert lengths == {len(chunk)}
    first = ("customer_id", "time", "channel", "event_type", "value", "cost")
    return pl.DataFrame(columns).select(*first, pl.exclude(first))
