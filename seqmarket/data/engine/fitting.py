"""Stage 3: what is fitted on the training period, from counts and sorted values of each shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.engine.shard_file import ShardColumns
from seqmarket.data.ranked import SortedPiece, SortedPieces
from seqmarket.data.settings import EncodingSettings
from seqmarket.data.shard import ORDER, POSITION, Lexicon, Shard
from seqmarket.data.vocabulary import fit_categories, fit_scaling
from seqmarket.schema import MICROSECONDS_PER_DAY, CategoricalFeature, NumericFeature, SequenceSpec

_GAP = "gap between events"


@dataclass(frozen=True)
class TrainingCounts:
    """What some shards hold of the training period; additive.

    Attributes:
        events: Number of events.
        codes: Column -> (texts,) how often each occurs.
        missing: Numeric column -> number of nulls.
        sorted: Numeric column -> the other values of each shard.
    """

    events: int
    codes: Mapping[str, NDArray[np.int64]]
    missing: Mapping[str, int]
    sorted: Mapping[str, tuple[SortedPiece, ...]]

    def merge(self, other: TrainingCounts) -> TrainingCounts:
        """The counts of both, shard by shard: those of all would take a lot of memory."""
        return TrainingCounts(
            self.events + other.events,
            {name: codes + other.codes[name] for name, codes in self.codes.items()},
            {name: count + other.missing[name] for name, count in self.missing.items()},
            {name: where + other.sorted[name] for name, where in self.sorted.items()},
        )


def count_training(
    shard: Shard,
    lexicon: Lexicon,
    train_end: int,
    taking_part: NDArray[np.bool_] | None,
    folder: Path,
    first_event: int,
) -> TrainingCounts:
    """Counts the events before `train_end` of the customers of the training fold.

    Args:
        shard: The shard.
        lexicon: Of the log.
        train_end: Exclusive, microseconds.
        taking_part: (c,) who is in the training fold; None: everyone.
        folder: Where the sorted values go.
        first_event: Number of events in the shards before: its place in the files.
    """
    inside = shard.time < train_end
    if taking_part is not None:
        inside &= taking_part[shard.customer]
    # Who comes later is not known yet: features of customers are those of whom training shows.
    known = shard.time[shard.offsets[:-1]] < train_end
    if taking_part is not None:
        known &= taking_part
    numbers = {name: column[inside] for name, column in shard.numbers.items()}
    numbers |= {name: column[known] for name, column in shard.static_numbers.items()}
    numbers[_GAP] = _gaps(shard, inside)
    codes = {name: column[inside] for name, column in shard.codes.items()}
    codes |= {name: column[known] for name, column in shard.static_codes.items()}
    found, missing = {}, {}
    for index, (column, values) in enumerate(numbers.items()):
        # NaN are sorted to the end.
        ascending = np.sort(values)
        n = int(np.searchsorted(ascending, np.nan))
        missing[column] = len(values) - n
        piece = SortedPiece.write(folder / f"{index}.f64", first_event, ascending[:n])
        found[column] = (piece,)
    return TrainingCounts(
        int(np.count_nonzero(inside)),
        {
            column: np.bincount(values + 1, minlength=len(lexicon[column]) + 1)[1:]
            for column, values in codes.items()
        },
        missing,
        found,
    )


def _gaps(shard: Shard, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Times between a customer's consecutive events, in microseconds; simultaneous ones left out.

    Exact in float64: a gap of less than 285 years has no more than 53 bits.
    """
    gap = np.diff(shard.time)
    gap[shard.offsets[1:-1] - 1] = 0
    return gap[inside[1:] & (gap > 0)].astype(np.float64)


def fit_spec(
    counts: TrainingCounts,
    lexicon: Lexicon,
    columns: ShardColumns,
    purchase_event_types: tuple[str, ...],
    settings: EncodingSettings,
) -> SequenceSpec:
    """Fits vocabularies and scalings on the training period of the training customers."""

    def categories(names: Sequence[str]) -> Iterator[CategoricalFeature]:
        for name in names:
            yield fit_categories(name, lexicon[name], counts.codes[name], settings)

    @cache
    def values(name: str) -> SortedPieces:
        return SortedPieces(counts.sorted[name])

    def scaling(name: str) -> NumericFeature:
        return fit_scaling(name, values(name), counts.missing[name])

    channel, event_type, *categorical = categories(columns.codes)
    # `cost` is an input only where training has any; `value` always is, so that it has a place.
    numeric = [
        name
        for name in columns.numbers
        if name not in (ORDER, POSITION) and (name != "cost" or len(values(name)) > 0)
    ]
    gaps = values(_GAP)
    low, high, weight = gaps.around(0.5) if len(gaps) else (MICROSECONDS_PER_DAY,) * 2 + (0.0,)
    return SequenceSpec(
        channel=channel,
        event_type=event_type,
        categorical=tuple(categorical),
        numeric=tuple(map(scaling, numeric)),
        static_categorical=tuple(categories(columns.static_codes)),
        static_numeric=tuple(map(scaling, columns.static_numbers)),
        purchase_event_types=purchase_event_types,
        max_length=settings.max_length,
        time_scale=float(np.quantile([low, high], weight)) / MICROSECONDS_PER_DAY,
    )
