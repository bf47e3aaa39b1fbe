"""Bad logs on the command line, the page about them, and checks that can fail."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seqmarket.cli.main import main
from seqmarket.data.engine import build, read
from seqmarket.data.validation import Converted, Converter
from seqmarket.errors import SeqmarketError

ROOT = Path(__file__).parents[3]
GARBLED = "x,2024-01-18,Z\u00fcrich,visit,1"
LATE = "x,2124-01-18,web,visit,1"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def prepare(log, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch) -> Run:
    """`seqmarket prepare` of the log in this process: its exit code, and what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> tuple[int, str]:
        code = main(arguments(log, tmp_path, *overrides))
        captured = capsys.readouterr()
        return code, captured.err if code else captured.out

    return run


def arguments(log, folder: Path, *overrides: str) -> list[str]:
    places = [f"paths.{name}={folder / name}" for name in ("output_dir", "cache_dir")]
    return ["prepare", "data=files", f"data.path={log.folder / 'log.csv'}", *places, *overrides]


def check_refusal(code: int, err: str, what: str, where: str, fix: str) -> None:
    assert code == 2
    shown = err[err.index("error: ") :].splitlines()
    assert [line[:8] for line in shown[1:]] == ["  where:", "  fix:  "]
    for line, part in zip(shown, (what, where, fix), strict=True):
        assert part in line
    assert "Traceback" not in err
    assert "k4711" not in err


@pytest.mark.parametrize(
    ("content", "overrides", "what", "where", "fix"),
    [
        (b"", [], "the file is empty", "log.csv", "write it again"),
        (b"PAR1" + bytes(99), [], "it is Parquet", "log.csv", "data.format="),
        (b"\x1f\x8b" + bytes(99), [], "is compressed", "log.csv", "gunzip"),
        (["", "x"], [], "fewer fields", "line 62", "data.validation.policy=quarantine"),
        ([LATE], [], "is in the future", "line 62, column 'time'", "data.validation.not_after"),
        (['x,"'], [], "never closed", "after line 61", "in quotes"),
        ([GARBLED], ["data.csv.separator=tab"], "names none", "log.csv", "a header line"),
        ([], ["data.columns.channel=chanel"], "'channel'?", "data.columns.channel", "name a"),
        ([], ["data.time_format=epoch_s"], "be read as a time; 59", "line 2,", "data.time_format"),
        ([], ["data.observed_until=2024-01-10"], "end of the obs", "data.observed_until", "later"),
        ([], ["data.path=missing.csv"], "no file at missing.csv", "data.path", "give a file"),
    ],
)
def test_refusals_on_the_command_line(
    log,
    prepare: Run,
    content: bytes | list[str],
    overrides: list[str],
    what: str,
    where: str,
    fix: str,
) -> None:
    """A log without a fault"""
    log.write(content if isinstance(content, bytes) else log.csv(*content))
    code, err = prepare(*overrides)
    check_refusal(code, err, what, where, fix)
    assert not list(log.folder.parent.glob("cache_dir/*/[!.]*"))


@pytest.mark.parametrize("separator", ["::", "'\u00a7'", "'\"'"])
def test_a_separator_that_cannot_be(log, prepare: Run, separator: str) -> None:
    """A log without a fault"""
    log.write(log.csv())
    assert prepare(f"data.csv.separator={separator}") == (
        2,
        "error: data.csv.separator: a separator is one ASCII character, such as ; or |, or the "
        "word tab\n",
    )


def test_the_account_on_the_command_line(log, prepare: Run) -> None:
    """A log without a fault"""
    log.write(log.csv(LATE, log.lines[0]))
    code, out = prepare("data.validation.policy=quarantine")
    assert code == 0
    for name, number in (
        ("rows in", 62),
        ("kept", 60),
        ("quarantined", 1),
        ("repeats of an earlier row", 1),
    ):
        assert re.search(rf"{name}\W+{number}\b", out)
    assert "k4711" not in out


def test_a_refusal_of_a_process(log, tmp_path: Path) -> None:
    """A log without a fault"""
    log.write(log.csv(GARBLED).encode("latin-1"))
    ended = subprocess.run(
        [sys.executable, "-m", "seqmarket.cli.main", *arguments(log, tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    check_refusal(ended.returncode, ended.stderr, "not UTF-8", "log.csv, line 62", "utf8-lossy")


def test_the_page_and_the_corpus_are_of_the_same(promised) -> None:
    cases = {
        ast.get_docstring(node)
        for file in Path(__file__).parent.glob("test_*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert cases - {None} == set(promised)
    assert len(promised) > 80
    assert {row.outcome for row in promised.values()} == {
        "refused",
        "row set aside",
        "warning",
        "read",
    }


def test_every_setting_on_the_page_exists() -> None:
    keys: dict[str, Any] = {}
    for name in ("_base", "files"):
        keys |= yaml.safe_load((ROOT / "conf" / "data" / f"{name}.yaml").read_text())
    page = (ROOT / "docs" / "data-problems.md").read_text(encoding="utf-8")
    for setting in re.findall(r"data\.([a-z_][a-z_.]*[a-z_])", page):
        found: Any = keys
        for part in setting.split("."):
            found = found[part]


def test_a_row_that_vanishes_is_noticed(log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log without a fault"""
    convert, plan = Converter.convert, read.plan_chunks
    log.write(log.csv())
    log.read()

    def forgetful(*details: Any) -> Converted:
        converted = convert(*details)
        all_but_one = np.arange(len(converted.chunk)) != 5
        return replace(converted, chunk=converted.chunk.keep(all_but_one))

    with monkeypatch.context() as mutant:
        mutant.setattr(Converter, "convert", forgetful)
        with pytest.raises(AssertionError):
            log.read()
    with monkeypatch.context() as mutant:
        short = lambda load: lambda: load()[:-1]  # noqa: E731
        chunks = lambda part, rows: ((at, short(load)) for at, load in plan(part, rows))  # noqa: E731
        mutant.setattr(read, "plan_chunks", chunks)
        with pytest.raises(AssertionError):
            log.read()


def test_a_message_with_a_customer_is_noticed(log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time in the future"""
    log.write(log.csv(LATE))
    log.set_aside()
    talkative = SeqmarketError(
        "'time' is in the future, of k4711-00",
        where="log.csv, line 62",
        fix="data.validation.not_after, data.validation.policy=quarantine",
    )
    monkeypatch.setattr(build, "offence", lambda *_: talkative)
    with pytest.raises(AssertionError):
        log.set_aside()
