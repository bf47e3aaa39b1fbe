"""Formats of files: what the suffix says, and what the first bytes say against it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seqmarket.errors import SeqmarketError

FileFormat = Literal["csv", "parquet", "ipc"]

FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
"""Suffix -> format."""

_NAMES: dict[FileFormat, str] = {"csv": "CSV", "parquet": "Parquet", "ipc": "Arrow IPC"}
_SHEETS = (".xlsx", ".xls", ".ods")
_SAVE_SHEET = "save the sheet as CSV in UTF-8"
_UNPACK = {
    ".gz": "unpack it: gunzip",
    ".bz2": "unpack it: bunzip2",
    ".xz": "unpack it: unxz",
    ".zst": "unpack it: unzstd",
    ".zip": "unpack it: unzip",
}
_SIGNATURES: dict[bytes, FileFormat] = {b"PAR1": "parquet", b"ARROW1": "ipc"}
_ELSE = {
    b"\x1f\x8b": ("is compressed", _UNPACK[".gz"]),
    b"BZh": ("is compressed", _UNPACK[".bz2"]),
    b"\xfd7zXZ\0": ("is compressed", _UNPACK[".xz"]),
    b"\x28\xb5\x2f\xfd": ("is compressed", _UNPACK[".zst"]),
    b"PK\x03\x04": ("is a ZIP archive or a spreadsheet", f"{_UNPACK['.zip']}; or {_SAVE_SHEET}"),
    b"\xff\xff\xff\xff": (
        "is a stream of Arrow IPC, not a file",
        "write it as a file, as write_ipc of Polars does",
    ),
}
"""First bytes of what is never read -> what it is, and what makes a log of it."""


def format_of(suffix: str, given: Literal["auto"] | FileFormat, where: str) -> FileFormat:
    """The format of a file.

    Args:
        suffix: Of the file, with its dot.
        given: What it is declared to be; auto: what the suffix says.
        where: The file, for messages.

    Raises:
        SeqmarketError: The suffix tells no format.
    """
    known = FORMATS.get(suffix.lower()) if given == "auto" else given
    if known is not None:
        return known
    if suffix.lower() in _UNPACK:
        raise SeqmarketError("the file is compressed", where=where, fix=_UNPACK[suffix.lower()])
    raise SeqmarketError(
        f"the suffix of the file tells no format; known: {', '.join(FORMATS)}",
        where=where,
        fix=_SAVE_SHEET if suffix.lower() in _SHEETS else "data.format=csv, parquet or ipc",
    )


def is_packed(path: Path) -> bool:
    """Whether it is a compressed data file by its name, such as ``a.csv.gz``."""
    return path.suffix.lower() in _UNPACK and Path(path.stem).suffix.lower() in FORMATS


def check_start(path: Path, declared: FileFormat) -> None:
    """Refuses a file without content, and one whose first bytes are those of another format.

    Raises:
        SeqmarketError: It is not what it is declared to be.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise SeqmarketError(
            "the file is empty", where=str(path), fix="write it again, or take it away"
        )
    for signature, (what, fix) in _ELSE.items():
        if start.startswith(signature):
            raise SeqmarketError(f"the file {what}", where=str(path), fix=fix)
    found: FileFormat = "csv"
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            found = kind
    if found != declared:
        raise SeqmarketError(
            f"the file is no {_NAMES[declared]} file"
            + (f", it is {_NAMES[found]}" if found != "csv" else ""),
            where=str(path),
            fix="give it the suffix of its format, or say data.format=csv, parquet or ipc",
        )
