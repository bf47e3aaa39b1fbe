"""Journeys of some customers put into the place of their old ones; the others are not touched."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.engine.arrange import Recoding, Statics
from seqmarket.data.engine.hashing import stable_hash
from seqmarket.data.engine.spool import RunShard
from seqmarket.data.shard import Shard
from seqmarket.data.texts import to_bytes
from seqmarket.schema import EventArrays


@dataclass(frozen=True)
class Splice:
    """Where the customers and events of a shard come from: from its old form, or from new ones.

    Attributes:
        customers: (c,) index into the old customers, then the new ones.
        events: (e,) the same for events.
        offsets: (c + 1,) int64.
    """

    customers: NDArray[np.int64]
    events: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def of_customers(self, old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
        """A column of customers."""
        return np.concatenate([old, new])[self.customers]

    def of_events(self, old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
        """A column of events."""
        return np.concatenate([old, new])[self.events]


def plan_splice(
    old_ids: pl.Series,
    old_offsets: NDArray[np.int64],
    new_ids: pl.Series,
    new_offsets: NDArray[np.int64],
    gone: NDArray[np.uint64],
) -> Splice:
    """Puts new journeys into the order of the hash among the old ones that they do not replace.

    Args:
        old_ids: Customers of the old form, in the order of their hash.
        old_offsets: Bounds of their events.
        new_ids: Customers with new journeys, in the order of their hash.
        new_offsets: Bounds of their events.
        gone: Hashes of the customers whose old journeys are left out; the new ones are among them.
    """
    old_hash, new_hash = stable_hash(old_ids), stable_hash(new_ids)
    stays = np.flatnonzero(~np.isin(old_hash, gone))
    source = np.concatenate([stays, len(old_ids) + np.arange(len(new_ids))])
    order = np.argsort(np.concatenate([old_hash[stays], new_hash]), kind="stable")
    customers = source[order]
    first = np.concatenate([old_offsets[:-1], old_offsets[-1] + new_offsets[:-1]])[customers]
    length = np.concatenate([np.diff(old_offsets), np.diff(new_offsets)])[customers]
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    events = np.repeat(first - offsets[:-1], length) + np.arange(offsets[-1])
    return Splice(customers, events, offsets)


def splice_shards(old: Shard, new: Shard, gone: NDArray[np.uint64]) -> Shard:
    """The shard of both, with codes into the same lexicon; see `plan_splice`."""
    splice = plan_splice(old.customer_id, old.offsets, new.customer_id, new.offsets, gone)
    return Shard(
        customer_id=pl.concat([old.customer_id, new.customer_id]).gather(splice.customers),
        offsets=splice.offsets,
        time=splice.of_events(old.time, new.time),
        codes={n: splice.of_events(old.codes[n], new.codes[n]) for n in old.codes},
        numbers={n: splice.of_events(old.numbers[n], new.numbers[n]) for n in old.numbers},
        static_codes={
            n: splice.of_customers(old.static_codes[n], new.static_codes[n])
            for n in old.static_codes
        },
        static_numbers={
            n: splice.of_customers(old.static_numbers[n], new.static_numbers[n])
            for n in old.static_numbers
        },
    )


def splice_arrays(old: EventArrays, new: EventArrays, splice: Splice) -> EventArrays:
    """The encoded shard of both, encoded with the same spec."""
    columns = {
        field.name: (splice.of_customers if field.name.startswith("static_") else splice.of_events)(
            getattr(old, field.name), getattr(new, field.name)
        )
        for field in fields(EventArrays)
        if field.name != "offsets"
    }
    return EventArrays(offsets=splice.offsets, **columns)


def as_piece(shard: Shard, which: NDArray[np.bool_], statics: Statics) -> RunShard:
    """The rows of some customers, as if they came from a run; codes stay as they are.

    Args:
        shard: The shard.
        which: (c,) the customers.
        statics: Features of customers that are columns of the events: every event gets them.
    """
    part = shard.keep(np.repeat(which, np.diff(shard.offsets)))
    owner = part.customer
    bounds, content = to_bytes(part.customer_id)
    return RunShard(
        hashes=stable_hash(part.customer_id),
        id_length=np.diff(bounds),
        id_content=content,
        customer=owner.astype(np.int32),
        time=part.time,
        codes={**part.codes, **{n: part.static_codes[n][owner] for n in statics.codes}},
        numbers={**part.numbers, **{n: part.static_numbers[n][owner] for n in statics.numbers}},
    )


def recode_shard(shard: Shard, recoding: Recoding) -> Shard:
    """The shard with codes into another lexicon."""
    return replace(
        shard,
        codes={name: recoding[name][codes] for name, codes in shard.codes.items()},
        static_codes={name: recoding[name][codes] for name, codes in shard.static_codes.items()},
    )
