"""Which errors of the system are refusals to write where the user said, and which are defects."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from seqmarket.cli.outputs import writing
from seqmarket.errors import SeqmarketError

PLACE = Path("/data/out")


def fail(number: int, filename: str | None) -> None:
    with writing(PLACE):
        raise OSError(number, os.strerror(number), filename)


@pytest.mark.parametrize(
    ("number", "filename"),
    [
        (errno.EACCES, "/data/out/runs/x"),
        (errno.EROFS, "/data/out/runs/x"),
        (errno.ENOTDIR, "/data/out/runs"),
        (errno.EACCES, "/data/out"),
        (errno.ENOENT, "/data/out"),
        (errno.ENOENT, "/data"),
        (errno.EEXIST, "/data/out"),
        (errno.ENOSPC, None),
        (errno.ENOSPC, "/tmp/x"),
    ],
)
def test_refusal(number: int, filename: str | None) -> None:
    with pytest.raises(SeqmarketError, match="cannot write") as caught:
        fail(number, filename)
    assert caught.value.where == filename
    assert os.strerror(number) in str(caught.value)


@pytest.mark.parametrize(
    ("number", "filename"),
    [
        (errno.ENOENT, "/data/out/runs/x"),  # we look for what we did not write
        (errno.EACCES, "/data/log.csv"),
        (errno.EACCES, "/data/output/x"),
        (errno.EACCES, None),
        (errno.EIO, "/data/out/runs/x"),
    ],
)
def test_defect_passes_through(number: int, filename: str | None) -> None:
    with pytest.raises(OSError, match=os.strerror(number)):
        fail(number, filename)
