from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

import seqmarket
from seqmarket.training.tracking import environment
from seqmarket.training.tracking.environment import environment_tags


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source checkout with one commit."""
    package = tmp_path / "clone" / "seqmarket" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("")
    for command in (
        ["init", "--quiet", "--initial-branch", "topic"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "m"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path / "clone", check=True)
    monkeypatch.setattr(seqmarket, "__file__", str(package))
    return tmp_path / "clone"


def test_a_checkout_is_named_by_its_commit(checkout: Path) -> None:
    tags = environment_tags()
    assert len(tags["seqmarket.git_commit"]) == 40
    assert tags["seqmarket.git_branch"] == "topic"
    assert tags["seqmarket.git_dirty"] == "false"

    (checkout / "new.py").write_text("")
    assert environment_tags()["seqmarket.git_dirty"] == "true"


def test_an_installed_package_has_no_commit_though_it_lies_in_a_repository(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / "venv" / "site-packages" / "seqmarket" / "__init__.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(seqmarket, "__file__", str(installed))
    assert not any("git" in name for name in environment_tags())


def test_no_git_is_no_failure(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(environment.subprocess, "run", missing)
    tags = environment_tags()
    assert "seqmarket.git_commit" not in tags
    assert "seqmarket.python" in tags


def test_the_lock_is_named_by_its_hash(checkout: Path, tmp_path: Path) -> None:
    assert "seqmarket.lock" not in environment_tags()
    lock = tmp_path / "any.lock"
    lock.write_bytes(b"torch==2.13.0\n")
    digest = hashlib.sha256(b"torch==2.13.0\n").hexdigest()
    assert environment_tags(lock)["seqmarket.lock"] == digest
    (checkout / "requirements.lock").write_bytes(b"torch==2.13.0\n")
    assert environment_tags()["seqmarket.lock"] == digest


def test_versions_and_machine_are_named() -> None:
    tags = environment_tags()
    for name in ("version", "python", "platform", "cpus", "torch", "pytorch-lightning", "mlflow"):
        assert tags[f"seqmarket.{name}"]
    assert all(name.startswith("seqmarket.") for name in tags)
