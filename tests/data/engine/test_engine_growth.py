"""A log that grows is added to, and gives what reading all of it gives, to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seqmarket.data import store_writing as store_module
from seqmarket.data.engine import shard_stage
from seqmarket.data.engine.fitting import fit_spec
from seqmarket.data.engine.splice import as_piece
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import SplitSettings
from seqmarket.data.shard import Shard
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import SequenceSpec

CLEANING = {
    "none": [],
    "bots": [
        {"rule": "merge_spellings", "column": "channel", "normalise": True},
        {"rule": "drop_bots", "total": 25},
        {"rule": "cap", "column": "value", "at": 10.0},
    ],
    "repeats": [
        {"rule": "deduplicate", "within": "1d"},
        {"rule": "cap_rate", "events_per_day": 2},
        {"rule": "drop_where", "column": "campaign", "values": ["z"]},
    ],
}
SPLITS: dict[str, dict[str, Any]] = {
    "shares": {},
    "dates": {"train_end": "1970-01-20", "validation_end": "1970-01-25"},
    "folds": {"kind": "time_and_customer", "train_end": "1970-01-20"},
    "cohort": {"kind": "cohort"},
}


@dataclass(frozen=True)
class Case:
    """A log that comes in files, one after the other, and how it is read."""

    seed: int
    n: int
    customers: int
    files: int
    by_time: bool
    order: str
    cleaning: str
    split: str
    policy: str
    duplicates: str
    identity: bool
    shards: int
    threads: int
    suffix: str


cases = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    n=st.integers(40, 120),
    customers=st.integers(2, 16),
    files=st.integers(2, 4),
    by_time=st.booleans(),
    order=st.sampled_from(["content", "position", "declared"]),
    cleaning=st.sampled_from(list(CLEANING)),
    split=st.sampled_from(list(SPLITS)),
    policy=st.sampled_from(["quarantine", "drop"]),
    duplicates=st.sampled_from(["drop", "keep"]),
    identity=st.booleans(),
    shards=st.integers(1, 4),
    threads=st.integers(1, 2),
    suffix=st.sampled_from(["csv", "parquet"]),
)


def arriving(case: Case, journal: Any) -> list[list[dict[str, Any]]]:
    """The rows of each file; some break a rule, and customers have one set of features."""
    rng = random.Random(case.seed)
    rows = journal.rows(case.seed, case.n, customers=case.customers, days=30, negative=True)
    if case.by_time:
        rows.sort(key=lambda row: row["time"])
    mapping = identities(case, rows)
    features: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        who = mapping.get(row["customer_id"], row["customer_id"])
        own = (row["segment"], row["age"])
        row["segment"], row["age"] = features.setdefault(who, own)
    inner = [rng.randrange(len(rows) // 4, len(rows)) for _ in range(case.files - 1)]
    return [rows[i:j] for i, j in pairwise(sorted([0, len(rows), *inner]))]


def identities(case: Case, rows: list[dict[str, Any]]) -> dict[str, str]:
    ids = sorted({row["customer_id"] for row in rows})
    return dict(zip(ids[::3], ids[1::3], strict=False)) if case.identity else {}


def preparing(case: Case, journal: Any, folder: Path) -> Callable[..., SequenceStore]:
    """Prepares what is in the folder `log`, in a cache."""
    options: dict[str, Any] = {"cleaning": CLEANING[case.cleaning]}
    options["validation"] = {"policy": case.policy, "duplicates": case.duplicates}
    if case.identity:
        rows = [row for piece in arriving(case, journal) for row in piece]
        pairs = identities(case, rows).items()
        lines = [f'"{a}","{b}"'.replace('O"', 'O""') for a, b in pairs]
        (folder / "who.csv").write_text("\n".join(["identifier,customer_id", *lines]))
        options["identity"] = {"path": str(folder / "who.csv")}
    order = {"declared": {"columns": {"order": "rank"}}, "position": {"ties": "position"}}
    return partial(
        journal.prepare,
        journal.source(folder / "log", **order.get(case.order, {})),
        settings=LogSettings.model_validate(options),
        split=SplitSettings.model_validate(SPLITS[case.split]),
        shards=case.shards,
        threads=case.threads,
    )


def outcome(journal: Any, prepare: Callable[..., SequenceStore], cache: Path) -> Any:
    """What is in the store, or why there is none."""
    try:
        return journal.content(prepare(cache))
    except SeqmarketError as refusal:
        return str(refusal)


def compare(case: Case, journal: Any, folder: Path) -> bool:
    """Adds one file after the other; returns whether there was a store every time."""
    prepare = preparing(case, journal, folder)
    grown: list[Any] = []
    for index, rows in enumerate(arriving(case, journal)):
        journal.write(folder / "log", [rows], case.suffix)
        with journal.watched() as work:
            grown.append(outcome(journal, prepare, folder / "cache"))
        if not any(isinstance(before, str) for before in grown[:-1]):
            assert work.parts == [index]  # what is known already is not read again
    assert grown[-1] == outcome(journal, prepare, folder / "other")
    return not any(isinstance(before, str) for before in grown)


@pytest.fixture
def agree(journal: Any, tmp_path: Path) -> Callable[..., int]:
    """Lets so many logs grow; returns how many gave a store every time."""

    def run(examples: int, *phases: Phase) -> int:
        stores: list[bool] = []

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=phases or tuple(Phase),
        )
        @given(cases)
        def every(case: Case) -> None:
            with TemporaryDirectory(dir=tmp_path) as folder:
                stores.append(compare(case, journal, Path(folder)))

        every()
        return sum(stores)

    return run


def test_twenty_logs_grow(agree: Callable[..., int]) -> None:
    assert agree(20) >= 12


@pytest.mark.slow
def test_two_hundred_logs_grow(agree: Callable[..., int]) -> None:
    assert agree(200) >= 120


def test_mutant_forgets_what_customers_did_before(
    agree: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_old(shard: Shard, which: Any, statics: Any) -> Any:
        return as_piece(shard, np.zeros_like(which), statics)

    monkeypatch.setattr(shard_stage, "as_piece", nothing_old)
    with pytest.raises(AssertionError):
        agree(20, Phase.generate)


def test_mutant_keeps_the_first_vocabulary(
    agree: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first: dict[str, SequenceSpec] = {}

    def fitted_once(counts: Any, *rest: Any) -> SequenceSpec:
        cache = counts.sorted["value"][0].path.parents[3]
        return first.setdefault(str(cache), fit_spec(counts, *rest))

    monkeypatch.setattr(store_module, "fit_spec", fitted_once)
    with pytest.raises(AssertionError):
        agree(20, Phase.generate)
