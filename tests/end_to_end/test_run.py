"""Whole runs on a small synthetic log: repeatable, resumable, and honest about failure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml

from seqmarket.cli.compose import load_plain
from seqmarket.data.event_log import EventLog
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import parse_config
from seqmarket.training.learner import JourneyLearner
from seqmarket.training.run import run
from seqmarket.training.tracking.record import RunRecord

SMALL = [
    "data=synthetic",
    "data.n_customers=100",
    "data.days=240",
    "data.encoding.max_length=32",
    "model=gru",
    "model.d_model=16",
    "training.max_epochs=4",
    "training.batch_size=16",
    "training.resamples=20",
    "training.threads=1",
    "tracking=off",
    "~model@baselines.gbdt",
    "~model@baselines.markov",
]

Runner = Callable[..., dict[str, float]]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    def start(name: str, *overrides: str, drop: Sequence[str] = ()) -> dict[str, float]:
        kept = [item for item in SMALL if not item.startswith(tuple(drop))]
        places = [f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}"]
        plain = load_plain([*kept, *places, *overrides])
        return run(
            parse_config(plain),
            run_dir=tmp_path / name,
            overrides=overrides,
            resolved_yaml=yaml.safe_dump(plain),
        )

    return start


def artifacts(run_dir: Path) -> set[str]:
    root = run_dir / "tracking" / "artifacts"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run_dir / "checkpoints" / "model.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


def test_the_same_command_twice_gives_the_same_bits(runner: Runner, tmp_path: Path) -> None:
    first = runner("a")
    assert first == runner("b")
    left, right = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert first != runner("c", "seed=2")

    names = artifacts(tmp_path / "a")
    assert {
        "config.yaml",
        "overrides.yaml",
        "model_card.md",
        "results/metrics.json",
        "results/predictions.parquet",
        "checkpoints/model.ckpt",
        "plots/learning_curves.png",
        "plots/purchase_roc.png",
        "plots/churn_precision_recall.png",
        "plots/churn_calibration.png",
        "plots/next_channel_confusion.png",
        "plots/purchase_scores.png",
    } <= names
    record = RunRecord(tmp_path / "a" / "tracking")
    assert record.status == "FINISHED"
    assert {"seqmarket.threads", "seqmarket.seed", "seqmarket.data_fingerprint"} <= set(record.tags)
    metrics = {point.name for point in record.points}
    assert {"test/purchase/auroc", "baseline/rfm_logistic/churn/auroc"} <= metrics
    predictions = pl.read_parquet(
        tmp_path / "a" / "tracking" / "artifacts" / "results" / "predictions.parquet"
    )
    assert "customer_id" not in predictions.columns
    assert set(predictions["model"]) == {
        "gru",
        "majority",
        "repeat_last",
        "usual_gap",
        "rfm_logistic",
    }
    rows = (
        predictions.group_by("task", "model").len().group_by("task").agg(pl.col("len").n_unique())
    )
    assert (rows["len"] == 1).all()  # every model on the same rows


class _Interruption:
    """Raises what Ctrl-C raises, once, in the middle of an epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at_step: int) -> None:
        original = JourneyLearner.training_step

        def step(learner: JourneyLearner, batch: Any, batch_idx: int) -> torch.Tensor:
            if learner.global_step == at_step:
                monkeypatch.undo()
                raise KeyboardInterrupt
            return original(learner, batch, batch_idx)

        monkeypatch.setattr(JourneyLearner, "training_step", step)


