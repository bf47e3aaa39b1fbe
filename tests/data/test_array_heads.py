"""Heads of array files are parsed by one thread at a time, as Python 3.11 asks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmarket.data import files


@pytest.fixture
def at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How many heads are parsed at the same time, at most, when four threads read one file."""
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        files.write_array(file, np.arange(5))
    true = np.lib.format.read_array_header_1_0
    running: list[int] = []
    most: list[int] = []

    def parse(*details: Any, **more: Any) -> Any:
        running.append(1)
        most.append(len(running))
        time.sleep(0.002)
        running.pop()
        return true(*details, **more)

    def read(_: int) -> int:
        with path.open("rb") as file:
            return int(files.read_array(file).sum() + files.map_array(path).sum())

    def most_at_once() -> int:
        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(read, range(20))) == {20}
        return max(most)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", parse)
    return most_at_once


def test_one_head_at_a_time(at_once: Any) -> None:
    assert at_once() == 1


def test_without_the_lock_there_are_several(at_once: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PARSING", nullcontext())
    assert at_once() > 1
