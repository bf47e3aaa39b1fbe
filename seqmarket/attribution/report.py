"""What is left behind of an attribution: a folder of tables and figures, whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.attribution import plots
from seqmarket.attribution.comparison import comparison_table
from seqmarket.attribution.config import AttributionSettings
from seqmarket.attribution.evaluation import truth_table
from seqmarket.attribution.run import Attributed, counts
from seqmarket.attribution.summary import channel_summary
from seqmarket.attribution.touch_table import attribution_table
from seqmarket.data.splits import to_datetime
from seqmarket.data.spreadsheet import write_csv
from seqmarket.data.whole_folder import replacing
from seqmarket.training.config import ComponentConfig
from seqmarket.training.tracking.environment import environment_tags

ABOUT = "about.json"
MARKS = (ABOUT, "channels.parquet")
"""Files by which the folder of an attribution is known."""


@dataclass(frozen=True)
class Report:
    """The tables of an attribution.

    Attributes:
        attributed: What the methods say.
        methods: How they were configured.
    """

    attributed: Attributed
    methods: Mapping[str, ComponentConfig]

    @cached_property
    def channels(self) -> pl.DataFrame:
        """See `channel_summary`."""
        found, asked = self.attributed, self.attributed.settings
        return channel_summary(
            found.journeys,
            found.attributions,
            n_resamples=asked.resamples,
            seed=asked.seed,
            level=asked.level,
        )

    @cached_property
    def comparison(self) -> pl.DataFrame:
        """See `comparison_table`."""
        return comparison_table(self.attributed.journeys, self.attributed.attributions)

    @cached_property
    def truth(self) -> pl.DataFrame | None:
        """See `truth_table`; None where it is not known."""
        found = self.attributed
        if found.truth is None:
            return None
        return truth_table(found.journeys, found.attributions, found.truth)

    def metrics(self) -> dict[str, float]:
        """A few numbers for the run, by name."""
        prefix = f"attribution/{self.attributed.settings.fold}"
        organic = self.comparison.filter(pl.col("method") == pl.col("other"))
        found = {
            f"{prefix}/{method}/organic_share": share
            for method, share in organic.select("method", "organic_share").iter_rows()
            if share is not None
        }
        if self.truth is not None:
            for method, error in self.truth.select("method", "share_error").iter_rows():
                if math.isfinite(error):  # there are no shares of nothing, or of harm
                    found[f"{prefix}/{method}/share_error"] = error
        return found

    def about(self) -> dict[str, Any]:
        """What was asked for, of what, and with which code."""
        found = self.attributed
        period = found.journeys.period
        methods = {
            name: {
                "_target_": self.methods[name].target,
                **self.methods[name].options,
                "organic_is": attribution.organic_is,
                "seconds": round(found.seconds[name], 3),
            }
            for name, attribution in found.attributions.items()
        }
        return {
            "log": found.log_name,
            "data_fingerprint": found.trained.store_fingerprint,
            "model": found.trained.config.model.target,
            "period": [to_datetime(moment).isoformat() for moment in (period.start, period.end)],
            "customers": int(found.journeys.members.sum()),
            **counts(found.journeys),
            "settings": found.settings.model_dump(
                mode="json", include=set(AttributionSettings.model_fields)
            ),
            "methods": methods,
            "left_out": dict(found.left_out),
            "environment": environment_tags(),
        }

    def write(self, folder: Path) -> None:
        """Writes everything into a folder; an earlier attribution there is replaced.

        Raises:
            SeqmarketError: The folder holds something else.
            OSError: The system does not let us.
        """
        with replacing(folder, MARKS) as beside:
            found = self.attributed
            touches = attribution_table(found.journeys, found.attributions)
            touches.write_parquet(beside / "touches.parquet")
            tables = {"channels": self.channels, "comparison": self.comparison, **found.checks}
            for name, table in tables.items():
                table.write_parquet(beside / f"{name}.parquet")
                write_csv(table, beside / f"{name}.csv")
            if self.truth is not None:
                write_csv(self.truth, beside / "truth.csv")
            (beside / "plots").mkdir()
            for name, figure in plots.figures(self.attributed, self.channels):
                figure.savefig(beside / "plots" / f"{name}.png", bbox_inches="tight")
            text = json.dumps(self.about(), indent=1, ensure_ascii=False)
            (beside / ABOUT).write_text(text, encoding="utf-8")
