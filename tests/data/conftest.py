"""Small logs, and how the first stage reads one, without gate, shards and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from seqmarket.data.chunk import Chunk
from seqmarket.data.chunked import read_chunks
from seqmarket.data.labels import Neighbours
from seqmarket.data.parsing import UTC_TIME
from seqmarket.data.ranked import SortedPiece, SortedPieces
from seqmarket.data.reading import RawPart
from seqmarket.data.sources.files import FileSource
from seqmarket.data.splits import Period, Split
from seqmarket.data.validation import (
    Converted,
    Converter,
    offence,
    quarantined_rows,
    reason_text,
)
from seqmarket.schema import CategoricalFeature, EventArrays, NumericFeature, SequenceSpec

SECRET = "customer-4711"
"""In every good row, and in no message."""

CSV = """\
customer_id,time,channel,event_type,value,cost
007,2024-01-01T10:00:00,web,visit,,0.5
7,2024-01-02T10:00:00,web,purchase,19.90,
007,2024-01-03T10:00:00,mail,purchase,5,
"""


Journeys = list[list[tuple[int, int, bool]]]
"""Per customer: (time, channel id, purchase)."""


class SmallLog:
    """Journeys of a few events in the 130 microseconds of a split, and what they are encoded with.

    Attributes:
        split: Training until 60, validation until 90.
        spec: Four channels, two types of events.
    """

    split = Split(
        periods={"train": Period(0, 60), "validation": Period(60, 90), "test": Period(90, 130)},
        customer_fold=None,
        warm_up=10,
        cutoff_every=7,
    )
    spec = SequenceSpec(
        channel=CategoricalFeature("channel", ("mail", "shop", "web", "app")),
        event_type=CategoricalFeature("event_type", ("purchase", "touch")),
        categorical=(),
        numeric=(NumericFeature("value", 0.0, 1.0, has_missing=False),),
        static_categorical=(),
        static_numeric=(),
        purchase_event_types=("purchase",),
        max_length=32,
        time_scale=1.0,
    )

    def events(self, journeys: Journeys) -> EventArrays:
        """Times are in microseconds; the value of an event follows from its place in the log."""
        flat = [event for journey in journeys for event in journey]
        n, c = len(flat), len(journeys)
        return EventArrays(
            offsets=np.cumsum([0, *map(len, journeys)]).astype(np.int64),
            time=np.array([t for t, _, _ in flat], dtype=np.int64),
            channel=np.array([k for _, k, _ in flat], dtype=np.int32),
            event_type=np.array([2 if p else 3 for _, _, p in flat], dtype=np.int32),
            purchase=np.array([p for _, _, p in flat], dtype=np.bool_),
            value=np.array([self.value(place) for place in range(n)], dtype=np.float32),
            categorical=np.zeros((n, 0), dtype=np.int32),
            features=np.zeros((n, 1), dtype=np.float32),
            static_categorical=np.zeros((c, 0), dtype=np.int32),
            static_features=np.zeros((c, 0), dtype=np.float32),
        )

    def near(self, journeys: Journeys) -> Neighbours:
        """What is around each event."""
        return Neighbours(self.events(journeys), self.spec)

    def busy(self) -> EventArrays:
        """Many journeys through all periods, with events at the same time."""
        rng = np.random.default_rng(0)
        journeys: Journeys = []
        for _ in range(40):
            times = np.sort(rng.integers(0, 130, 12))
            journeys.append(
                [(int(t), int(rng.integers(2, 6)), bool(rng.random() < 0.4)) for t in times]
            )
        return self.events(journeys)

    @staticmethod
    def value(place: int) -> float:
        """The value of the event at a place of the log."""
        return place % 7 * 1.25


@pytest.fixture(scope="session")
def small() -> SmallLog:
    return SmallLog()


@pytest.fixture(scope="session")
def raw() -> Callable[..., pl.DataFrame]:
    """Makes a log of n good rows, as text, with some columns replaced."""

    def make(n: int = 4, **columns: Sequence[object]) -> pl.DataFrame:
        good: dict[str, Sequence[object]] = {
            "customer_id": [SECRET] * n,
            "time": [f"2024-01-{day + 1:02d} 10:00:00" for day in range(n)],
            "channel": ["web"] * n,
            "event_type": ["purchase"] * n,
            "value": ["1.5"] * n,
            "cost": ["0"] * n,
        }
        return pl.DataFrame(good | columns, strict=False)

    return make


@pytest.fixture(scope="session")
def csv_text() -> str:
    """A small log without a flaw."""
    return CSV


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Writes a file, by default the small log."""

    def write_file(path: Path, text: str = CSV) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture(scope="session")
def source() -> Callable[..., FileSource]:
    """The source of a path, with options."""
    return lambda path, **options: FileSource.model_validate({"path": str(path), **options})


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


@pytest.fixture
def sorted_pieces(tmp_path: Path) -> Callable[[Sequence[NDArray[np.float64]]], SortedPieces]:
    """Writes arrays, sorted, one behind the other into one file."""

    def divided(arrays: Sequence[NDArray[np.float64]]) -> SortedPieces:
        first = np.cumsum([0, *map(len, arrays)]).tolist()
        pieces = zip(first, arrays, strict=False)
        return SortedPieces(
            [SortedPiece.write(tmp_path / "values", at, np.sort(a)) for at, a in pieces]
        )

    return divided
