"""What can be said of methods besides their truth: which checks a log and a run allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import polars as pl

from seqmarket.attribution.attributor import Attribution, Attributor, Evidence
from seqmarket.attribution.config import AttributionSettings
from seqmarket.attribution.faithfulness import faithfulness_table
from seqmarket.attribution.holdout import HELD_OUT, has_holdout, holdout_table
from seqmarket.attribution.replay import Known, replay_table
from seqmarket.attribution.stability import stability_table
from seqmarket.errors import SeqmarketError
from seqmarket.training.checkpoint import untrained

Check = Callable[[], pl.DataFrame]


def checks_of(
    evidence: Evidence,
    attributions: Mapping[str, Attribution],
    methods: Mapping[str, Attributor],
    settings: AttributionSettings,
    tell: Callable[[str], None],
    known: Known | None = None,
) -> dict[str, pl.DataFrame]:
    """Name of a table -> the table; a check that cannot be made is told and left out.

    Args:
        evidence: What the methods looked at.
        attributions: What they said, by name.
        methods: The methods themselves.
        settings: Which checks are asked for.
        tell: Told of each check that is done, in a line.
        known: What is known of a simulated world.
    """
    found = {}
    for name, check in _possible(evidence, attributions, methods, settings, known):
        began = time.perf_counter()
        try:
            found[name] = check()
        except SeqmarketError as error:
            tell(f"{name} is left out: {error.what}")
            continue
        tell(f"{name} {time.perf_counter() - began:.1f} s")
    return found


def _possible(
    evidence: Evidence,
    attributions: Mapping[str, Attribution],
    methods: Mapping[str, Attributor],
    settings: AttributionSettings,
    known: Known | None,
) -> Iterator[tuple[str, Check]]:
    trained = evidence.trained
    if settings.faithfulness and trained is not None and trained.model is not None:
        yield (
            "faithfulness",
            lambda: faithfulness_table(
                evidence,
                attributions,
                methods,
                untrained(trained, settings.seed),
                conversions=settings.faithfulness,
                n_resamples=settings.resamples,
                seed=settings.seed,
                level=settings.level,
            ),
        )
    journeys, column = evidence.journeys, settings.holdout
    if column or has_holdout(journeys):
        yield (
            "holdout",
            lambda: holdout_table(
                journeys, attributions, column=column or HELD_OUT, level=settings.level
            ),
        )
    if settings.replay:
        yield (
            "replay",
            lambda: replay_table(
                journeys, attributions, settings.replay, seed=settings.seed, known=known
            ),
        )
    if settings.stability:
        yield (
            "stability",
            lambda: stability_table(
                evidence,
                attributions,
                methods,
                n_resamples=settings.resamples,
                seed=settings.seed,
                level=settings.level,
            ),
        )
