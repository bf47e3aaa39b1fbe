"""More shards than files that a process may hold open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import resource, sys
from pathlib import Path
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
workshop = Workshop(Path(sys.argv[1]), resources=ResourceSettings(shards=300))
source = SyntheticJourneys(n_customers=400)
prepare_store(source, LogSettings(), SplitSettings(), EncodingSettings(), workshop)
"""


def test_shards_are_not_held_open(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
