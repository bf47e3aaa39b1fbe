"""Gradient-boosted trees on recency, frequency, monetary value, gaps and touches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from seqmarket.errors import SeqmarketError
from seqmarket.nn.per_task import PerTask, answerable
from seqmarket.nn.rfm import RfmFeatures
from seqmarket.schema import EventArrays, LabelTable, SequenceSpec, TaskKind


class GradientBoosting:
    """LightGBM, one model per binary task, and two per amount: of its mean and of its median.

    Deterministic for a given number of threads. With one class only, it predicts the base rate,
    smoothed by one row of each class. The number of trees is fixed: a baseline is given
    training rows only, so it has nothing to stop early on.

    Source: Ke et al., LightGBM: a highly efficient gradient boosting decision tree, NeurIPS 2017.

    Args:
        spec: Sizes and names of the data.
        n_trees: Number of trees.
        learning_rate: Shrinkage of each tree.
        num_leaves: Most leaves of a tree.
        min_rows_per_leaf: Fewest training rows in a leaf.
        row_share: Share of the rows drawn for each tree.
        feature_share: Share of the features drawn for each tree.
        l2: L2 penalty on the values of leaves.
        max_channels: Only that many of the most frequent channels get features of their own.
        static: Whether to use the customers' static features.
        seed: Of the drawn rows and features.
        num_threads: Threads of LightGBM.

    Raises:
        SeqmarketError: If LightGBM is not installed.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "amount"})

    def __init__(
        self,
        spec: SequenceSpec,
        n_trees: Annotated[int, Ge(1)] = 300,
        learning_rate: Annotated[float, Gt(0)] = 0.03,
        num_leaves: Annotated[int, Ge(2), Le(131_072)] = 15,
        min_rows_per_leaf: Annotated[int, Ge(0)] = 50,
        row_share: Annotated[float, Gt(0), Le(1)] = 0.8,
        feature_share: Annotated[float, Gt(0), Le(1)] = 0.5,
        l2: Annotated[float, Ge(0)] = 5.0,
        max_channels: Annotated[int, Ge(0)] = 12,
        static: bool = True,
        seed: Annotated[int, Ge(0), Le(2**31 - 1)] = 0,
        num_threads: Annotated[int, Ge(1)] = 1,
    ) -> None:
        try:
            import lightgbm
        except ImportError as error:
            raise SeqmarketError(
                "the baseline gbdt needs LightGBM, which is not installed",
                where="model=gbdt",
                fix="pip install 'seqmarket[gbdt]'",
            ) from error
        self._lightgbm = lightgbm
        self._features = RfmFeatures(spec, max_channels, static)
        self._n_trees = n_trees
        self._parameters: dict[str, Any] = {
            "learning_rate": learning_rate,
            "num_leaves": num_leaves,
            "min_data_in_leaf": min_rows_per_leaf,
            "bagging_fraction": row_share,
            "bagging_freq": 1,
            "feature_fraction": feature_share,
            "lambda_l2": l2,
            "seed": seed,
            "num_threads": num_threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self._boosters: PerTask[Any] = PerTask("gbdt")  # a booster, two, or a base rate

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Grows one model per task."""
        for task, table in answerable(tables, self.kinds, "gbdt").items():
            if table.kind == "amount":
                self._boosters[task] = self._of_amounts(events, table)
                continue
            n_positive = int(table.label.sum())
            if n_positive in (0, len(table)):
                self._boosters[task] = (n_positive + 1) / (len(table) + 2)
                continue
            features, _ = self._features(events, table)
            self._boosters[task] = self._grow(features, table.label, "binary")

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N,) probabilities of label 1, or (N, 2) expected amounts and medians."""
        booster = self._boosters[table.task]
        if isinstance(booster, float):
            return np.full(len(table), booster)
        features, _ = self._features(events, table)
        threads = self._parameters["num_threads"]
        grown = booster if table.kind == "amount" else [booster]
        columns = [model.predict(features, num_threads=threads) for model in grown]
        answer = np.stack(columns, axis=1).astype(np.float64)
        return answer if table.kind == "amount" else answer[:, 0]

    def _of_amounts(self, events: EventArrays, table: LabelTable) -> tuple[Any, Any]:
        features, _ = self._features(events, table)
        # Many amounts are 0 and the others are skewed; returns can make some negative.
        mean = "tweedie" if table.label.min() >= 0 and table.label.max() > 0 else "regression"
        return (
            self._grow(features, table.label, mean),
            self._grow(features, table.label, "regression_l1"),
        )

    def _grow(self, features: NDArray[np.float32], label: NDArray[Any], objective: str) -> Any:
        rows = self._lightgbm.Dataset(features, label, free_raw_data=True)
        parameters = {**self._parameters, "objective": objective}
        return self._lightgbm.train(parameters, rows, self._n_trees)
