"""CSV files that a spreadsheet can open without running what a log has brought into them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

_FORMULA = r"^[=+\-@\t\r\n]"
"""How a cell begins that spreadsheets take for a formula or a command."""


def write_csv(table: pl.DataFrame, path: Path) -> None:
    """Writes a table as CSV; what a spreadsheet would take for a formula gets a quote before it.

    See OWASP, "CSV injection". Numbers stay as they are, negative ones too.
    """
    text = pl.col(pl.String)
    safe = pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text)
    table.with_columns(safe.name.keep()).write_csv(path)
