"""What comes first of events at the same time, and which row is said to repeat another."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from seqmarket.data.engine import build
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import SplitSettings
from seqmarket.errors import SeqmarketError

REFUSE = LogSettings.model_validate({"validation": {"duplicates": "error"}})
COHORT = SplitSettings(kind="cohort", train_fraction=0.9, validation_fraction=0.05)


@pytest.mark.parametrize("ties", ["content", "position"])
def test_of_equal_rows_the_later_one_is_named(
    journal: Any, tmp_path: Path, ties: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = journal.rows(7, 400, customers=20, moments=15)
    features = ("rank", "segment", "age")
    seen = {tuple(v for k, v in row.items() if k not in features): row for row in rows}
    distinct = list(seen.values())
    again = distinct[17] | {"segment": "aaa"}  # what customers are like is not compared
    journal.write(tmp_path / "log", [distinct[:50], [*distinct[50:], again]])
    source = journal.source(tmp_path / "log", ties=ties)
    said = set()
    for shards, threads, chunk in product((1, 5), (1, 3), (7, 1_000)):
        monkeypatch.setattr(build, "chunk_rows", lambda *_, chunk=chunk: chunk)
        with pytest.raises(SeqmarketError, match="a row repeats another one") as refused:
            journal.prepare(
                source, tmp_path / "cache", settings=REFUSE, shards=shards, threads=threads
            )
        said.add(refused.value.where)
    assert said == {f"{tmp_path / 'log' / '001.parquet'}, row {len(distinct) - 50 + 1}"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a,b", "e-mail", "web"]),
        ({"ties": "position"}, ["web", "a,b", "e-mail"]),
        ({"columns": {"order": "rank"}}, ["e-mail", "a,b", "web"]),
        ({"columns": {"order": "rank"}, "ties": "position"}, ["e-mail", "a,b", "web"]),
    ],
    ids=["content", "position", "declared", "declared, which position does not change"],
)
def test_what_orders_events_of_the_same_time(
    journal: Any, tmp_path: Path, options: dict[str, Any], expected: list[str]
) -> None:
    row = journal.rows(1, 1)[0] | {"value": 1.0, "event_type": "view"}
    events = [("0", 0, 9.0), ("web", 1, 3.0), ("a,b", 1, 2.0), ("e-mail", 1, 1.0)]
    rows = [row | {"channel": c, "time": t, "rank": rank} for c, t, rank in events]
    journal.write(tmp_path / "log", [rows])
    source = journal.source(tmp_path / "log", **options)
    store = journal.prepare(source, tmp_path / "cache", split=COHORT)
    names = [store.spec.channel.categories[i - 2] for i in store.events.channel]
    assert names[1:] == expected
