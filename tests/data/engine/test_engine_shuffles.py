"""One digest, whatever the order of rows, the files, the chunks, the threads and the shards."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from seqmarket.data import delimited
from seqmarket.data.engine import arrange, build, fitting, read
from seqmarket.data.engine.order import order_content
from seqmarket.data.engine.scatter import Scattered, scatter
from seqmarket.data.ranked import SortedPieces
from seqmarket.data.vocabulary import fit_scaling, signed_log1p
from seqmarket.schema import NumericFeature

THREADS, SHARDS = (1, 2, 4), (1, 3, 8)
FILES = 4


@pytest.fixture
def digest_of(
    journal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, int, int], str]:
    """The digest of a log of 2,000 rows, shuffled and divided anew, in chunks of 150 rows."""
    rows = journal.rows(7, 2_000, customers=40, days=60, moments=60, changing=True)
    assert len({tuple(row.items()) for row in rows}) < 1_900  # rows repeat others
    assert len({(row["customer_id"], row["time"]) for row in rows}) < 1_500  # or tie with them
    monkeypatch.setattr(build, "chunk_rows", lambda *_: 150)
    monkeypatch.setattr(delimited, "_BLOCK", 4_096)

    def digest(shuffle: int, threads: int, shards: int) -> str:
        rng = random.Random(shuffle)
        place = tmp_path / f"{shuffle}-{threads}-{shards}"
        shuffled = rng.sample(rows, len(rows))
        bounds = sorted([0, len(rows), *(rng.randrange(len(rows)) for _ in range(FILES - 1))])
        pieces = [shuffled[i:j] for i, j in pairwise(bounds)]
        journal.write(place / "log", pieces, rng.choice(["csv", "parquet", "arrow"]))
        source = journal.source(place / "log")
        store = journal.prepare(source, place / "cache", threads=threads, shards=shards)
        return str(store.fingerprint)

    return digest


def test_twenty_shuffles(digest_of: Callable[..., str]) -> None:
    ways = list(product(THREADS, SHARDS))
    digests = {digest_of(shuffle, *ways[shuffle % len(ways)]) for shuffle in range(20)}
    assert len(digests) == 1


@pytest.mark.slow
def test_twenty_shuffles_in_every_way(digest_of: Callable[..., str]) -> None:
    assert len({digest_of(*way) for way in product(range(20), THREADS, SHARDS)}) == 1


def test_chunks_and_shards_are_as_many_as_that(
    digest_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def watched(chunk: Any, gate: Any, n_shards: int, path: Path) -> Scattered:
        seen.append((len(chunk), n_shards))
        return scatter(chunk, gate, n_shards, path)

    monkeypatch.setattr(read, "scatter", watched)
    for shuffle in range(6):  # of every format
        digest_of(shuffle, 2, 8)
    sizes = [size for size, _ in seen]
    assert sum(sizes) == 6 * 2_000
    assert max(sizes) <= 150
    assert len(sizes) >= 6 * 2_000 / 150
    assert {n_shards for _, n_shards in seen} == {8}


def as_they_come(*arguments: Any, **options: Any) -> Any:
    """Ties are not put in order, only their repetitions found."""
    place, repeats = order_content(*arguments, **options)
    return place[np.argsort(place)], repeats[np.argsort(place)]


def without_order(customer: Any, time: Any, content: Any, *_: Any, **options: Any) -> Any:
    """Repetitions are found by the channel alone."""
    return order_content(customer, time, {"channel": content["channel"]}, None, **options)


def as_in_runs(texts: Mapping[str, pl.Series], *_: Any) -> dict[str, NDArray[np.int32]]:
    """Codes stay those of the order in which texts appear."""
    return {name: np.array([*range(len(own)), -1], np.int32) for name, own in texts.items()}


def by_moments(name: str, training: SortedPieces, n_missing: int) -> NumericFeature:
    """Mean and standard deviation, from the sums of each shard."""
    fitted = fit_scaling(name, training, n_missing)
    pieces = [signed_log1p(piece.read(0, piece.count)) for piece in training._pieces]
    mean = sum(float(piece.sum()) for piece in pieces) / max(len(training), 1)
    squares = sum(float((piece**2).sum()) for piece in pieces) / max(len(training), 1)
    return replace(fitted, center=mean, scale=float(np.sqrt(squares - mean**2)) or 1.0)


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (arrange, "order_content", as_they_come),
        (arrange, "order_content", without_order),
        (build, "_recoding", as_in_runs),
        (fitting, "fit_scaling", by_moments),
    ],
    ids=["no order of ties", "repeats by channel", "codes of runs", "sums of floats"],
)
def test_mutant_has_several_digests(
    module: Any,
    name: str,
    broken: Any,
    digest_of: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, broken)
    assert len({digest_of(shuffle, 1, SHARDS[shuffle % 3]) for shuffle in range(4)}) > 1
