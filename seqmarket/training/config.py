"""The typed form of a whole run: what `conf/` composes to, checked key by key.

Hydra composes the YAML files and the overrides; `parse_config` turns the plain result into a
`RunConfig` or says what is wrong with it. Imports nothing heavy, so that a mistake is reported
before any library loads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from seqmarket.data.cleaning.settings import CleaningRule
from seqmarket.data.gate.settings import IdentitySettings, PrivacySettings
from seqmarket.data.loader_settings import LoaderSettings
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import (
    EncodingSettings,
    ResourceSettings,
    Settings,
    SplitSettings,
    ValidationSettings,
)
from seqmarket.training.config_errors import explain, wrong
from seqmarket.training.pretrain_settings import NoPretraining, PretrainConfig
from seqmarket.training.task_settings import CustomTask, TasksConfig
from seqmarket.training.tracking.settings import TrackingSettings

_NOT_PART_OF_A_RUN = ("ckpt_path", "hydra", "name", "paths", "tracking")
_NOT_PART_OF_TRAINING = (
    "max_epochs",
    "num_workers",
    "worker_start",
    "prefetch",
    "checkpoint_every",
)
_LOG_NAME = re.compile(r"[\w.-]+")


def _gather_options(value: Any, known: set[str]) -> Any:
    """Moves the keys of a YAML node that are not settings of ours under `options`."""
    if not isinstance(value, Mapping) or "_target_" not in value:
        return value
    options = {key: item for key, item in value.items() if key not in known}
    options.pop("_partial_", None)
    return {**{key: value[key] for key in known if key in value}, "options": options}


class ComponentConfig(Settings):
    """A class to build, and the keyword arguments that the user set.

    Attributes:
        target: Dotted path of the class; ``_target_`` in YAML.
        options: Every other key of the node, without Hydra's own ``_partial_``.
    """

    model_config = ConfigDict(populate_by_name=True)

    target: str = Field(alias="_target_")
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return _gather_options(value, {"_target_"})


class DataConfig(Settings):
    """Which log is read, and how it is checked, divided and encoded.

    Attributes:
        target: Dotted path of the source's class; ``_target_`` in YAML.
        split: Training, validation and test.
        encoding: From categories and numbers to tensors.
        validation: What happens to rows that break a rule.
        cleaning: What is mended or left out, in order.
        identity: Which identifiers are the same customer.
        privacy: What customers' data must fulfil before anything is stored.
        engine: What the log is encoded with: threads of this process, or a Ray cluster.
        resources: What encoding may use.
        options: Every other key of the node: the options of the source.
    """

    model_config = ConfigDict(populate_by_name=True)

    target: str = Field(alias="_target_")
    split: SplitSettings = SplitSettings()
    encoding: EncodingSettings = EncodingSettings()
    validation: ValidationSettings = ValidationSettings()
    cleaning: tuple[CleaningRule, ...] = ()
    identity: IdentitySettings = IdentitySettings()
    privacy: PrivacySettings = PrivacySettings()
    engine: Literal["local", "ray"] = "local"
    resources: ResourceSettings = ResourceSettings()
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def log(self) -> LogSettings:
        """Everything that shapes the validated log beside its source."""
        return LogSettings(
            validation=self.validation,
            cleaning=self.cleaning,
            identity=self.identity,
            privacy=self.privacy,
        )

    @property
    def source(self) -> ComponentConfig:
        """The part of the node that builds the source."""
        return ComponentConfig(target=self.target, options=self.options)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        return _gather_options(value, {"_target_", *cls.model_fields} - {"target", "options"})

    @model_validator(mode="after")
    def _name_fits_a_file(self) -> Self:
        name = self.options.get("name")
        if isinstance(name, str) and not _LOG_NAME.fullmatch(name):
            raise wrong(
                "name",
                f"a name of letters, digits, '_', '-' and '.' is needed, as files are named by it; "
                f"got {name!r}",
            )
        return self

    @model_validator(mode="after")
    def _something_is_left_to_test(self) -> Self:
        split = self.split
        by_shares = split.kind != "time" or split.validation_end is None
        if by_shares and split.train_fraction + split.validation_fraction >= 1:
            raise wrong(
                "split.train_fraction",
                "with validation_fraction it leaves nothing for the test; "
                "make their sum smaller than 1",
            )
        return self


def _adamw() -> ComponentConfig:
    return ComponentConfig(
        target="torch.optim.AdamW", options={"lr": 1.5e-3, "weight_decay": 0.01, "fused": True}
    )


class TrainingConfig(LoaderSettings):
    """How a deep model is fitted, and how every model is judged; with how batches are loaded.

    Attributes:
        max_epochs: Most passes over the training journeys.
        optimizer: Built with the parameters of the model.
        warm_up_fraction: Share of all steps in which the learning rate rises from 0.
        final_lr_fraction: What is left of the learning rate at the last step, after cosine decay.
        gradient_clip: Largest norm of the gradient.
        patience: Epochs without a better validation loss before the fit stops.
        ema_decay: Of the running average of the weights that is evaluated and kept; null: the
            last step's weights are.
        calibration: How probabilities are corrected, on the validation period: `platt` or
            `isotonic` scaling of a yes or no, one temperature of classes with either; or `none`.
        threads: Of torch. The default models are small: with two threads a step takes almost twice
            as long as with one. The exact results depend on it.
        checkpoint_every: Steps after which `last.ckpt` is renewed within an epoch, too. A run that
            goes on from there logs the training loss of the rest of that epoch.
        head_hidden: Width of the hidden layer of each task's head.
        head_dropout: Dropout in the heads.
        pooling: What a head reads: the state after the newest event (`last`), or besides what it
            finds by `attention` over all touches, which then explains it.
        window_heads: What answers yes or no about a window: one `hazard` for all windows that wait
            for the same event, or a `logistic` output per task.
        hazard_bins: Stretches of time in which a hazard is constant.
        time_components: Log-normals in the mixture of the time to the next event.
        label_smoothing: Share of a class label that is spread over all classes.
        point_weights: What a training point of a window task counts: the `exposure`, that is the
            stretch of time that it was drawn from, or the same for all (`uniform`).
        resamples: Bootstrap resamples of customers behind each interval of a test metric.
    """

    max_epochs: int = Field(15, ge=1)
    optimizer: ComponentConfig = Field(default_factory=_adamw)
    warm_up_fraction: float = Field(0.05, ge=0, lt=1)
    final_lr_fraction: float = Field(0.05, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)
    patience: int = Field(5, ge=1)
    ema_decay: float | None = Field(0.998, gt=0, lt=1)
    calibration: Literal["platt", "isotonic", "none"] = "platt"
    threads: int = Field(1, ge=1)
    checkpoint_every: int = Field(1_000, ge=1)
    head_hidden: int = Field(128, ge=1)
    head_dropout: float = Field(0.1, ge=0, lt=1)
    pooling: Literal["attention", "last"] = "attention"
    window_heads: Literal["hazard", "logistic"] = "hazard"
    hazard_bins: int = Field(24, ge=2)
    time_components: int = Field(8, ge=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    point_weights: Literal["exposure", "uniform"] = "exposure"
    resamples: int = Field(500, ge=0)


def _share_or_number(value: float) -> float:
    whole = value >= 1 and float(value).is_integer()
    if not (0 < value <= 1 or whole):
        raise ValueError(
            f"a share above 0 and up to 1, or a whole number of batches is needed; got {value!r}"
        )
    return value if value <= 1 else int(value)


BatchLimit = Annotated[int | float, AfterValidator(_share_or_number)]
"""A number of batches, or a share of all: 1 is one batch, 1.0 is every batch."""


class TrainerConfig(Settings):
    """What Lightning's `Trainer` is told about the machine.

    Attributes:
        accelerator: `cpu`, `gpu`, `mps` or `auto`.
        devices: How many devices, or `auto`.
        num_nodes: How many machines.
        strategy: `auto`, or `ddp` for several devices. Strategies that start processes other than
            by this command line, such as `ddp_spawn`, would each record a run of their own.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        deterministic: Whether only deterministic kernels are used.
        limit_train_batches: A number of batches per epoch, or a share of them; null: all.
        limit_val_batches: The same for the validation loss.
        enable_progress_bar: Null: on a terminal only.
    """

    accelerator: Literal["cpu", "gpu", "cuda", "mps", "auto"] = "cpu"
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    num_nodes: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    deterministic: bool = True
    limit_train_batches: BatchLimit | None = None
    limit_val_batches: BatchLimit | None = None
    enable_progress_bar: bool | None = None

    @property
    def distributed(self) -> bool:
        """Whether more than one process may take part."""
        return self.strategy != "auto" or self.devices != 1 or self.num_nodes != 1


class PathsConfig(Settings):
    """Where things are written.

    Attributes:
        output_dir: Run directories.
        cache_dir: Encoded stores, found again by their fingerprint.
    """

    output_dir: Path = Path("outputs")
    cache_dir: Path = Path(".cache/seqmarket")


class RunConfig(Settings):
    """One run: a model, the baselines beside it, the log and the tasks.

    Attributes:
        seed: Of every random choice.
        name: Of the run in MLflow; null: made from the model and the data.
        ckpt_path: `last` or `best` of the newest run with the same settings, or a path; null: a
            fresh start.
        ensemble: Models that are trained, from consecutive seeds, and answer together.
        debug: Name of the debug overlay, if one is active.
        data: The log.
        model: What is trained and evaluated.
        baselines: What is evaluated beside it, on the same rows.
        task: What is predicted.
        pretrain: What the encoder learns before, without labels.
        training: How it is fitted and judged.
        trainer: On which devices.
        tracking: Where the run is recorded.
        paths: Where files are written.
    """

    seed: int = Field(1, ge=0, le=2**32 - 1)
    name: str | None = None
    ckpt_path: str | None = None
    ensemble: int = Field(1, ge=1)
    debug: str | None = None
    data: DataConfig
    model: ComponentConfig
    baselines: dict[str, ComponentConfig] = Field(default_factory=dict)
    task: TasksConfig
    pretrain: PretrainConfig = NoPretraining()
    training: TrainingConfig = TrainingConfig()
    trainer: TrainerConfig = TrainerConfig()
    tracking: TrackingSettings = TrackingSettings()
    paths: PathsConfig = PathsConfig()

    @model_validator(mode="after")
    def _an_ensemble_goes_on_as_a_whole(self) -> Self:
        if self.ensemble > 1 and self.ckpt_path not in (None, "last"):
            raise wrong(
                "ckpt_path",
                f"an ensemble goes on with ckpt_path=last, each member where it was left; "
                f"got {self.ckpt_path}",
            )
        return self

    @model_validator(mode="after")
    def _float16_needs_a_gpu(self) -> Self:
        if self.trainer.precision == "16-mixed" and self.trainer.accelerator == "cpu":
            raise wrong(
                "trainer.precision",
                "16-mixed is for GPUs; on a CPU train in 32-true or bf16-mixed",
            )
        return self

    @model_validator(mode="after")
    def _scaled_gradients_are_clipped(self) -> Self:
        if self.trainer.precision == "16-mixed" and self.training.optimizer.options.get("fused"):
            raise wrong(
                "training.optimizer.fused",
                "with trainer.precision=16-mixed gradients are scaled, and a fused optimizer "
                "undoes that after they were clipped; set it to false, or train in bf16-mixed",
            )
        return self

    @model_validator(mode="after")
    def _positive_weights_have_an_effect(self) -> Self:
        own = {"purchase": self.task.purchase, "churn": self.task.churn}
        custom = {f"custom.{name}": task for name, task in self.task.custom.items()}
        for name, task in {**own, **custom}.items():
            if task is None or task.positive_weight == 1:
                continue
            key = f"task.{name}.positive_weight"
            if isinstance(task, CustomTask) and task.outcome == "value":
                raise wrong(key, "a summed value has no positive label; leave it at 1")
            if self.training.window_heads == "hazard":
                raise wrong(
                    key,
                    f"a hazard weighs no labels, so {task.positive_weight:g} would have no effect; "
                    "leave it at 1, or set training.window_heads=logistic",
                )
        return self


def parse_config(plain: Mapping[str, Any]) -> RunConfig:
    """Checks a composed, resolved configuration.

    Args:
        plain: Nested dicts, lists and scalars, as `OmegaConf.to_container` gives them.

    Raises:
        SeqmarketError: Names every wrong key, its value and what was expected, and for an unknown
            key the nearest known one.
    """
    try:
        return RunConfig.model_validate(plain)
    except ValidationError as error:
        raise explain(error, RunConfig) from error


def config_digest(plain: Mapping[str, Any]) -> str:
    """SHA-256 over all that decides what a run computes, by which `ckpt_path=last` finds it.

    Left out are the settings that may differ between a run and its continuation: checkpoint,
    name, paths, tracking, the number of epochs, how batches are
    loaded, and what encodes the log with which resources.
    """
    kept = {key: value for key, value in plain.items() if key not in _NOT_PART_OF_A_RUN}
    training = dict(kept.get("training") or {})
    kept["training"] = {k: v for k, v in training.items() if k not in _NOT_PART_OF_TRAINING}
    data = dict(kept.get("data") or {})
    kept["data"] = {key: data[key] for key in data if key not in ("engine", "resources")}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
