"""Means over several seeds beside the baselines, on the same rows, with paired intervals.

    for s in 1 2 3 4 5; do python train.py seed=$s hydra.run.dir=outputs/seed-$s; done
    python experiments/seeds.py outputs/seed-*

The folders are those of finished runs that differ in nothing but their seed. Each resample draws
customers, and takes the mean of the metric over the seeds; the interval is one of that mean, for
new customers. How much a single seed is off is the standard deviation beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.metrics.amounts import AmountScores, DurationScores
from seqmarket.metrics.classification import BinaryScores
from seqmarket.metrics.resampling import Scores, bootstrap_metrics

ROW = ("customer", "prediction_time")


class TrueClassScores:
    """Accuracy and log loss, from what a model said of the true class."""

    metrics: tuple[str, ...] = ("log_loss", "accuracy")

    def __init__(self, probability: NDArray[np.float64], hit: NDArray[np.bool_]) -> None:
        self._values = np.stack([-np.log(probability.clip(1e-12)), hit], axis=1)

    def __len__(self) -> int:
        return len(self._values)

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.average(self._values, axis=0, weights=weight)
        return mean


class MeanScores:
    """The mean over the seeds of each metric."""

    def __init__(self, seeds: list[Scores]) -> None:
        self.seeds = seeds
        self.metrics = seeds[0].metrics

    def __len__(self) -> int:
        return len(self.seeds[0])

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.mean([s.evaluate(weight) for s in self.seeds], axis=0)
        return mean


def scores(rows: pl.DataFrame) -> Scores:
    """One model's predictions of one task, in a fixed order of the rows."""
    if rows["predicted"].null_count() == 0:
        hit = (rows["predicted"] == rows["label"]).to_numpy()
        return TrueClassScores(rows["probability"].to_numpy(), hit)
    label = rows["label"].cast(pl.Float64).to_numpy()
    if rows["quantities"].null_count():
        return BinaryScores(label.astype(np.int64), rows["probability"].to_numpy())
    quantities = np.stack(rows["quantities"].to_list())
    return (AmountScores if quantities.shape[1] == 2 else DurationScores)(label, quantities)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    runs = [
        pl.read_parquet(run / "predictions.parquet").sort(
            "task", "model", *ROW, maintain_order=True
        )
        for run in options.runs
    ]
    order = pl.read_parquet(options.runs[0] / "predictions.parquet", columns=["model"])["model"]
    own, *baselines = order.unique(maintain_order=True)
    print(f"{own}, {len(runs)} seeds: mean (standard deviation), and less each baseline\n")
    for task in runs[0]["task"].unique(maintain_order=True):
        parts = [run.filter(task=task).partition_by("model", as_dict=True) for run in runs]
        rows = parts[0][(own,)]
        for part in parts:
            if not part[(own,)].select(*ROW, "label").equals(rows.select(*ROW, "label")):
                raise SystemExit(f"error: the runs were not evaluated on the same rows of {task}")
        seeds = [scores(part[(own,)]) for part in parts]
        models: dict[str, Scores] = {own: MeanScores(seeds)}
        models |= {b: scores(parts[0][(b,)]) for b in baselines if (b,) in parts[0]}
        drawn = bootstrap_metrics(
            rows["customer"].to_numpy(), models, n_resamples=options.resamples
        )
        each = np.stack([seed.evaluate() for seed in seeds])
        print(f"{task}: {len(rows):,} rows, {rows['customer'].n_unique():,} customers")
        for i, metric in enumerate(drawn.metrics):
            mean = drawn.intervals(own)[metric]
            spread = each[:, i].std(ddof=1) if len(seeds) > 1 else float("nan")
            print(f"  {metric:<22}{mean.estimate:9.4f} ({spread:.4f}) {_span(mean)}")
            for other in models:
                if other != own:
                    gap = drawn.difference(own, other)[metric]
                    value = drawn.estimates[other][i]
                    print(f"    {other:<20}{value:9.4f}   {gap.estimate:+.4f} {_span(gap)}")
        print()


def _span(interval: object) -> str:
    return f"[{interval.low:+.4f}, {interval.high:+.4f}]"  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
