"""What an encoder learns before it is trained on the tasks: settings of `conf/pretrain/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seqmarket.data.settings import Settings
from seqmarket.training.config_errors import wrong


class NoPretraining(Settings):
    """Nothing is learnt before.

    Attributes:
        objective: `none`.
        checkpoint: An encoder that was pre-trained earlier, to start from; null: untrained.
    """

    objective: Literal["none"] = "none"
    checkpoint: Path | None = None


class PretrainingLoop(Settings):
    """A fixed number of epochs of AdamW, its learning rate falling to 0 along a cosine.

    Attributes:
        epochs: Passes over the training period.
        batch_size: What is in a batch, see the objective.
        lr: Learning rate of the first step.
        weight_decay: Of AdamW.
    """

    epochs: int = Field(5, ge=1)
    batch_size: int = Field(16, ge=1)
    lr: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)


class NextEventPretraining(PretrainingLoop):
    """Channel, type, gap and value of the next event, from every event; a batch is of windows.

    Attributes:
        objective: `next_event`.
    """

    objective: Literal["next_event"] = "next_event"


class ContrastivePretraining(PretrainingLoop):
    """Which slices are of the same customer; a batch is of customers.

    Attributes:
        objective: `contrastive`.
        slices: Of each customer in a batch.
        min_length: Events of the shortest slice.
        max_length: Events of the longest one.
        temperature: Of the softmax over cosines.
    """

    objective: Literal["contrastive"] = "contrastive"
    epochs: int = Field(15, ge=1)
    batch_size: int = Field(64, ge=2)
    slices: int = Field(3, ge=2)
    min_length: int = Field(8, ge=1)
    max_length: int = Field(64, ge=1)
    temperature: float = Field(0.1, gt=0)

    @model_validator(mode="after")
    def _some_length_is_possible(self) -> Self:
        if self.max_length < self.min_length:
            raise wrong("max_length", f"it is below min_length, {self.min_length}; raise it")
        return self


PretrainConfig = Annotated[
    NoPretraining | NextEventPretraining | ContrastivePretraining,
    Field(discriminator="objective"),
]
