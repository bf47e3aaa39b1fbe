"""What can be set about attributing a run's journeys: the typed form of `conf/attribute.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from seqmarket.attribution.attributor import Attributor
from seqmarket.attribution.journeys import JourneySettings
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import ComponentConfig, PathsConfig
from seqmarket.training.config_errors import explain
from seqmarket.training.instantiate import build, resolve_target
from seqmarket.training.tracking.settings import TrackingSettings


class AttributionSettings(Settings):
    """Whose journeys are attributed, and how unsure the figures are.

    Attributes:
        fold: The period whose conversions are attributed.
        journeys: How journeys are made of the log.
        resamples: Of customers, behind each interval; 0: no intervals.
        level: Of the intervals.
        seed: Of the resamples, and of the choice of sample journeys.
        sample_journeys: Journeys that are drawn touch by touch.
        faithfulness: Conversions at most that the run's model is asked about without the touches
            that have the most credit; 0: none.
        holdout: Categorical feature of the customers that says which channel they were kept from by
            lot (`holdout_table`); null: `held_out`, where the log has it.
        replay: Budgets, in parts of what the touches of the period cost, that are spent by each
            method's credit (`replay_table`); empty: none.
        stability: Whether every method is run again, four times, on changed journeys.
    """

    fold: Literal["train", "validation", "test"] = "test"
    journeys: JourneySettings = JourneySettings()
    resamples: int = Field(500, ge=0)
    level: float = Field(0.9, gt=0, lt=1)
    seed: int = Field(1, ge=0, le=2**32 - 1)
    sample_journeys: int = Field(6, ge=0, le=12)
    faithfulness: int = Field(1_000, ge=0)
    holdout: str | None = None
    replay: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.25, 0.5, 0.75)
    stability: bool = False


class AttributeConfig(AttributionSettings):
    """One call of the command.

    Attributes:
        run_id: The run: a folder, a checkpoint file, `last`, or the id of an MLflow run.
        attribution: The methods by name.
        output: Folder for what is found; null: in the run's folder.
        paths: Where runs are looked for.
        tracking: Where MLflow runs are looked for, and whether what is found goes there.
    """

    run_id: str | None = None
    attribution: dict[str, ComponentConfig] = Field(min_length=1)
    output: Path | None = None
    paths: PathsConfig = PathsConfig()
    tracking: TrackingSettings = TrackingSettings()


def parse_attribute_config(plain: Mapping[str, Any]) -> AttributeConfig:
    """Checks a composed, resolved configuration.

    Raises:
        SeqmarketError: Names every wrong key.
    """
    if not plain.get("attribution"):
        raise SeqmarketError(
            "no method is named", where="attribution", fix="attribution=all, or one of its methods"
        )
    try:
        return AttributeConfig.model_validate(plain)
    except ValidationError as error:
        raise explain(error, AttributeConfig) from error


def build_methods(components: Mapping[str, ComponentConfig]) -> dict[str, Attributor]:
    """The methods, by name.

    Raises:
        SeqmarketError: A setting is wrong, or a class is no method.
    """
    methods = {}
    for name, component in components.items():
        prefix = f"attribution.{name}."
        target = resolve_target(component.target, prefix)
        if not all(hasattr(target, needed) for needed in ("attribute", "signed")):
            raise SeqmarketError(
                f"'{component.target}' is not a method of attribution",
                where=f"{prefix}_target_",
                fix="a method has attribute(evidence) and signed",
            )
        methods[name] = build(component, prefix=prefix)
    return methods
