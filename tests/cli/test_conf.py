"""Every shipped YAML composes, suits the schema, and names a class that takes its options."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from seqmarket.cli.compose import config_dir, load_config
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import ComponentConfig, RunConfig
from seqmarket.training.instantiate import resolve_target
from seqmarket.training.pretrain_settings import ContrastivePretraining, NextEventPretraining

GROUPS = (
    "data",
    "model",
    "task",
    "training",
    "pretrain",
    "recipe",
    "trainer",
    "tracking",
    "experiment",
    "debug",
)
OPTIONS = [
    f"{group}={file.stem}"
    for group in GROUPS
    for file in sorted((config_dir() / group).glob("*.yaml"))
    if not file.stem.startswith("_")
]


PROCESSES = ("experiment=bpic12", "experiment=bpi12w", "experiment=helpdesk")
"""Overlays for logs of the user's own."""


def parse(*overrides: str) -> RunConfig:
    needed = {
        "data=files": "data.path=log.parquet",
        "experiment=cdnow": "data.path=log.parquet",
        "experiment=cdnow_customers": "data.path=log.parquet",
        **dict.fromkeys(PROCESSES, "data.path=log.parquet"),
        "task=custom": "task.custom.occurrence.channel=[app]",
    }
    return load_config([*overrides, *(needed[item] for item in overrides if item in needed)])


def check_options(component: ComponentConfig) -> None:
    """Fails for an option that the constructor does not take."""
    known = inspect.signature(resolve_target(component.target)).parameters
    unknown = set(component.options) - set(known)
    assert not unknown, f"{component.target} takes no {unknown}"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_parses(option: str) -> None:
    config = parse(option)
    for component in (config.model, config.data.source, *config.baselines.values()):
        check_options(component)


def test_option_check_catches_an_unknown_option() -> None:
    with pytest.raises(AssertionError, match=r"takes no .*widht"):
        check_options(ComponentConfig(target="torch.nn.Linear", options={"widht": 3}))


def test_every_group_has_options() -> None:
    assert {option.partition("=")[0] for option in OPTIONS} == set(GROUPS)


def test_help_names_every_option() -> None:
    text = (config_dir() / "hydra/help/seqmarket.yaml").read_text()
    words = set(text.replace("=", " ").split())
    missing = [option for option in OPTIONS if not set(option.split("=")) <= words]
    assert not missing


def test_default_run_is_the_gru_beside_every_baseline() -> None:
    config = parse()
    assert config.model.target.startswith("seqmarket.models.gru.")
    assert set(config.baselines) == {
        "majority",
        "repeat_last",
        "usual_gap",
        "markov",
        "rfm_logistic",
        "gbdt",
    }
    asked = {name for name in type(config.task).model_fields if getattr(config.task, name)}
    assert asked == {"next_channel", "time_to_next", "purchase", "churn", "value"}
    assert "_partial_" not in config.model.options


def test_yaml_defaults_are_the_schema_defaults() -> None:
    """So that a configuration made in Python means the same as one made of files."""
    config = parse()
    typed = RunConfig.model_validate(
        {
            "data": {"_target_": "x.Y"},
            "model": {"_target_": "x.Y"},
            "task": {
                "next_channel": {},
                "time_to_next": {},
                "purchase": {},
                "churn": {},
                "value": {},
            },
        }
    )
    for part in ("task", "pretrain", "training", "trainer", "tracking", "paths", "seed"):
        assert getattr(config, part) == getattr(typed, part), part


def test_yaml_defaults_of_pre_training_are_the_schema_defaults() -> None:
    assert parse("pretrain=next_event").pretrain == NextEventPretraining()
    assert parse("pretrain=contrastive").pretrain == ContrastivePretraining()


def test_a_task_alone() -> None:
    task = parse("task=churn").task
    assert task.churn is not None
    assert task.purchase is None
    assert task.next_channel is None


def test_a_baseline_can_be_left_out() -> None:
    assert "gbdt" not in parse("~model@baselines.gbdt").baselines
    assert parse("~baselines").baselines == {}


@pytest.mark.parametrize("form", ["experiment=bpic12", "+experiment=bpic12", "++experiment=bpic12"])
def test_experiment_overlay_has_every_form(form: str) -> None:
    config = load_config([form, "data.path=log.parquet"])
    assert config.data.split.kind == "cohort"
    assert config.data.options["purchase_event_types"] == ["A_ACTIVATED+COMPLETE"]
    assert config.task.churn is not None
    assert config.task.churn.active_by == "event"


@pytest.mark.parametrize("form", PROCESSES[1:])
def test_overlays_of_the_published_protocol(form: str) -> None:
    config = parse(form)
    assert (config.data.split.kind, config.data.split.order) == ("cohort", "position")
    assert config.data.log.validation.duplicates == "keep"
    assert config.baselines["markov"].options["order"] == 3
    asked = {name for name in type(config.task).model_fields if getattr(config.task, name)}
    assert asked == {"next_event_type"}
    task = config.task.next_event_type
    assert task is not None
    assert (task.end, task.min_events) == ("learnt", 2)


def test_command_line_wins_over_an_overlay() -> None:
    config = load_config(["experiment=bpic12", "data.path=log.parquet", "data.split.kind=time"])
    assert config.data.split.kind == "time"


def test_debug_overlay_is_small_and_named() -> None:
    for form in ("debug=fast", "+debug=fast"):
        config = parse(form)
        assert config.debug == "fast"
        assert config.training.max_epochs == 2
        assert config.trainer.limit_train_batches is not None


def test_files_need_a_path() -> None:
    with pytest.raises(SeqmarketError, match=r"data\.path has no value"):
        load_config(["data=files"])


def test_configuration_names_no_machine(tmp_path: Path) -> None:
    text = "".join(file.read_text() for file in config_dir().rglob("*.yaml"))
    assert "/home/" not in text
    assert str(Path.home()) + "/" not in text
