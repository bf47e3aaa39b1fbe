"""pytorch-lifestream's PandasDataPreprocessor, as a peer of `encode_scale.py`.

    python benchmarks/encode_scale.py --lifestream ENVIRONMENT/bin/python

Its release 0.7.0 no longer imports as a whole: the package's own `__init__` files pull in Spark and
more. So only the modules of the preprocessor are imported here, unchanged, in an environment of
their own:

    python -m venv ENVIRONMENT
    ENVIRONMENT/bin/pip install torch "pandas<3" pyarrow scikit-learn dask distributed pymonad
    ENVIRONMENT/bin/pip install --no-deps pytorch-lifestream==0.7.0

Its conversion of datetimes fails on a frame of one column, so times are handed over as seconds.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


def peak_memory() -> float:
    """Peak resident memory in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def hollow_packages() -> None:
    """Registers the packages around the preprocessor without running their `__init__`."""
    found = find_spec("ptls")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("ptls")
    root = Path(found.origin).parent
    for name in ("ptls", "ptls.preprocessing", "ptls.preprocessing.dask"):
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package


def main() -> None:
    hollow_packages()
    import pandas as pd
    from ptls.preprocessing.pandas.pandas_preprocessor import PandasDataPreprocessor

    before, began = peak_memory(), time.perf_counter()
    log = pd.read_parquet(sys.argv[1])
    log["event_time"] = log.pop("timestamp").astype("int64") // 1_000_000
    preprocessor = PandasDataPreprocessor(
        col_id="customer_id",
        col_event_time="event_time",
        event_time_transformation="none",
        cols_category=["channel", "event_type"],
        cols_numerical=["value", "cost"],
        return_records=True,
    )
    journeys = preprocessor.fit_transform(log)
    seconds = time.perf_counter() - began
    events = sum(len(journey["event_time"]) for journey in journeys)
    found = {"events": events, "seconds": seconds, "MiB": peak_memory(), "imports": before}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
