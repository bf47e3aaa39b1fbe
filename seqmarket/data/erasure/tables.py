"""Tables on disk without some customers: read, filtered, and encoded anew in their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from seqmarket.data.erasure.needles import ID_COLUMN, Needles
from seqmarket.data.sealed import put_as_before, settle, write_beside
from seqmarket.errors import SeqmarketError

PARQUET = (".parquet", ".pq")
DELIMITED = (".csv", ".tsv")
_MARK = ".erasing"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Puts a new file in the place of a file, whole or not at all, and its digest with it.

    Args:
        path: The file.
        write: Writes the new one to where it is told.
    """
    write_beside(path, write, put_as_before, mark=_MARK)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process had written to put it in the place of a file."""
    for leftover in folder.rglob(f".*{_MARK}"):
        leftover.unlink()
    settle(folder)


def write_table(frame: pl.DataFrame, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a Parquet file in the place of another.

    Categorical columns become text: a dictionary would keep categories that no row has.
    """
    plain = frame.cast({pl.Categorical: pl.String, pl.Enum: pl.String})
    replace_file(path, lambda beside: plain.write_parquet(beside, metadata=metadata))


def erase_rows(path: Path, needles: Needles) -> int:
    """Removes the rows of customers from a Parquet or CSV file with a column `customer_id`.

    Args:
        path: The file; others, and files without such a column, are left as they are.
        needles: The names under which they may be stored.

    Returns:
        Number of rows removed.
    """
    frame, separator = read_with_ids(path)
    if not len(frame):
        return 0
    theirs = needles.are(frame[ID_COLUMN])
    if not theirs.any():
        return 0
    kept = frame.filter(~theirs)
    if separator is None:
        write_table(kept, path)
    else:
        replace_file(path, lambda beside: kept.write_csv(beside, separator=separator))
    return int(theirs.sum())


def read_with_ids(path: Path) -> tuple[pl.DataFrame, str | None]:
    """Reads a table with a column `customer_id`.

    Args:
        path: A Parquet or CSV file; of any other, or one without such a column, nothing is read.

    Returns:
        The table, of CSV all as text, and the separator of CSV.

    Raises:
        SeqmarketError: It is damaged.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in PARQUET and ID_COLUMN in pl.read_parquet_schema(path):
            return pl.read_parquet(path), None
        if suffix in DELIMITED:
            with path.open("rb") as file:
                header = file.readline().decode("utf-8-sig", "replace")
            separator = max(",;\t|", key=header.count)
            if ID_COLUMN in [name.strip().strip('"') for name in header.split(separator)]:
                return pl.read_csv(path, separator=separator, infer_schema=False), separator
    except pl.exceptions.PolarsError as error:
        raise SeqmarketError(
            f"the table cannot be read ({type(error).__name__})",
            where=str(path),
            fix="mend or remove it",
        ) from error
    return pl.DataFrame(), None


def erase_quarantine(path: Path, needles: Needles) -> int:
    """Removes rows of customers from a file of rows that were put aside.

    Such a row may be broken in any way, so a row goes if any cell of it is, or holds, an
    identifier; a short one (see `Needles`) counts as a whole value of any column: the rows are
    copies, and the log still has them.

    Returns:
        Number of rows removed; a file without rows stays, as a log that grows goes on with it.
    """
    frame = pl.read_parquet(path)
    theirs = pl.repeat(False, len(frame), eager=True)
    for column in frame:
        if column.name not in ("reason", "file", "row"):
            theirs = theirs | needles.occur_in(column, holds_ids=True)
    if theirs.any():
        write_table(frame.filter(~theirs), path)
    return int(theirs.sum())
