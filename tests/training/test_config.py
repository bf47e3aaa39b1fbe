from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from seqmarket.errors import SeqmarketError
from seqmarket.training.config import RunConfig, config_digest, parse_config


@pytest.fixture
def plain() -> dict[str, Any]:
    return {
        "seed": 3,
        "name": None,
        "ckpt_path": None,
        "data": {
            "_target_": "seqmarket.data.sources.files.FileSource",
            "path": "log.csv",
            "columns": {"time": "when"},
            "split": {"kind": "cohort"},
        },
        "model": {"_target_": "seqmarket.models.lstm.LSTMEncoder", "_partial_": True, "d_model": 8},
        "baselines": {"markov": {"_target_": "seqmarket.models.markov.Markov", "order": 2}},
        "task": {"churn": {"window": "2w", "active_within": "36h"}},
        "training": {"max_epochs": 2},
        "paths": {"output_dir": "out"},
    }


def test_every_part_is_typed(plain: dict[str, Any]) -> None:
    config = parse_config(plain)
    assert config.seed == 3
    assert config.task.churn is not None
    assert config.task.churn.window == timedelta(days=14)
    assert config.task.churn.active_within == timedelta(hours=36)
    assert config.data.split.kind == "cohort"
    assert config.data.options == {"path": "log.csv", "columns": {"time": "when"}}
    assert config.data.source.target.endswith("FileSource")
    assert config.data.source.options == config.data.options
    assert config.model.options == {"d_model": 8}
    assert config.baselines["markov"].options == {"order": 2}
    assert config.training.optimizer.target == "torch.optim.AdamW"


