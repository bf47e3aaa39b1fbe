"""Figures of a run: each function takes arrays and returns a matplotlib `Figure`."""

from seqmarket.training.plots.amounts import amounts_by_group, quantile_coverage
from seqmarket.training.plots.curves import (
    calibration_curves,
    lift_curve,
    precision_recall_curves,
    roc_curves,
    score_distribution,
)
from seqmarket.training.plots.journey import attention_journey
from seqmarket.training.plots.overview import (
    confusion_matrix,
    learning_curves,
    metric_comparison,
)

__all__ = [
    "amounts_by_group",
    "attention_journey",
    "calibration_curves",
    "confusion_matrix",
    "learning_curves",
    "lift_curve",
    "metric_comparison",
    "precision_recall_curves",
    "quantile_coverage",
    "roc_curves",
    "score_distribution",
]