def test_interrupted_and_resumed_equals_uninterrupted(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = runner("straight")
    _Interruption(monkeypatch, at_step=17)
    with pytest.raises(KeyboardInterrupt):
        runner("broken", "name=broken")
    assert RunRecord(tmp_path / "broken" / "tracking").status == "KILLED"
    assert not (tmp_path / "broken" / "checkpoints" / "model.ckpt").exists()
    # The finished run has the same settings; the newest start is the one that is resumed.
    resumed = runner("unused", "ckpt_path=last")
    assert resumed == straight
    assert RunRecord(tmp_path / "broken" / "tracking").status == "FINISHED"
    left, right = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_resuming_with_another_dropout_stream_is_noticed(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above: without seeding by step, the resumed weights differ."""
    monkeypatch.setattr(JourneyLearner, "on_train_batch_start", lambda *_: None)
    runner("straight")
    with monkeypatch.context() as inner:
        _Interruption(inner, at_step=17)
        with pytest.raises(KeyboardInterrupt):
            runner("broken")
    runner("unused", "ckpt_path=last")
    left, right = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert not all(torch.equal(left[name], right[name]) for name in left)


def test_there_must_be_something_to_resume(runner: Runner) -> None:
    with pytest.raises(SeqmarketError, match="no earlier run"):
        runner("a", "ckpt_path=last")
    with pytest.raises(SeqmarketError, match="no such checkpoint"):
        runner("a", "ckpt_path=nowhere.ckpt")


def test_a_baseline_is_a_model_like_any_other(runner: Runner, tmp_path: Path) -> None:
    drop = ["model"]
    metrics = runner("a", "model=rfm_logistic", "task=churn", drop=drop)
    assert set(metrics) >= {"test/churn/auroc", "test/churn/log_loss"}
    assert not any("next_channel" in name for name in metrics)
    assert metrics["test/churn/auroc"] > 0.6
    rows = json.loads(
        (tmp_path / "a" / "tracking" / "artifacts" / "results" / "metrics.json").read_text()
    )
    assert {row["model"] for row in rows} == {"rfm_logistic", "majority"}
    with pytest.raises(SeqmarketError, match="answers none"):
        runner("b", "model=rfm_logistic", "task=next_channel", drop=drop)


def test_a_mistake_in_the_data_leaves_no_run_behind(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="no rows in the train period"):
        runner("a", "task.churn.window=90d")
    assert not (tmp_path / "a").exists()


def test_a_run_does_not_go_on_with_another_log_model_or_file(
    runner: Runner, tmp_path: Path
) -> None:
    runner("a")
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    more = "training.max_epochs=5"
    with pytest.raises(SeqmarketError, match="the log has changed since this checkpoint"):
        runner("b", f"ckpt_path={last}", "data.seed=9", more)
    with pytest.raises(SeqmarketError, match="another model"):
        runner("c", f"ckpt_path={last}", "model=lstm", more, drop=["model"])
    with pytest.raises(SeqmarketError, match="finished model"):
        runner("d", f"ckpt_path={last.with_name('model.ckpt')}", more)
    not_one = tmp_path / "notes.txt"
    not_one.write_text("nothing")
    with pytest.raises(SeqmarketError, match="not a checkpoint"):
        runner("e", f"ckpt_path={not_one}", more)


def test_a_password_in_an_address_is_recorded_nowhere(runner: Runner, tmp_path: Path) -> None:
    runner("a", "tracking.uri=http://me:s3cret@127.0.0.1:9", "training.max_epochs=1")
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():
            assert b"s3cret" not in file.read_bytes(), file


def test_a_fit_that_diverges_says_so(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="diverged"):
        runner("a", "training.optimizer.lr=1e12", "training.gradient_clip=1e12")
    record = RunRecord(tmp_path / "a" / "tracking")
    assert record.status == "FAILED"
    assert "diverged" in record.tags["seqmarket.error"]


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_bfloat16_learns_what_float32_learns(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """With the fused optimizer, and clipped, which Lightning by itself refuses together."""
    most: list[float] = []

    def clip(parameters: Iterator[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
        most.append(max_norm)
        return clip_grad_norm_(parameters, max_norm)

    clip_grad_norm_ = torch.nn.utils.clip_grad_norm_
    settings = (f"model={model}", "model.d_model=16", "training.gradient_clip=0.5")
    exact = runner("exact", *settings, drop=("model",))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    coarse = runner("coarse", *settings, "trainer.precision=bf16-mixed", drop=("model",))
    assert set(most) == {0.5}
    assert exact != coarse
    for name in ("test/purchase/log_loss", "test/churn/log_loss"):
        assert coarse[name] == pytest.approx(exact[name], rel=0.02)


def test_a_log_without_purchases_or_with_one_channel_says_what_to_change(
    runner: Runner, read_log: Callable[..., EventLog], tmp_path: Path
) -> None:
    frame = read_log(SyntheticJourneys(n_customers=60, days=240)).frame.collect()
    no_purchase = frame.with_columns(event_type=pl.lit("touch"))
    one_channel = frame.with_columns(channel=pl.lit("web"))
    drop = ["data"]
    no_purchase.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SeqmarketError, match="needs purchases"):
        runner("a", "data=files", f"data.path={tmp_path / 'a.parquet'}", drop=drop)
    one_channel.write_parquet(tmp_path / "b.parquet")
    where = f"data.path={tmp_path / 'b.parquet'}"
    with pytest.raises(SeqmarketError, match="needs two channels"):
        runner("b", "data=files", where, drop=drop)
    assert runner("c", "data=files", where, "~task.next_channel", drop=drop)


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path) -> None:
    overrides = [item for item in SMALL if "threads" not in item and "d_model" not in item]
    command = [
        sys.executable,
        str(Path(__file__).parents[2] / "train.py"),
        *overrides,
        "training.max_epochs=2",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.precision=32-true",
        "training.threads=1",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.count("best of its column") == 1
    assert "recommended to use" not in done.stderr
    assert len(list(tmp_path.rglob("model.ckpt"))) == 2  # the run's, and its copy in the record


LONG_WINDOW = [
    "task=purchase",
    "task.purchase.horizon=150d",
    "+task.custom.soon={purchase: true, window: 7d}",
    "data.split.kind=customer",
    "data.split.train_fraction=0.7",
    "data.split.train_end=2024-03-15",
    "data.split.warm_up=14d",
    "+model@baselines.bg_nbd=bg_nbd",
]


def test_a_window_that_is_longer_than_the_training_period(runner: Runner, tmp_path: Path) -> None:
    metrics = runner("long", *LONG_WINDOW, "training.calibration=none")
    assert 0 < metrics["test/purchase/auroc"] < 1
    record = RunRecord(tmp_path / "long" / "tracking")
    assert "validation/soon/loss" in record.history()
    assert "validation/purchase/loss" not in record.history()
    answered = pl.read_parquet(tmp_path / "long" / "predictions.parquet")
    models = answered.filter(pl.col("task") == "purchase")["model"].unique().to_list()
    assert sorted(models) == ["bg_nbd", "gru"]


def test_a_long_window_is_refused_where_probabilities_are_calibrated(runner: Runner) -> None:
    with pytest.raises(SeqmarketError, match="no rows in the train period"):
        runner("long", *LONG_WINDOW)