def test_settings_cannot_be_changed(plain: dict[str, Any]) -> None:
    config = parse_config(plain)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", "x", "seed: expected a valid integer, got 'x'"),
        ("sead", 1, "sead: no such setting; did you mean 'seed'?"),
        ("training.patiense", 1, "training.patiense: no such setting; did you mean 'patience'?"),
        (
            "training.batch_size",
            0,
            "training.batch_size: expected greater than or equal to 1, got 0",
        ),
        ("task.churn.windwo", "7d", "task.churn.windwo: no such setting; did you mean 'window'?"),
        ("task.churn.window", "0d", "task.churn.window: must be longer than 0"),
        ("task.churn.active_by", "visit", "task.churn.active_by: expected 'purchase' or 'event'"),
        (
            "data.split.kind",
            "tim",
            "data.split.kind: expected 'time', 'time_and_customer', 'cohort' or",
        ),
        ("data.split.train_end", "soon", "data.split.train_end: expected a valid datetime"),
        ("data.validation.polcy", "x", "data.validation.polcy: no such setting; did you mean 'pol"),
        ("baselines.markov._target_", 3, "baselines.markov._target_: expected a valid string"),
        ("trainer", {"devices": "two"}, "trainer.devices: expected a valid integer or 'auto'"),
        ("tracking", {"url": "x"}, "tracking.url: no such setting; did you mean 'uri'?"),
        ("seed", 2**32, "seed: expected less than or equal to 4294967295"),
        (
            "trainer",
            {"devices": 0},
            "trainer.devices: expected greater than or equal to 1 or 'auto'",
        ),
        ("trainer", {"strategy": "ddp_spawn"}, "trainer.strategy: expected 'auto', 'ddp' or"),
        (
            "trainer",
            {"limit_train_batches": 5000000.5},
            "trainer.limit_train_batches: a share above 0 and up to 1, or a whole number",
        ),
        ("trainer", {"limit_val_batches": 0}, "trainer.limit_val_batches: a share above 0"),
        ("data.name", "a/b", "data.name: a name of letters, digits, '_', '-' and '.' is needed"),
        ("data.name", "", "data.name: a name of letters"),
        (
            "data.split.train_fraction",
            0.9,
            "data.split.train_fraction: with validation_fraction it",
        ),
        ("model", {"d_model": 8}, "model._target_: is missing"),
        ("model", None, "model: expected a valid dictionary"),
        ("task", {}, "task: choose at least one of next_channel, next_event_type,"),
        ("task", {"custom": {}}, "task: choose at least one of next_channel, next_event_type,"),
        ("task.value", {"windw": "7d"}, "task.value.windw: no such setting; did you mean 'window'"),
        ("task.time_to_next", {"weight": 0}, "task.time_to_next.weight: expected greater than 0"),
        ("task.custom", {"mine": {}}, "task.custom.mine: say which events count: channel, event_"),
        ("task.custom", {"mine": {"purchase": False}}, "task.custom.mine: say which events count"),
        (
            "task.custom",
            {"mine": {"chanel": ["web"]}},
            "task.custom.mine.chanel: no such setting; did you mean 'channel'?",
        ),
        (
            "task.custom",
            {"mine": {"channel": "web"}},
            "task.custom.mine.channel: expected a list, got 'web'",
        ),
        (
            "task.custom",
            {"mine": {"purchase": True, "outcome": "never"}},
            "task.custom.mine.outcome: expected 'happens', 'absent' or 'value', got 'never'",
        ),
        (
            "task.custom",
            {"mine": {"purchase": True, "window": "28"}},
            "task.custom.mine.window: a duration is a number and one of s, m, h, d",
        ),
        ("task.custom", {"churn": {"purchase": True}}, "task.custom: churn is a task of its own"),
        ("task.custom", {"custom": {"purchase": True}}, "task.custom: custom is a task of its own"),
        ("task.custom", {"a/b": {"purchase": True}}, "task.custom: a task's name is letters,"),
        ("task.custom", {"2nd": {"purchase": True}}, "task.custom: a task's name is letters,"),
        *[
            (
                "task.custom",
                {name: {"purchase": True}},
                f"task.custom: {name} is the name of a head",
            )
            for name in ("next_event", "next", "time_to_purchase")
        ],
        ("data.resources", {"memory": 512}, "data.resources.memory: a size is a number and MiB or"),
        ("data.engine", "spark", "data.engine: expected 'local' or 'ray', got 'spark'"),
        (
            "data.privacy.retention.kept",
            "9d",
            "data.privacy.retention.kept: no such setting; did you mean 'keep'?",
        ),
        ("data.cleaning", {"rule": "cap"}, "data.cleaning: expected a list, got {'rule': 'cap'}"),
        ("data.cleaning", ["cap"], "data.cleaning[0]: expected a valid dictionary, got 'cap'"),
    ],
)
def test_wrong_setting_is_named(
    plain: dict[str, Any], path: str, value: object, message: str
) -> None:
    *parents, name = path.split(".")
    node = plain
    for parent in parents:
        node = node.setdefault(parent, {})
    node[name] = value
    with pytest.raises(SeqmarketError) as caught:
        parse_config(plain)
    assert message in str(caught.value)


def test_a_task_of_the_users_own_is_typed(plain: dict[str, Any]) -> None:
    mine = {"event_type": ["redemption"], "window": "2w", "least_value": 5, "active_within": "90d"}
    plain["task"]["custom"] = {"coupon": mine}
    (coupon,) = parse_config(plain).task.custom.values()
    assert coupon.event_type == ("redemption",)
    assert coupon.window == timedelta(days=14)
    assert coupon.least_value == 5.0
    # Whoever does anything may be asked about; of purchases nothing was said.
    assert (coupon.active_by, coupon.outcome, coupon.channel) == ("event", "happens", ())


@pytest.mark.parametrize("window_heads", ["hazard", "logistic"])
@pytest.mark.parametrize("task", ["purchase", "churn", "custom.mine"])
def test_a_positive_weight_without_effect_is_refused(
    plain: dict[str, Any], task: str, window_heads: str
) -> None:
    name = task.rpartition(".")[2]
    node = {"positive_weight": 3.0, **({"channel": ["web"]} if "custom" in task else {})}
    plain["task"] = {"custom": {name: node}} if "custom" in task else {name: node}
    plain["training"] = {"window_heads": window_heads}
    if window_heads == "logistic":
        parse_config(plain)
        return
    with pytest.raises(SeqmarketError) as caught:
        parse_config(plain)
    assert str(caught.value) == (
        f"task.{task}.positive_weight: a hazard weighs no labels, so 3 would have no effect; "
        "leave it at 1, or set training.window_heads=logistic"
    )


