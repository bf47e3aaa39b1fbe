"""Tables and reports of a run without categories that only erased customers had."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from seqmarket.data.erasure.needles import Needles
from seqmarket.data.gate.ledger import Ledger
from seqmarket.training.retraining import as_tags, mark
from seqmarket.training.run_files import NUMBERED, Stores, erase_from_files, rename_in_table


def held(fingerprint: str, theirs: list[int], ids: str, remaining: str) -> Any:
    """As much of a store as counts customers."""
    mask = np.array(theirs, dtype=np.bool_)
    store = SimpleNamespace(fingerprint=fingerprint, spec=SimpleNamespace(to_dict=empty_spec))
    return SimpleNamespace(
        store=store,
        theirs=mask,
        number=int(mask.sum()),
        ids_digest=ids,
        remaining_digest=remaining,
        gone=lambda categories: {name: set() for name in categories},
    )


def empty_spec() -> dict[str, Any]:
    nothing = {"name": "channel", "categories": ()}
    return {"channel": nothing, "event_type": nothing, "categorical": (), "static_categorical": ()}


def table(path: Path, customers: list[int]) -> None:
    pl.DataFrame({"customer": customers, "task": ["churn"] * len(customers)}).write_parquet(path)


def test_customers_are_counted_anew_once(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    table(path, [0, 1, 2, 3, 3, 4])
    item = held("f", [0, 1, 0, 1, 0], "all", "rest")
    for rows in (3, 0):
        removed = erase_from_files(tmp_path, item, Stores([item]), Needles([]), orphan=False)
        assert removed.counts["rows of tables"] == rows
        assert pl.read_parquet(path)["customer"].to_list() == [0, 1, 2]
        assert pl.read_parquet_metadata(path)[NUMBERED] == "rest"
    # The next time, the store of those that are left is the one that it counts in.
    later = held("other", [1, 0, 0], "rest", "last")
    erase_from_files(tmp_path, None, Stores([later]), Needles([]), orphan=True)
    assert pl.read_parquet(path)["customer"].to_list() == [0, 1]


def test_a_table_of_no_known_store_goes_only_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    table(path, [0, 1])
    nothing = Stores([])
    erase_from_files(tmp_path, None, nothing, Needles([]), orphan=False)
    assert path.exists()
    removed = erase_from_files(tmp_path, None, nothing, Needles([]), orphan=True)
    assert (path.exists(), removed.counts["tables whose store is gone"]) == (False, 1)


def test_a_damaged_table_is_left_to_the_scan(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    item = held("f", [1], "all", "rest")
    erase_from_files(tmp_path, item, Stores([item]), Needles(["someone"]), orphan=True)
    assert (tmp_path / "a.parquet").exists()


def test_a_category_goes_from_cells_and_columns_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    frame = pl.DataFrame(
        {
            "customer_id": ["pigeon", "b"],
            "next_channel": ["web", "pigeon"],
            "next_channel_probability_pigeon": [0.1, 0.2],
            "next_channel_probability_carrier_pigeon": [0.3, 0.4],
        }
    )
    frame.write_parquet(path, metadata={NUMBERED: "digest"})
    rename_in_table(path, {"pigeon"})
    after = pl.read_parquet(path)
    assert after["next_channel"].to_list() == ["web", "<erased>"]
    assert after["customer_id"].to_list() == ["pigeon", "b"]
    assert after.columns == [*frame.columns[:2], frame.columns[3]]
    assert pl.read_parquet_metadata(path)[NUMBERED] == "digest"


def test_what_an_attribution_left_is_erased_too(tmp_path: Path) -> None:
    """Touches are counted by customer; a picture shows single journeys; texts are named."""
    folder = tmp_path / "attribution" / "test"
    (folder / "plots").mkdir(parents=True)
    table(folder / "touches.parquet", [0, 1, 1, 2])
    (folder / "channels.csv").write_text("method,channel\nlinear,pigeon\nlinear,carrier-pigeons\n")
    for name in ("sample_journeys", "shares"):
        (folder / "plots" / f"{name}.png").touch()
    item = held("f", [0, 1, 0], "all", "rest")
    spec = {**empty_spec(), "channel": {"name": "channel", "categories": ("pigeon",)}}
    item.store.spec.to_dict = lambda: spec
    erase_from_files(tmp_path, item, Stores([item]), Needles([]), orphan=False)
    assert pl.read_parquet(folder / "touches.parquet")["customer"].to_list() == [0, 1]
    assert [path.name for path in (folder / "plots").iterdir()] == ["shares.png"]
    item.gone = lambda categories: {name: {"pigeon"} for name in categories}
    erase_from_files(tmp_path, item, Stores([item]), Needles([]), orphan=False)
    assert "linear,<erased>" in (folder / "channels.csv").read_text()
    assert not any((folder / "plots").iterdir())


def test_the_mark_adds_up_and_names_nobody(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first, second = ledger.enter(["ann", "ben"], 2), ledger.enter(["cleo"], 1)
    two, one = held("f", [1, 1, 0], "all", "rest"), held("g", [1, 0], "rest", "last")
    before = mark({}, two, first, orphan=False)
    assert before is not None
    assert mark(before, two, first, orphan=False) == before  # met again after a kill
    after = mark(before, one, second, orphan=False)
    assert after is not None
    assert (after["customers"], after["earlier"], after["remaining"]) == (1, 2, "last")
    assert as_tags(after)["seqmarket.to_be_retrained"].endswith(": 3 of its customers erased")
    assert not any(name in json.dumps(as_tags(after)) for name in ("ann", "ben", "cleo"))
    assert mark({}, held("f", [0], "a", "a"), first, orphan=False) is None
    assert mark({}, None, first, orphan=False) is None
    unknown = mark({}, None, first, orphan=True)
    assert unknown is not None
    assert "may have been among its own" in as_tags(unknown)["seqmarket.to_be_retrained"]
    assert mark(unknown, None, second, orphan=True) is None


def test_nothing_is_marked_twice_by_a_mutant_that_forgets_the_entry(tmp_path: Path) -> None:
    """The mutant: every call a new entry; the same erasure would be counted again."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    two = held("f", [1, 1], "all", "rest")
    before = mark({}, two, ledger.enter(["ann", "ben"], 2), orphan=False)
    assert before is not None
    mutant = mark(before, two, Ledger(tmp_path / "other").enter(["ann", "ben"], 2), orphan=False)
    assert mutant is not None
    assert mutant["earlier"] == 2
    again = mark(before, two, ledger.enter(["ann", "ben"], 2), orphan=False)
    assert again == before
