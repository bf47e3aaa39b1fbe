"""Files in object stores and on web servers, as Polars reads them: ``s3://``, ``https://`` ..."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import polars as pl


def is_uri(path: str) -> bool:
    """Whether it names a place that Polars, not the file system, has to find."""
    return "://" in path


def suffix_of(uri: str) -> str:
    """The suffix of the file or of the glob, with its dot."""
    return PurePosixPath(urlsplit(uri).path).suffix


def without_secrets(uri: str) -> str:
    """The URI without what may give access to it: name and password, and the query."""
    scheme, place = uri.split("?", 1)[0].split("://", 1)
    return f"{scheme}://{place.rsplit('@', 1)[-1]}"


def scan_uri(
    uri: str,
    file_format: Literal["csv", "parquet", "ipc"],
    *,
    separator: str,
    encoding: Literal["utf8", "utf8-lossy"],
    null_values: tuple[str, ...],
) -> pl.LazyFrame:
    """Opens the file, or all files of a glob or folder, lazily; everything in CSV files is text.

    Folders ``key=value`` around Parquet and IPC files become columns of text. The shape of the
    lines of CSV files is not looked into: too many fields are an error of the file, too few are
    nulls.

    Args:
        uri: Where they are.
        file_format: How they are written.
        separator: Of the fields of CSV files.
        encoding: Of CSV files.
        null_values: Words in CSV files that mean "missing".

    Raises:
        Exception: Polars and the libraries that find credentials fail in many ways.
    """
    if file_format == "csv":
        return pl.scan_csv(
            uri,
            separator=separator,
            infer_schema=False,
            encoding=encoding,
            null_values=list(null_values),
        )
    scan = pl.scan_parquet if file_format == "parquet" else pl.scan_ipc
    frame = scan(uri, hive_partitioning=False)
    own = frame.collect_schema().names()
    found = scan(uri, hive_partitioning=True).collect_schema().names()
    keys = [name for name in found if name not in own]
    if not keys:
        return frame
    # As text: Polars would make 7 of the folder shop=007.
    return scan(uri, hive_partitioning=True, hive_schema=dict.fromkeys(keys, pl.String))
