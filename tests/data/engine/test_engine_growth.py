"""A log that grows is added to, and gives what reading all of it gives, to the bit."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seqmarket.data import store as store_module
from seqmarket.data.encoding import encode_shard
from seqmarket.data.engine import build, shard_stage
from seqmarket.data.engine.fitting import fit_spec
from seqmarket.data.engine.read import PartTask, read_part
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
EARLY = {"train_end": "1970-01-08", "validation_end": "1970-01-12"}


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


@dataclass
class Work:
    """What was done: the positions of the parts that were read, the events that were encoded."""

    parts: list[int] = field(default_factory=list)
    events: int = 0


@contextmanager
def watched() -> Iterator[Work]:
    work = Work()

    def reading(task: PartTask, *rest: Any) -> Any:
        work.parts.append(task.index)
        return read_part(task, *rest)

    def encoding(shard: Shard, *rest: Any) -> Any:
        work.events += shard.n_events
        return encode_shard(shard, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build, "read_part", reading)
        patched.setattr(store_module, "encode_shard", encoding)
        yield work


def content(store: SequenceStore) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Digest and report of a store, and the files of its log; the folder of a cache is left out."""
    report = dict(store.report)
    aside = report["quarantine_path"]
    origin = json.loads((store.path / "origin.json").read_text())
    log = store.path.parent.parent / "logs" / origin["log"]
    files = json.loads((log / "manifest.json").read_text())["files"]
    report["quarantine_path"] = None if aside is None else Path(aside).name
    return store.fingerprint, report, {k: v for k, v in files.items() if k != "report.json"}


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


def compare(case: Case, journal: Any, folder: Path) -> bool:
    """Adds one file after the other; returns whether there was a store every time."""
    prepare = preparing(case, journal, folder)
    complete = True
    pieces = arriving(case, journal)
    for index, rows in enumerate(pieces):
        journal.write(folder / "log", [rows], case.suffix)
        with watched() as work:
            try:
                grown = prepare(folder / "cache")
            except SeqmarketError:
                assert index < len(pieces) - 1 or not complete
                complete = False
        if complete:
            assert work.parts == [index]  # what is known already is not read again
    if complete:
        assert content(grown) == content(prepare(folder / "other"))
    return complete


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
        cache = counts[0].sorted["value"].parents[3]
        return first.setdefault(str(cache), fit_spec(counts, *rest))

    monkeypatch.setattr(store_module, "fit_spec", fitted_once)
    with pytest.raises(AssertionError):
        agree(20, Phase.generate)


@pytest.fixture
def grow(journal: Any, tmp_path: Path) -> Callable[..., Work]:
    """Adds a file to a log, and says what was done; the store is compared with that of it all."""

    def run(
        first: list[dict[str, Any]],
        then: list[dict[str, Any]],
        *,
        options: dict[str, Any] | None = None,
        between: Callable[[Path], None] = lambda _: None,
        after: dict[str, Any] | None = None,
        **source: Any,
    ) -> Work:
        def prepare(cache: str, settings: dict[str, Any] | None) -> SequenceStore:
            store: SequenceStore = journal.prepare(
                journal.source(tmp_path / "log", **source),
                tmp_path / cache,
                settings=LogSettings.model_validate(settings or {}),
                split=SplitSettings.model_validate(EARLY),
            )
            return store

        journal.write(tmp_path / "log", [first], "csv")
        prepare("cache", options)
        journal.write(tmp_path / "log", [then], "csv")
        between(tmp_path)
        with watched() as work:
            grown = prepare("cache", after or options)
        assert content(grown) == content(prepare("other", after or options))
        return work

    return run


@pytest.fixture
def rows(journal: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = journal.rows(3, 160, customers=12, days=30)
    return sorted(made, key=lambda row: row["time"])


def test_only_customers_with_new_events_are_encoded(
    grow: Callable[..., Work], rows: list[dict[str, Any]]
) -> None:
    known = [row for row in rows if row["customer_id"] in ("c0", "c1")]
    late = [row | {"time": rows[-1]["time"], "channel": "new"} for row in (known[0], known[-1])]
    work = grow(rows, [*late, late[0] | {"customer_id": "new"}])
    assert work.parts == [1]
    assert 3 < work.events <= len(known) + 3 < len(rows) / 2


def test_all_are_encoded_where_the_vocabulary_changes(
    grow: Callable[..., Work], rows: list[dict[str, Any]]
) -> None:
    early = rows[0] | {"channel": "billboard"}
    work = grow(rows, [early])
    assert work.parts == [1]
    assert work.events > len(rows) / 2


def test_a_file_without_rows_adds_nothing(
    grow: Callable[..., Work], rows: list[dict[str, Any]]
) -> None:
    work = grow(rows, [])
    assert (work.parts, work.events) == ([1], 0)


def rename(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "log" / "001.csv").rename(folder / "log" / name)

    return change


def test_by_content_a_file_may_come_before_the_others(
    grow: Callable[..., Work], rows: list[dict[str, Any]]
) -> None:
    assert grow(rows[:100], rows[100:], between=rename("0.csv")).parts == [0]


def with_offsets(folder: Path) -> None:
    file = folder / "log" / "001.csv"
    head, *lines = file.read_text().splitlines()
    marked = [re.sub(r"(:\d\d[.\d]*),", r"\1Z,", line, count=1) for line in lines]
    file.write_text("\n".join([head, *marked]))


def damage(folder: Path) -> None:
    file = next((folder / "cache" / "logs").glob("*/arranged/*"))
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)


def lose_quarantine(folder: Path) -> None:
    for file in (folder / "cache" / "quarantine").iterdir():
        file.unlink()


FUTURE = {"time": 4_000_000_000_000_000}
DROP = {"validation": {"policy": "drop"}}


@pytest.mark.parametrize(
    ("changed", "how"),
    [
        (FUTURE, {"options": DROP}),
        ({}, {"between": with_offsets, "options": DROP}),
        ({}, {"between": damage}),
        ({}, {"between": rename("0.csv"), "ties": "position"}),
        ({}, {"after": {"privacy": {"retention": {"keep": "9999d", "as_of": "1990-01-01"}}}}),
        ({}, {"after": DROP}),
        ({"segment": "other"}, {}),
        (
            {"cost": -1.0},
            {"between": lose_quarantine, "options": {"validation": {"policy": "quarantine"}}},
        ),
        ({}, {"options": {"validation": {"duplicates": "error"}}}),
    ],
    ids=[
        "rows were in the future then",
        "offsets and none",
        "a damaged log",
        "a file before the others",
        "another gate",
        "other rules",
        "features that change",
        "quarantine lost",
        "repeats are to be named",
    ],
)
def test_all_is_read_again(
    changed: dict[str, Any],
    how: dict[str, Any],
    grow: Callable[..., Work],
    rows: list[dict[str, Any]],
) -> None:
    distinct = list({(row["customer_id"], row["time"]): row for row in rows}.values())
    first, then = distinct[:80], distinct[80:]
    first[7] = first[7] | changed
    assert set(grow(first, then, **how).parts) == {0, 1}
