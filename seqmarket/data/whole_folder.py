"""Folders of output that are there as a whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seqmarket.errors import SeqmarketError


def refuse_other_folder(folder: Path, marks: Sequence[str]) -> None:
    """Refuses a place that holds something else than an earlier output of the same kind.

    Args:
        folder: The place.
        marks: Files that every such output has.

    Raises:
        SeqmarketError: It does.
    """
    ours = all((folder / name).is_file() for name in marks)
    if folder.exists() and not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise SeqmarketError(
            "there is something else already",
            where=f"output={folder}",
            fix="name another folder, or remove it",
        )


@contextmanager
def replacing(folder: Path, marks: Sequence[str]) -> Iterator[Path]:
    """A folder beside, which gets its name when it is complete; an earlier output is replaced.

    Args:
        folder: Where the output is to be.
        marks: See `refuse_other_folder`.

    Raises:
        SeqmarketError: The place holds something else.
    """
    refuse_other_folder(folder, marks)
    beside, before = (folder.with_name(f".{folder.name}.{mark}") for mark in ("partial", "before"))
    for leftover in (beside, before):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if folder.exists():
            folder.rename(before)
        beside.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
