"""What a run depended on besides its configuration: code, versions, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import seqmarket

_PACKAGES = ("torch", "pytorch-lightning", "polars", "mlflow", "numpy")
_GIT_TIMEOUT = 5.0


def environment_tags(lock_file: Path | None = None) -> dict[str, str]:
    """Tags that name the code, the versions and the machine of this process.

    The commit, the branch and the dirty flag are there only when seqmarket runs from a source
    checkout; the hash of the lock only when the file is there. Threads and seed are the caller's.

    Args:
        lock_file: The file of exact versions; None: ``requirements.lock`` in the checkout.

    Returns:
        Tag to text, every tag beginning with ``seqmarket.``.
    """
    checkout = Path(seqmarket.__file__).resolve().parent.parent
    lock = checkout / "requirements.lock" if lock_file is None else lock_file
    tags = {
        "version": seqmarket.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
        **_git_tags(checkout),
    }
    if lock.is_file():
        tags["lock"] = hashlib.sha256(lock.read_bytes()).hexdigest()
    for package in _PACKAGES:
        try:
            tags[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {f"seqmarket.{name}": text for name, text in tags.items()}


def peak_memory() -> float:
    """The most memory that this process has held so far, MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _git_tags(checkout: Path) -> dict[str, str]:
    # An installed package may lie inside somebody else's repository: that one says nothing of us.
    if not (checkout / ".git").exists():
        return {}
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return {}
    branch = _git(checkout, "rev-parse", "--abbrev-ref", "HEAD")
    changes = _git(checkout, "status", "--porcelain")
    tags = {"git_commit": commit}
    if branch is not None:
        tags["git_branch"] = branch
    if changes is not None:
        tags["git_dirty"] = "true" if changes else "false"
    return tags


def _git(checkout: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
