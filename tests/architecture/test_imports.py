"""Who may import whom, and that the contracts catch those who do not keep to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command as lint; lint(sys.argv[1:])"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--config", "pyproject.toml", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "seqmarket", folder / "seqmarket")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_contracts_are_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        (
            "models/mutant.py",
            "import seqmarket.training.config",
            "a room sees only the rooms below",
        ),
        ("data/mutant.py", "import seqmarket.nn", "a room sees only the rooms below"),
        ("schema.py", "import seqmarket.errors", "a room sees only the rooms below"),
        ("decision.py", "", "a room sees only the rooms below"),
        ("models/mutant.py", "import polars", "Models and their parts are plain torch"),
        ("nn/mutant.py", "import pytorch_lightning", "Models and their parts are plain torch"),
        ("training/mutant.py", "import omegaconf", "Only the command line knows Hydra"),
    ],
)
def test_contracts_catch_a_violation(clone: Path, file: str, line: str, contract: str) -> None:
    target = clone / "seqmarket" / file
    before = target.read_text() if target.exists() else None
    target.write_text(f"{before or ''}\n{line}\n")
    try:
        done = lint_imports(clone)
    finally:
        if before is None:
            target.unlink()
        else:
            target.write_text(before)
    assert done.returncode == 1, done.stdout
    broken = [text for text in done.stdout.splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout


def test_a_log_is_looked_at_without_torch() -> None:
    modules = "seqmarket.cli.prepare, seqmarket.data.prepare, seqmarket.training.data"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    mutant = f"{code.partition(';')[0]}, seqmarket.tensors;{code.partition(';')[2]}"
    assert subprocess.run([sys.executable, "-c", mutant], check=False).returncode == 1
