"""The whole engine against a few lines of plain Python, over generated logs: no difference."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqmarket.data import vocabulary
from seqmarket.data.engine import arrange, build, fitting, hashing
from seqmarket.data.engine.order import order_content
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.shard import Shard
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError

Row = dict[str, Any]
DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Case:
    """A log, how it is written, how it is read, and what it is read with."""

    seed: int
    n: int
    customers: int
    days: float
    start: int
    changing: bool
    negative: bool
    duplicates: str
    order: str
    kind: str
    fractions: tuple[float, float]
    dated: bool
    min_count: int
    max_categories: int
    suffix: str
    files: int
    chunk: int
    shards: int
    threads: int


cases = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    n=st.integers(1, 70),
    customers=st.integers(1, 12),
    days=st.sampled_from([0.5, 9.0, 30.0, 400.0]),
    start=st.sampled_from([0, -3 * DAY, -25_000 * DAY + 11, 19_000 * DAY]),
    changing=st.booleans(),
    negative=st.booleans(),
    duplicates=st.sampled_from(["drop", "keep"]),
    order=st.sampled_from(["content", "position", "declared"]),
    kind=st.sampled_from(["time", "time_and_customer", "cohort"]),
    fractions=st.sampled_from([(0.65, 0.15), (0.3, 0.3), (0.9, 0.05)]),
    dated=st.booleans(),
    min_count=st.integers(1, 3),
    max_categories=st.sampled_from([1, 3, 10_000]),
    suffix=st.sampled_from(["csv", "parquet", "arrow"]),
    files=st.integers(1, 4),
    chunk=st.integers(1, 9),
    shards=st.integers(1, 5),
    threads=st.integers(1, 3),
)


def check(plain: Any, wanted: Any, n_rows: int, store: SequenceStore) -> None:
    """Compares everything that is in a store."""
    spec, arrays, report = store.spec, store.events, store.report
    firsts = [journey[0] for journey in wanted.journeys]
    events = [row for journey in wanted.journeys for row in journey]
    assert (report["rows_in"], report["kept"]) == (n_rows, len(events))
    assert report["duplicates"] == wanted.repeats
    assert store.observed_until == wanted.end
    assert [(p.start, p.end) for p in store.split.periods.values()] == wanted.periods
    folds = store.split.customer_fold
    assert wanted.folds == (None if folds is None else folds.tolist())

    fitted = (spec.channel, spec.event_type, *spec.categorical, *spec.static_categorical)
    assert {f.name: f.categories for f in fitted} == wanted.vocabularies
    scalings = [*wanted.scalings, wanted.age]
    for feature, (name, center, scale, missing) in zip(
        (*spec.numeric, *spec.static_numeric), scalings, strict=True
    ):
        assert (feature.name, feature.has_missing) == (name, missing)
        assert math.isclose(feature.center, center, rel_tol=1e-12)
        assert math.isclose(feature.scale, scale, rel_tol=1e-12)
    assert spec.time_scale == wanted.time_scale

    def ids(name: str, table: list[Row]) -> list[int]:
        known = {text: i for i, text in enumerate(wanted.vocabularies[name], start=2)}
        return [known.get(row[name], 1) for row in table]

    assert store.customer_ids().to_list() == [row["customer_id"] for row in firsts]
    assert np.diff(arrays.offsets).tolist() == [len(journey) for journey in wanted.journeys]
    assert arrays.offsets[0] == 0
    assert arrays.time.tolist() == [row["time"] for row in events]
    assert arrays.channel.tolist() == ids("channel", events)
    assert arrays.event_type.tolist() == ids("event_type", events)
    assert arrays.categorical.tolist() == [[i] for i in ids("campaign", events)]
    assert arrays.purchase.tolist() == [row["event_type"] == "purchase" for row in events]
    values = [min(max(row["value"] or 0.0, -LARGEST), LARGEST) for row in events]
    assert arrays.value.tolist() == np.array(values, dtype=np.float32).tolist()
    assert arrays.static_categorical.tolist() == [[i] for i in ids("segment", firsts)]
    check_inputs(plain, arrays.features, wanted.scalings, events)
    check_inputs(plain, arrays.static_features, [wanted.age], firsts)


def check_inputs(
    plain: Any,
    inputs: NDArray[np.float32],
    fitted: list[tuple[str, float, float, bool]],
    table: list[Row],
) -> None:
    flags = [name for name, *_, missing in fitted if missing]
    assert inputs.shape == (len(table), len(fitted) + len(flags))
    for index, (name, center, scale, _) in enumerate(fitted):
        for got, row in zip(inputs[:, index].tolist(), table, strict=True):
            x = center if row[name] is None else plain.signed_log1p(row[name])
            # What the last digit of a logarithm comes to.
            slack = 4 * math.ulp(max(abs(x), abs(center))) / scale
            assert math.isclose(got, (x - center) / scale, rel_tol=1e-6, abs_tol=slack + 1e-30)
    for index, name in enumerate(flags, start=len(fitted)):
        assert inputs[:, index].tolist() == [float(row[name] is None) for row in table]


def settings_of(case: Case, rows: list[Row]) -> tuple[SplitSettings, dict[str, Any]]:
    dates: dict[str, datetime] = {}
    if case.dated:
        times = sorted(row["time"] for row in rows)
        for name, share in (("train_end", 0.5), ("validation_end", 0.8)):
            dates[name] = EPOCH + timedelta(microseconds=times[int(len(times) * share)])
    train, validation = case.fractions
    split = {"kind": case.kind, "train_fraction": train, "validation_fraction": validation}
    order = {"declared": {"columns": {"order": "rank"}}, "position": {"ties": "position"}}
    options = {"allow_negative_value": case.negative, **order.get(case.order, {})}
    return SplitSettings.model_validate(split | dates), options


def compare(case: Case, journal: Any, plain: Any, folder: Path) -> bool:
    """Encodes the log of a case and compares; returns whether there is a store."""
    rng = random.Random(case.seed)
    rows = journal.rows(
        case.seed,
        case.n,
        customers=case.customers,
        days=case.days,
        start=case.start,
        changing=case.changing,
        negative=case.negative,
    )
    bounds = sorted([0, len(rows), *(rng.randrange(len(rows) + 1) for _ in range(case.files - 1))])
    pieces = [rows[i:j] for i, j in pairwise(bounds)]
    journal.write(folder / "log", pieces, case.suffix)
    split, options = settings_of(case, rows)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build, "chunk_rows", lambda *_: case.chunk)
        try:
            wanted = plain.plainly(rows, case, split)
        except plain.RefusedError:
            wanted = None
        prepare = partial(
            journal.prepare,
            journal.source(folder / "log", **options),
            folder / "cache",
            settings=LogSettings.model_validate({"validation": {"duplicates": case.duplicates}}),
            split=split,
            encoding=EncodingSettings(
                max_length=4, min_count=case.min_count, max_categories=case.max_categories
            ),
            shards=case.shards,
            threads=case.threads,
        )
        if wanted is None:
            with pytest.raises(SeqmarketError, match=r"data\.split"):
                prepare()
        else:
            check(plain, wanted, len(rows), prepare())
    return wanted is not None


@pytest.fixture
def agree(journal: Any, plain: Any, tmp_path: Path) -> Callable[..., int]:
    """Compares so many generated logs; returns how many gave a store."""

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
                stores.append(compare(case, journal, plain, Path(folder)))

        every()
        return sum(stores)

    return run


def test_sixty_logs(agree: Callable[..., int]) -> None:
    assert agree(60) > 30


@pytest.mark.slow
def test_five_hundred_logs(agree: Callable[..., int]) -> None:
    assert agree(500) > 250


def as_in_runs(texts: Mapping[str, pl.Series], *_: Any) -> dict[str, NDArray[np.int32]]:
    """Codes stay those of the order in which texts appear."""
    return {name: np.array([*range(len(own)), -1], np.int32) for name, own in texts.items()}


def as_they_come(*arguments: Any, **options: Any) -> Any:
    """Ties are left as they are."""
    place, repeats = order_content(*arguments, **options)
    return np.arange(len(place)), repeats


def with_ties(shard: Shard, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Gaps of nothing count."""
    gap = np.diff(shard.time)
    gap[shard.offsets[1:-1] - 1] = -1
    return gap[inside[1:] & (gap >= 0)].astype(np.float64)


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (build, "_recoding", as_in_runs),
        (arrange, "order_content", as_they_come),
        (hashing, "_SEED", np.uint64(1)),
        (vocabulary, "signed_log1p", np.arcsinh),
        (fitting, "_gaps", with_ties),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_mutant_is_noticed(
    module: Any, name: str, broken: Any, agree: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        agree(40, Phase.generate)
