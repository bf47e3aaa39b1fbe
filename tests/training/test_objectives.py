"""What a model is trained on: which tasks share a head, how its losses are weighed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from seqmarket.data.dense import HazardObjective, NextObjective, WindowObjective
from seqmarket.data.labels import Neighbours
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.nn.hazard import HazardHead
from seqmarket.nn.heads import BinaryHead, ClassHead
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.next_event import NextEventHead
from seqmarket.nn.value import ValueHead
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    QUANTILES,
    EventFilter,
)
from seqmarket.training.checkpoint import build_model
from seqmarket.training.config import ComponentConfig, TrainingConfig
from seqmarket.training.objectives import Trained, make_objectives
from seqmarket.training.task_settings import TasksConfig
from seqmarket.training.tasks import make_tasks

DAY = MICROSECONDS_PER_DAY
HAZARD, LOGISTIC = TrainingConfig(), TrainingConfig(window_heads="logistic")
EVERY: dict[str, Any] = {
    "next_channel": {"weight": 0.5},
    "next_event_type": {"weight": 3.0},
    "time_to_next": {"weight": 2.0},
    "purchase": {"active_by": "event"},
    "churn": {"weight": 0.5},
    "value": {"weight": 0.25},
    "custom": {
        "coupon": {"event_type": ["redemption"]},
        "no_coupon": {"event_type": ["redemption"], "outcome": "absent", "window": "7d"},
        "online": {"channel": ["web"]},
        "buys": {"purchase": True, "window": "90d", "weight": 3.0},
        "worth": {"purchase": True, "outcome": "value"},
    },
}


def objectives_of(settings: TrainingConfig = HAZARD, **tasks: Any) -> dict[str, Trained]:
    return make_objectives(make_tasks(TasksConfig.model_validate(tasks)), settings)


def answered(objectives: Mapping[str, Trained]) -> dict[str, list[str]]:
    """The tasks that each objective answers."""
    return {name: [task.name for task in found.tasks] for name, found in objectives.items()}


def test_tasks_that_wait_for_the_same_event_share_a_hazard() -> None:
    objectives = objectives_of(**EVERY)
    assert answered(objectives) == {
        "next_event": ["next_channel", "time_to_next"],
        "next_event_type": ["next_event_type"],
        "value": ["value"],
        "worth": ["worth"],
        "time_to_purchase": ["purchase", "churn", "buys"],
        "time_to_coupon_or_no_coupon": ["coupon", "no_coupon"],
        "time_to_online": ["online"],
    }
    shared = objectives["time_to_purchase"].points
    assert isinstance(shared, HazardObjective)
    assert (shared.target, shared.horizon) == (PURCHASES, 90 * DAY)
    # Whoever any of the tasks asks about is learnt from.
    assert set(shared.active) == {(EVERY_EVENT, 56 * DAY), (PURCHASES, 56 * DAY)}
    own = objectives["time_to_coupon_or_no_coupon"].points
    assert isinstance(own, HazardObjective)
    assert own.target == EventFilter(event_type=("redemption",))
    assert own.horizon == 28 * DAY


def test_logistic_heads_answer_one_task_each() -> None:
    objectives = objectives_of(LOGISTIC, **EVERY)
    windows = ["purchase", "churn", "value", "coupon", "no_coupon", "online", "buys", "worth"]
    assert list(objectives) == ["next_event", "next_event_type", *windows]
    for name in windows:
        points = objectives[name].points
        assert isinstance(points, WindowObjective)
        assert points.rule == objectives[name].tasks[0].rule
        assert points.rule.task == name


@pytest.mark.parametrize("settings", [HAZARD, LOGISTIC])
@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (["next_channel"], {"next_channel": ["next_channel"]}),
        (["time_to_next"], {"time_to_next": ["time_to_next"]}),
        (["next_channel", "time_to_next"], {"next_event": ["next_channel", "time_to_next"]}),
        (
            ["next_event_type", "time_to_next"],
            {"next_event_type": ["next_event_type"], "time_to_next": ["time_to_next"]},
        ),
        (["value"], {"value": ["value"]}),
    ],
)
def test_what_is_asked_of_the_next_event(
    tasks: list[str], expected: dict[str, list[str]], settings: TrainingConfig
) -> None:
    objectives = objectives_of(settings, **{name: {} for name in tasks})
    assert answered(objectives) == expected
    for objective in objectives.values():
        if isinstance(objective.points, NextObjective):
            # How long nothing comes says something about the time, and nothing about the class.
            about_time = any(task.kind == "duration" for task in objective.tasks)
            assert objective.points.censored == about_time


def test_weights_are_those_of_the_tasks() -> None:
    weights = {name: found.weight for name, found in objectives_of(**EVERY).items()}
    assert weights == {
        "next_event": 2.0,
        "next_event_type": 3.0,
        "value": 0.25,
        "worth": 1.0,
        "time_to_purchase": (1.0 + 0.5 + 3.0) / 3,
        "time_to_coupon_or_no_coupon": 1.0,
        "time_to_online": 1.0,
    }
    apart = objectives_of(LOGISTIC, **EVERY)
    assert {name: apart[name].weight for name in ("purchase", "churn", "buys")} == {
        "purchase": 1.0,
        "churn": 0.5,
        "buys": 3.0,
    }


def weighs_class_and_time(head: NextEventHead, weight: float) -> None:
    """Both parts of the joint loss count as much as the user says, whichever is the larger."""
    assert weight * head.class_weight == pytest.approx(0.5)
    assert weight * head.time_weight == pytest.approx(2.0)


def test_the_joint_loss_weighs_its_parts(store: SequenceStore) -> None:
    joint = objectives_of(**EVERY)["next_event"]
    head = joint.make_head(store.spec, 8, HAZARD)
    assert isinstance(head, NextEventHead)
    weighs_class_and_time(head, joint.weight)
    with pytest.raises(AssertionError):
        weighs_class_and_time(head, 1.0)


HEADS: dict[str, Callable[[Any], bool]] = {
    "next_event": lambda head: isinstance(head, NextEventHead),
    "next_event_type": lambda head: isinstance(head, ClassHead),
    "value": lambda head: isinstance(head, ValueHead),
    "time_to_purchase": lambda head: isinstance(head, HazardHead),
    "purchase": lambda head: isinstance(head, BinaryHead),
    "churn": lambda head: isinstance(head, BinaryHead),
}


def small_model(store: SequenceStore, settings: TrainingConfig, **tasks: Any) -> JourneyModel:
    gru = ComponentConfig(target="seqmarket.models.gru.GRUEncoder", options={"d_model": 8})
    return build_model(
        gru, store.spec, make_tasks(TasksConfig.model_validate(tasks)), settings
    ).eval()


def test_every_task_has_a_head_of_its_kind(store: SequenceStore) -> None:
    tasks = make_tasks(TasksConfig.model_validate(EVERY))
    for settings in (HAZARD, LOGISTIC):
        model = small_model(store, settings, **EVERY)
        assert list(model.head_of) != []
        assert set(model.head_of) == set(tasks)
        assert set(model.head_of.values()) == set(model.heads)
        for name, fits in HEADS.items():
            assert name not in model.heads or fits(model.heads[name])
        width = 8 if model.pooling is None else 8 + model.pooling.width
        answers = model.score(torch.zeros(3, width), torch.zeros(3), torch.zeros(3).double())
        shapes = {
            "binary": lambda classes: (3,),
            "categorical": lambda classes: (3, len(classes)),
            "amount": lambda classes: (3, 2),
            "duration": lambda classes: (3, len(QUANTILES)),
        }
        for name, task in tasks.items():
            assert answers[name].shape == shapes[task.kind](task.classes(store.spec))


def test_settings_reach_their_heads(store: SequenceStore) -> None:
    settings = TrainingConfig(
        window_heads="logistic", label_smoothing=0.25, time_components=3, head_hidden=5
    )
    tasks = {**EVERY, "churn": {"positive_weight": 4.0}}
    heads: Any = small_model(store, settings, **tasks).heads
    assert heads["churn"].positive_weight == 4.0
    assert heads["purchase"].positive_weight == 1.0
    for name in ("next_event_type", "next_event"):
        assert heads[name].label_smoothing == 0.25
    assert heads["next_event"].components == 3
    assert heads["churn"].reader.out.in_features == 5
    heads = small_model(store, TrainingConfig(hazard_bins=2), **EVERY).heads
    # A hazard needs some bins besides those that end at its windows.
    assert heads["time_to_purchase"].reader.out.out_features == 6
    assert heads["time_to_online"].reader.out.out_features == 2


def test_windows_and_their_meaning_reach_the_hazard(store: SequenceStore) -> None:
    head: Any = small_model(store, HAZARD, **EVERY).heads["time_to_purchase"]
    assert head.tasks == ["purchase", "churn", "buys"]
    assert head.windows.tolist() == [7.0, 28.0, 90.0]
    assert head.absent == [False, True, False]


@pytest.mark.parametrize("settings", [HAZARD, LOGISTIC])
def test_a_name_that_torch_needs_is_refused(settings: TrainingConfig) -> None:
    worth = {"purchase": True, "outcome": "value"}
    with pytest.raises(SeqmarketError, match="cannot have the name type") as caught:
        objectives_of(settings, custom={"type": worth})
    assert caught.value.where == "task.custom.type"


def counts_time_or_points(store: SequenceStore, **tasks: Any) -> None:
    """Exposure weighs a point by the time it stands for; uniform weights are all the same."""
    near = Neighbours(store.events, store.spec)
    for window_heads in ("hazard", "logistic"):
        weights = {}
        for point_weights in ("exposure", "uniform"):
            settings = TrainingConfig.model_validate(
                {"window_heads": window_heads, "point_weights": point_weights}
            )
            (objective,) = objectives_of(settings, **tasks).values()
            dense = objective.points.points(near, store.split)
            weights[point_weights] = dense.draw(np.random.default_rng(0)).weight
        exposure, uniform = weights["exposure"], weights["uniform"]
        assert exposure.dtype == uniform.dtype == np.float32
        assert set(uniform) == {0.0, 1.0}
        assert ((exposure > 0) == (uniform > 0)).all()
        assert exposure[exposure > 0].mean() == pytest.approx(1.0, rel=1e-3)
        assert exposure.std() > 0.5


@pytest.mark.parametrize("task", ["purchase", "value"])
def test_point_weights_are_exposures_or_uniform(store: SequenceStore, task: str) -> None:
    counts_time_or_points(store, **{task: {}})


def test_point_weights_that_go_nowhere_are_noticed(
    store: SequenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = HazardObjective.__init__
    monkeypatch.setattr(
        HazardObjective,
        "__init__",
        lambda self, target, horizon, active, exposure: own(self, target, horizon, active, True),
    )
    with pytest.raises(AssertionError):
        counts_time_or_points(store, purchase={})
