from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from seqmarket.cli.main import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Runs(list[dict[str, Any]]):
    """What `training.run` was called with; `failing` says which model makes it fail, and how."""

    failing: dict[str, BaseException]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Puts a recorder in the place of the training."""
    calls = Runs()
    calls.failing = {}

    def run(config: Any, **details: Any) -> dict[str, float]:
        calls.append({"config": config, "argv": list(sys.argv), **details})
        for model, error in calls.failing.items():
            if model in config.model.target:
                raise error
        return {}

    monkeypatch.setitem(sys.modules, "seqmarket.training.run", SimpleNamespace(run=run))
    return calls


@pytest.fixture
def seqmarket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[Sequence[str]], Outcome]]:
    """Runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def command(arguments: Sequence[str]) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield command
    for handler in [handler for handler in root.handlers if handler not in before]:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("seqmarket").setLevel(logging.NOTSET)