def test_scaled_gradients_need_an_optimizer_that_is_not_fused(plain: dict[str, Any]) -> None:
    plain["trainer"] = {"precision": "16-mixed", "accelerator": "gpu"}
    with pytest.raises(SeqmarketError, match=r"^training\.optimizer\.fused: with .*16-mixed"):
        parse_config(plain)
    plain["training"]["optimizer"] = {"_target_": "torch.optim.AdamW", "fused": False}
    parse_config(plain)
    plain["trainer"] = {"precision": "bf16-mixed"}
    del plain["training"]["optimizer"]
    parse_config(plain)


def test_float16_is_for_gpus(plain: dict[str, Any]) -> None:
    plain["trainer"] = {"precision": "16-mixed"}
    with pytest.raises(SeqmarketError, match=r"^trainer\.precision: 16-mixed is for GPUs"):
        parse_config(plain)


def test_an_amount_has_no_positive_label(plain: dict[str, Any]) -> None:
    worth = {"purchase": True, "outcome": "value", "positive_weight": 2.0}
    plain["task"] = {"custom": {"worth": worth}}
    for window_heads in ("hazard", "logistic"):
        plain["training"] = {"window_heads": window_heads}
        with pytest.raises(SeqmarketError, match=r"worth\.positive_weight: a summed value has no"):
            parse_config(plain)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"rule": "deduplicate", "within": "5s", "bye": ["channel"]},
            "data.cleaning[1].bye: no such setting; did you mean 'by'?",
        ),
        ({"rule": "deduplicate"}, "data.cleaning[1].within: is missing"),
        ({"rule": "deduplicate", "within": "2d"}, "data.cleaning[1].within: must be from 0s to 1d"),
        (
            {"rule": "cap_rate", "by": ["channel"], "events_per_day": 3},
            "data.cleaning[1].by: no such setting; known: events_per_day, rule",
        ),
        (
            {"rule": "cap", "column": "value", "at": "x"},
            "data.cleaning[1].at: expected a valid number, got 'x'",
        ),
        (
            {"rule": "drop_where", "column": "channel", "values": ["a", 3]},
            "data.cleaning[1].values[1]: expected a valid string, got 3",
        ),
        (
            {"rule": "merge_spellings", "into": {"email": "mail"}},
            "data.cleaning[1].into.email: expected a list, got 'mail'",
        ),
        ({"rule": "merge_spellings"}, "data.cleaning[1]: merges nothing: set into or normalise"),
        ({"rule": "dedup"}, "data.cleaning[1].rule: no such rule; did you mean 'deduplicate'?"),
        ({"within": "5s"}, "data.cleaning[1].rule: is missing"),
    ],
)
def test_wrong_setting_of_a_rule_is_named(
    plain: dict[str, Any], rule: dict[str, object], message: str
) -> None:
    plain["data"]["cleaning"] = [{"rule": "cap_rate", "events_per_day": 200}, rule]
    with pytest.raises(SeqmarketError) as caught:
        parse_config(plain)
    assert str(caught.value) == message


def test_wrong_settings_of_several_rules_are_all_named(plain: dict[str, Any]) -> None:
    plain["data"]["cleaning"] = [
        {"rule": "cap_rate", "events": 3},
        {"rule": "drop_bots", "totl": 3},
    ]
    with pytest.raises(SeqmarketError) as caught:
        parse_config(plain)
    assert str(caught.value).splitlines() == [
        "3 settings are wrong:",
        "  data.cleaning[0].events_per_day: is missing",
        "  data.cleaning[0].events: no such setting; did you mean 'events_per_day'?",
        "  data.cleaning[1].totl: no such setting; did you mean 'total'?",
    ]


