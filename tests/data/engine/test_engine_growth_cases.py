"""What a log that grows is spared, and when all of it is read again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmarket.data.engine import build
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.sealed import digest_file
from seqmarket.data.settings import SplitSettings
from seqmarket.data.store import SequenceStore

EARLY = {"train_end": "1970-01-08", "validation_end": "1970-01-12"}


@pytest.fixture
def grow(journal: Any, tmp_path: Path) -> Callable[..., Any]:
    """Adds a file to a log, and says what was done; the store is compared with that of it all."""

    def run(
        first: list[dict[str, Any]],
        then: list[dict[str, Any]],
        *,
        options: dict[str, Any] | None = None,
        between: Callable[[Path], None] = lambda _: None,
        after: dict[str, Any] | None = None,
        **source: Any,
    ) -> Any:
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
        with journal.watched() as work:
            grown = prepare("cache", after or options)
        assert journal.content(grown) == journal.content(prepare("other", after or options))
        return work

    return run


@pytest.fixture
def rows(journal: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = journal.rows(3, 160, customers=12, days=30)
    return sorted(made, key=lambda row: row["time"])


def test_only_customers_with_new_events_are_encoded(
    grow: Callable[..., Any], rows: list[dict[str, Any]]
) -> None:
    known = [row for row in rows if row["customer_id"] in ("c0", "c1")]
    late = [row | {"time": rows[-1]["time"], "channel": "new"} for row in (known[0], known[-1])]
    work = grow(rows, [*late, late[0] | {"customer_id": "new"}])
    assert work.parts == [1]
    assert 3 < work.events <= len(known) + 3 < len(rows) / 2


def test_all_are_encoded_where_the_vocabulary_changes(
    grow: Callable[..., Any], rows: list[dict[str, Any]]
) -> None:
    early = rows[0] | {"channel": "billboard"}
    work = grow(rows, [early])
    assert work.parts == [1]
    assert work.events > len(rows) / 2


def test_a_file_without_rows_adds_nothing(
    grow: Callable[..., Any], rows: list[dict[str, Any]]
) -> None:
    work = grow(rows, [])
    assert (work.parts, work.events) == ([1], 0)


def test_a_log_that_needs_few_more_shards_is_added_to(
    grow: Callable[..., Any], rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "shard_count", lambda _, rows, *__: 1 + rows // 50)
    assert grow(rows[:100], rows[100:130]).parts == [1]


def test_a_log_that_needs_many_more_shards_is_read_again(
    grow: Callable[..., Any], rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "shard_count", lambda _, rows, *__: 1 + rows // 50)
    few = rows[::4]
    assert grow(few, [row for row in rows if row not in few]).parts == [0, 1]


def rename(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "log" / "001.csv").rename(folder / "log" / name)

    return change


def test_by_content_a_file_may_come_before_the_others(
    grow: Callable[..., Any], rows: list[dict[str, Any]]
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


def damage_quarantine(folder: Path) -> None:
    (file,) = (folder / "cache" / "quarantine").glob("*.parquet")
    assert digest_file(file).is_file()
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
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
        (
            {"cost": -1.0},
            {"between": damage_quarantine, "options": {"validation": {"policy": "quarantine"}}},
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
        "quarantine damaged",
        "repeats are to be named",
    ],
)
def test_all_is_read_again(
    changed: dict[str, Any],
    how: dict[str, Any],
    grow: Callable[..., Any],
    rows: list[dict[str, Any]],
) -> None:
    distinct = list({(row["customer_id"], row["time"]): row for row in rows}.values())
    first, then = distinct[:80], distinct[80:]
    first[7] = first[7] | changed
    assert set(grow(first, then, **how).parts) == {0, 1}
