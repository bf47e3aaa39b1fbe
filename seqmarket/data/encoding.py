"""From a shard to the arrays of a store: a fitted spec, applied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.shard import Lexicon, Shard
from seqmarket.data.vocabulary import category_ids, encode_numeric
from seqmarket.schema import CategoricalFeature, EventArrays, SequenceSpec

_LARGEST = float(np.finfo(np.float32).max)


def encode_shard(shard: Shard, lexicon: Lexicon, spec: SequenceSpec) -> EventArrays:
    """Encodes a shard with a fitted spec: that of its log, or of the log a model was trained on.

    Args:
        shard: The shard, with every column that the spec names.
        lexicon: Of the shard's log.
        spec: The fitted vocabularies and scalings.
    """

    def ids(feature: CategoricalFeature, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        return category_ids(feature, lexicon[feature.name])[codes]

    def table(
        features: Sequence[CategoricalFeature], rows: int, *, static: bool
    ) -> NDArray[np.int32]:
        columns = shard.static_codes if static else shard.codes
        encoded = np.empty((rows, len(features)), dtype=np.int32)
        for index, feature in enumerate(features):
            encoded[:, index] = ids(feature, columns[feature.name])
        return encoded

    purchases = [text in spec.purchase_event_types for text in lexicon["event_type"]]
    return EventArrays(
        offsets=shard.offsets,
        time=shard.time,
        channel=ids(spec.channel, shard.codes["channel"]),
        event_type=ids(spec.event_type, shard.codes["event_type"]),
        purchase=np.array([*purchases, False])[shard.codes["event_type"]],
        value=np.nan_to_num(np.clip(shard.numbers["value"], -_LARGEST, _LARGEST)).astype(
            np.float32
        ),
        categorical=table(spec.categorical, shard.n_events, static=False),
        features=encode_numeric(spec.numeric, shard.numbers, shard.n_events),
        static_categorical=table(spec.static_categorical, shard.n_customers, static=True),
        static_features=encode_numeric(
            spec.static_numeric, shard.static_numbers, shard.n_customers
        ),
    )