@pytest.mark.parametrize(
    ("split", "fine"),
    [
        ({"train_fraction": 0.8, "validation_fraction": 0.2}, False),
        ({"train_fraction": 0.8, "validation_fraction": 0.2, "train_end": "2020-01-01"}, False),
        ({"train_fraction": 0.8, "validation_fraction": 0.2, "validation_end": "2020-01-01"}, True),
        (
            {
                "kind": "time_and_customer",
                "train_fraction": 0.9,
                "validation_end": "2020-01-01",
            },
            False,
        ),
        ({"train_fraction": 0.79, "validation_fraction": 0.2}, True),
    ],
)
def test_shares_leave_something_to_test(
    plain: dict[str, Any], split: dict[str, Any], fine: bool
) -> None:
    plain["data"]["split"] = split
    if fine:
        parse_config(plain)
    else:
        with pytest.raises(SeqmarketError, match="leaves nothing for the test"):
            parse_config(plain)


@pytest.mark.parametrize(
    ("given", "meant"), [(1, 1), (1.0, 1.0), (0.25, 0.25), (7.0, 7), ("0.5", 0.5), (None, None)]
)
def test_batch_limits(plain: dict[str, Any], given: Any, meant: Any) -> None:
    limit = parse_config({**plain, "trainer": {"limit_train_batches": given}}).trainer
    assert limit.limit_train_batches == meant
    assert type(limit.limit_train_batches) is type(meant)


def test_long_values_are_shortened(plain: dict[str, Any]) -> None:
    plain["seed"] = "x" * 500
    with pytest.raises(SeqmarketError) as caught:
        parse_config(plain)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ckpt_path", "last"),
        ("name", "another"),
        ("paths.output_dir", "elsewhere"),
        ("training.max_epochs", 9),
        ("tracking.uri", "http://host"),
        ("data.engine", "ray"),
        ("data.resources", {"threads": 9}),
    ],
)
def test_digest_is_that_of_the_run_to_go_on_with(
    plain: dict[str, Any], path: str, value: object
) -> None:
    assert config_digest(changed(plain, path, value)) == config_digest(plain)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 4),
        ("model.d_model", 9),
        ("training.batch_size", 2),
        ("data.path", "b.csv"),
        ("data.cleaning", [{"rule": "cap_rate"}]),
        ("data.privacy", {"pseudonyms": {"enabled": True}}),
    ],
)
def test_digest_tells_different_runs_apart(plain: dict[str, Any], path: str, value: object) -> None:
    assert config_digest(changed(plain, path, value)) != config_digest(plain)


def test_digest_is_free_of_key_order(plain: dict[str, Any]) -> None:
    assert config_digest(dict(reversed(plain.items()))) == config_digest(plain)


def changed(plain: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    other = copy.deepcopy(plain)
    *parents, name = path.split(".")
    node = other
    for parent in parents:
        node = node.setdefault(parent, {})
    node[name] = value
    return other


@pytest.mark.parametrize(
    ("trainer", "distributed"),
    [({}, False), ({"devices": 2}, True), ({"strategy": "ddp"}, True), ({"num_nodes": 2}, True)],
)
def test_distributed(plain: dict[str, Any], trainer: dict[str, Any], distributed: bool) -> None:
    assert (
        RunConfig.model_validate({**plain, "trainer": trainer}).trainer.distributed is distributed
    )


@pytest.mark.parametrize("wanted", ["best", "outputs/a.ckpt"])
def test_an_ensemble_goes_on_as_a_whole(plain: dict[str, Any], wanted: str) -> None:
    plain |= {"ensemble": 2, "ckpt_path": wanted}
    with pytest.raises(SeqmarketError, match="ckpt_path: an ensemble goes on with ckpt_path=last"):
        parse_config(plain)
    parse_config({**plain, "ckpt_path": "last"})
    parse_config({**plain, "ensemble": 1})
