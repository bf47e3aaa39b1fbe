"""An installed wheel works without the source checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(arguments: list[str], folder: Path, path: Path | None = None) -> str:
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_brings_its_configuration(tmp_path: Path) -> None:
    python(["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)], ROOT)
    (wheel,) = tmp_path.glob("seqmarket-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = set(archive.namelist())
    shipped = {file.relative_to(ROOT).as_posix() for file in (ROOT / "conf").rglob("*.yaml")}
    modules = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "seqmarket").rglob("*.py")
        if "__pycache__" not in file.parts
    }
    assert {f"seqmarket/{name}" for name in shipped} | modules <= names
    assert not [name for name in names if name.startswith(("tests/", "conf/"))]

    where = "from seqmarket.cli.compose import config_dir; print(config_dir())"
    assert python(["-c", where], tmp_path, installed).strip() == str(installed / "seqmarket/conf")
    shown = python(["-m", "seqmarket.cli.main", "train", "--cfg", "job"], tmp_path, installed)
    assert "seqmarket.models.gru" in shown
    (entry,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "seqmarket = seqmarket.cli.main:main" in (installed / entry).read_text()
