"""Identifiers become customers: chains, conflicts and circles, whatever the order of the rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmarket.data.gate.identity import Identity, make_identity, read_identity
from seqmarket.data.gate.settings import IdentitySettings
from seqmarket.data.reading import CsvSettings
from seqmarket.errors import SeqmarketError

Rows = list[tuple[str, str]]

CHAINS: Rows = [
    ("cookie-1", "mail-1"),
    ("cookie-2", "mail-1"),
    ("mail-1", "ann"),
    ("mail-2", "ann"),
    ("ann", "ann"),
    ("device-9", "ben"),
    ("device-9", "ben"),
]
SHARED: Rows = [*CHAINS, ("tablet", "ann"), ("tablet", "ben"), ("session", "tablet")]


def link(rows: Rows, conflicts: Any = "error") -> Identity:
    columns = pl.DataFrame(rows, schema=["a", "b"], orient="row", schema_overrides={"a": pl.String})
    return make_identity(
        columns["a"].cast(pl.String), columns["b"].cast(pl.String), conflicts=conflicts
    )


def ends(identity: Identity, *ids: str) -> list[str | None]:
    return identity.resolve(pl.Series("customer_id", ids, pl.String)).to_list()


def read(path: Path, **options: Any) -> Identity:
    given = IdentitySettings.model_validate({"path": str(path), **options})
    found = read_identity(given, csv=CsvSettings())
    assert found is not None
    return found


def test_chains_are_followed_to_their_end_and_counted() -> None:
    identity = link(CHAINS)
    assert ends(identity, "cookie-2", "stranger", "ann", "mail-2", "device-9") == [
        "ann",
        "stranger",
        "ann",
        "ann",
        "ben",
    ]
    report = identity.report
    assert (report.rows, report.identifiers, report.customers) == (7, 5, 2)
    assert (report.merged, report.most_identifiers) == (1, 4)
    assert (report.longest_chain, report.conflicts) == (2, 0)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 1000])
def test_a_chain_of_any_length_has_one_end(length: int) -> None:
    identity = link([(str(step), str(step + 1)) for step in range(length)])
    assert set(identity.customer) == {str(length)}
    assert identity.report.longest_chain == length


def test_other_ways_to_the_same_customer_are_no_conflict() -> None:
    assert ends(link([("a", "m"), ("a", "c"), ("m", "c")]), "a", "m") == ["c", "c"]
    assert link([]).identifier.is_empty()
    assert ends(link([("a", "a")]), "a") == ["a"]


def test_a_conflict_is_reported_with_its_rows_and_not_its_identifiers() -> None:
    with pytest.raises(SeqmarketError, match="1 identifier of the mapping table is") as caught:
        link(SHARED)
    assert caught.value.where == "row 7; row 8"
    assert not any(name in str(caught.value) for name in ("tablet", "session", "ann", "ben"))


def test_a_conflict_is_left_out_or_kept_apart() -> None:
    dropped, kept = link(SHARED, "drop"), link(SHARED, "keep")
    ids = ("tablet", "session", "cookie-1", "ben")
    assert ends(dropped, *ids) == [None, None, "ann", "ben"]
    assert ends(kept, *ids) == ["tablet", "tablet", "ann", "ben"]
    assert dropped.report.conflicts == kept.report.conflicts == 1
    assert (dropped.report.identifiers, kept.report.identifiers) == (5, 6)


def test_a_conflict_downstream_of_another_is_found() -> None:
    # By way of `t`, taken to be `a`, both rows of `u` would seem to lead to the same customer.
    assert link([("t", "a"), ("t", "b"), ("u", "t"), ("u", "a")], "keep").report.conflicts == 2


@pytest.mark.parametrize("off_the_way", [[], [("a", "0"), ("z", "a")]])
def test_circles_are_refused_by_the_numbers_of_their_rows(off_the_way: Rows) -> None:
    circle = [("a", "b"), ("x", "y"), ("b", "c"), ("c", "a")]
    with pytest.raises(SeqmarketError, match="3 rows of the mapping table lead in a circle") as no:
        link([*circle, *off_the_way], "keep")
    assert no.value.where == "row 0; row 2; row 3"


def oracle(rows: Rows) -> tuple[dict[str, str], set[str]] | None:
    """The same by plain recursion; None for a circle."""
    onward: dict[str, set[str]] = {}
    for source, target in rows:
        if source != target:
            onward.setdefault(source, set()).add(target)
    found: dict[str, str] = {}
    torn: set[str] = set()

    def end(name: str, way: tuple[str, ...]) -> str:
        if name in way:
            raise RecursionError
        if name not in found:
            reached = {end(target, (*way, name)) for target in onward.get(name, ())}
            if len(reached) > 1:
                torn.add(name)
            found[name] = reached.pop() if len(reached) == 1 else name
        return found[name]

    try:
        for name in onward:
            end(name, ())
    except RecursionError:
        return None
    return found, torn


edges = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: (str(pair[0]), str(pair[1]))),
    max_size=14,
)
downhill = edges.map(lambda rows: [(max(row), min(row)) for row in rows])


@settings(max_examples=150, deadline=None)
@given(rows=edges | downhill)
def test_it_agrees_with_plain_recursion(rows: Rows) -> None:
    expected = oracle(rows)
    if expected is None:
        with pytest.raises(SeqmarketError, match="circle"):
            link(rows, "keep")
        return
    found, torn = expected
    names = [str(number) for number in range(10)]
    kept, dropped = link(rows, "keep"), link(rows, "drop")
    assert ends(kept, *names) == [found.get(name, name) for name in names]
    assert kept.report.conflicts == len(torn)
    unknown = [None if found.get(name, name) in torn else found.get(name, name) for name in names]
    assert ends(dropped, *names) == unknown


def check_order(resolve: Callable[[Rows, list[str]], list[str | None]]) -> None:
    """The order of the rows decides nothing."""
    names = sorted({name for row in SHARED for name in row})
    expected = resolve(SHARED, names)
    for seed in range(20):
        rows = SHARED.copy()
        random.Random(seed).shuffle(rows)
        assert resolve(rows, names) == expected


def last_row_wins(rows: Rows, names: list[str]) -> list[str | None]:
    onward = {source: target for source, target in rows if source != target}
    found: list[str | None] = []
    for name in names:
        end = name
        while end in onward:
            end = onward[end]
        found.append(end)
    return found


@pytest.mark.parametrize("conflicts", ["drop", "keep"])
def test_the_order_of_the_rows_decides_nothing(conflicts: str) -> None:
    check_order(lambda rows, names: ends(link(rows, conflicts), *names))


def test_a_mutant_by_which_the_last_row_wins_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_order(last_row_wins)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "arrow"])
def test_tables_of_any_format_and_names(suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame(CHAINS, schema=["device", "uid"], orient="row")
    path = tmp_path / f"map.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "arrow":
        frame.write_ipc(path)
    else:
        frame.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    identity = read(path, columns={"identifier": "device", "customer_id": "uid"})
    assert ends(identity, "cookie-1") == ["ann"]


def test_faults_of_a_table_are_named_by_file_and_line(tmp_path: Path) -> None:
    good, path = tmp_path / "1.csv", tmp_path / "2.csv"
    good.write_text("identifier,customer_id\n007,7\n")
    path.write_text("identifier,customer_id\na,b\nsecret,c\nsecret,d\n")
    with pytest.raises(SeqmarketError, match="several customers, in 2 rows") as caught:
        read(tmp_path)
    assert caught.value.where == f"{path}, line 3; {path}, line 4"
    assert "secret" not in str(caught.value)
    path.write_text("identifier,customer_id\na,b\nb,a\n")
    with pytest.raises(SeqmarketError, match=f"circle(.|\n)*{path.name}, line 2; .*, line 3"):
        read(tmp_path)
    path.write_text("identifier,customer_id\na,b\nsecret, \n")
    with pytest.raises(SeqmarketError, match="'customer_id' is missing") as caught:
        read(tmp_path)
    assert caught.value.where == f"{path}, line 3"
    path.write_text("identifier,customer_id\na,b\nsecret,x,y\n")
    with pytest.raises(SeqmarketError, match="more fields than the header") as caught:
        read(tmp_path)
    assert "secret" not in str(caught.value)
    path.write_text("identifer,customer_id\na,b\n")
    with pytest.raises(SeqmarketError, match="did you mean 'identifer'") as caught:
        read(tmp_path)
    assert "data.identity.columns.identifier" in str(caught.value)
    path.unlink()
    assert ends(read(tmp_path), "007", "7") == ["7", "7"]


def test_numbers_are_no_identifiers_when_they_have_decimals(tmp_path: Path) -> None:
    path = tmp_path / "map.parquet"
    pl.DataFrame({"identifier": [1.5], "customer_id": [2]}).write_parquet(path)
    with pytest.raises(SeqmarketError, match="'identifier' cannot be used: its type is Float64"):
        read(path)


def test_what_is_printed_holds_no_identifier() -> None:
    assert "ann" not in repr(link(CHAINS))
