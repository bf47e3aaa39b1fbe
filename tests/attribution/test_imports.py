"""Rules and Markov need a stored log and NumPy; the libraries of other parts take memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "mlflow", "polars", "pyarrow", "torch"}


@pytest.mark.parametrize("method", ["linear", "markov", "shapley"])
def test_a_method_is_used_without_the_libraries_of_others(method: str) -> None:
    code = (
        f"import sys, seqmarket.data.store, seqmarket.attribution.{method};"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
