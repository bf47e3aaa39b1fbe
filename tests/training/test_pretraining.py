"""Pre-trained starts: repeatable, really where the fit begins, kept, and refused where unfit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmarket.cli.compose import load_plain
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.training import members, pretraining
from seqmarket.training.checkpoint import load_trained, provenance
from seqmarket.training.config import RunConfig, parse_config
from seqmarket.training.fit import Fitted, fit
from seqmarket.training.members import fit_members
from seqmarket.training.pretraining import PRETRAINED, load_encoder, pretrain
from seqmarket.training.resume import StartingPoint
from seqmarket.training.tasks import Task

SMALL = ["data=synthetic", "model=gru", "model.d_model=8", "trainer.limit_train_batches=1"]
# One step with a learning rate of next to nothing leaves the weights where the fit began.
SMALL += ["+task.next_event_type={}", "training.max_epochs=1", "training.optimizer.lr=1e-12"]
CONTRASTIVE = ["pretrain=contrastive", "pretrain.epochs=2", "pretrain.batch_size=20"]
CONTRASTIVE += ["pretrain.min_length=3", "pretrain.max_length=12"]
NEXT = ["pretrain=next_event", "pretrain.epochs=2"]


def configured(*overrides: str) -> tuple[RunConfig, dict[str, Any]]:
    plain = load_plain([*SMALL, *overrides])
    return parse_config(plain), plain


class Reports(list[tuple[str, float, int]]):
    def __call__(self, metrics: Mapping[str, float], epoch: int) -> None:
        self.extend((name, value, epoch) for name, value in metrics.items())

    def of(self, name: str) -> list[float]:
        return [value for found, value, _ in self if found == name]


Run = Callable[..., tuple[Fitted, Reports]]


@pytest.fixture
def run(data: JourneyDataModule, tasks: Mapping[str, Task], tmp_path: Path) -> Run:
    def started(
        *overrides: str, folder: str = "run", continued: bool = False
    ) -> tuple[Fitted, Reports]:
        config, plain = configured(*overrides)
        last = tmp_path / folder / "checkpoints" / "last.ckpt"
        point = StartingPoint(
            tmp_path / folder, last if continued and last.is_file() else None, continued=continued
        )
        reports = Reports()
        facts = provenance(plain, data.store)
        fitted = fit_members(config, tasks, data, point, provenance=facts, report=reports)
        return fitted, reports

    return started


@pytest.mark.parametrize("overrides", [CONTRASTIVE, NEXT])
def test_the_same_seed_gives_the_same_encoder(store: SequenceStore, overrides: list[str]) -> None:
    def weights(*more: str) -> dict[str, torch.Tensor]:
        return pretrain(configured(*overrides, *more)[0], store, lambda *_: None)

    one, two, three = weights(), weights(), weights("seed=2")
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not all(torch.equal(value, three[name]) for name, value in one.items())


@pytest.mark.parametrize("overrides", [CONTRASTIVE, NEXT])
def test_the_loss_falls(store: SequenceStore, overrides: list[str]) -> None:
    reports = Reports()
    longer = [item for item in overrides if "epochs" not in item]
    pretrain(configured(*longer, "pretrain.epochs=6", "pretrain.lr=5e-3")[0], store, reports)
    losses = reports.of("pretrain/loss")
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert [epoch for _, _, epoch in reports] == [1, 2, 3, 4, 5, 6]


def begins_where_pre_training_ended(run: Run, store: SequenceStore) -> None:
    fitted, reports = run(*CONTRASTIVE)
    assert len(reports.of("pretrain/loss")) == 2
    expected = pretrain(configured(*CONTRASTIVE)[0], store, lambda *_: None)
    for name, value in fitted.model.encoder.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_the_fit_begins_where_pre_training_ended(run: Run, store: SequenceStore) -> None:
    begins_where_pre_training_ended(run, store)


def test_a_fit_that_forgets_the_pre_training_is_noticed(
    run: Run, store: SequenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "fit", lambda *args, encoder, **kw: fit(*args, encoder=None, **kw))
    with pytest.raises(AssertionError):
        begins_where_pre_training_ended(run, store)


def goes_on_without_pre_training(run: Run) -> None:
    fitted, _ = run(*CONTRASTIVE)
    again, reports = run(*CONTRASTIVE, "training.max_epochs=2", continued=True)
    assert reports.of("pretrain/loss") == []
    assert again.outcome.epochs == fitted.outcome.epochs + 1


def test_a_run_that_goes_on_does_not_pre_train_again(run: Run) -> None:
    goes_on_without_pre_training(run)


def test_a_run_broken_off_before_its_fit_keeps_the_encoder(run: Run, tmp_path: Path) -> None:
    fitted, _ = run(*CONTRASTIVE)
    (tmp_path / "run/checkpoints/last.ckpt").unlink()
    again, reports = run(*CONTRASTIVE, continued=True)
    assert reports.of("pretrain/loss") == []
    for name, value in fitted.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_pre_training_twice_is_noticed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pretraining.starting_weights

    def forgetful(*args: Any, continued: bool, **kw: Any) -> Any:
        return real(*args, continued=False, **kw)

    monkeypatch.setattr(members, "starting_weights", forgetful)
    monkeypatch.setattr(
        members,
        "_start",
        lambda c, d, f, s, r, p, report: forgetful(
            c, d.store, f, continued=True, provenance=p, report=report
        ),
    )
    with pytest.raises(AssertionError):
        goes_on_without_pre_training(run)


def test_each_member_pre_trains_from_its_own_seed(run: Run, tmp_path: Path) -> None:
    _, reports = run(*CONTRASTIVE, "ensemble=2")
    assert len(reports.of("pretrain/loss")) == len(reports.of("member_2/pretrain/loss")) == 2
    folder = tmp_path / "run/checkpoints"
    one, two = (
        torch.load(path / PRETRAINED, weights_only=True)["encoder"]
        for path in (folder, folder / "member-2")
    )
    assert not all(torch.equal(value, two[name]) for name, value in one.items())


def test_another_run_starts_from_it(run: Run, tmp_path: Path) -> None:
    first, _ = run(*CONTRASTIVE)
    kept = tmp_path / "run/checkpoints" / PRETRAINED
    second, reports = run(f"pretrain.checkpoint={kept}", folder="other")
    assert reports.of("pretrain/loss") == []
    for name, value in first.model.encoder.state_dict().items():
        torch.testing.assert_close(value, second.model.encoder.state_dict()[name])


@pytest.fixture
def kept(run: Run, tmp_path: Path) -> Path:
    run(*CONTRASTIVE)
    return tmp_path / "run/checkpoints" / PRETRAINED


def test_an_encoder_that_does_not_fit_is_refused(kept: Path, store: SequenceStore) -> None:
    model = configured()[1]["model"]
    assert load_encoder(kept, store, model)
    with pytest.raises(SeqmarketError, match="with another model"):
        load_encoder(kept, store, {**model, "d_model": 16})
    spec = replace(store.spec, time_scale=2 * store.spec.time_scale)
    with pytest.raises(SeqmarketError, match="other vocabularies or scalings"):
        load_encoder(kept, replace(store, spec=spec), model)
    train = store.split.periods["train"]
    shorter = {**store.split.periods, "train": replace(train, end=train.end - 1)}
    earlier = replace(store, split=replace(store.split, periods=shorter))
    with pytest.raises(SeqmarketError, match="may have seen what this run is evaluated on"):
        load_encoder(kept, earlier, model)


def test_what_is_no_pre_trained_encoder_is_refused(kept: Path, store: SequenceStore) -> None:
    model = configured()[1]["model"]
    with pytest.raises(SeqmarketError, match="there is no such checkpoint"):
        load_encoder(kept.with_name("nothing.ckpt"), store, model)
    with pytest.raises(SeqmarketError, match="this is not a pre-trained encoder"):
        load_encoder(kept.with_name("best.ckpt"), store, model)
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(SeqmarketError):
        load_encoder(kept, store, model)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["pretrain=contrastive", "pretrain.max_length=4"], "pretrain.max_length: it is below"),
        (["pretrain=contrastive", "pretrain.slices=1"], r"pretrain\.slices"),
        (["pretrain=next_event", "+pretrain.temperature=1"], r"pretrain\.temperature: no such"),
        (["pretrain=contrastive", "+pretrain.checkpoint=a"], r"pretrain\.checkpoint: no such"),
    ],
)
def test_settings_without_effect_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(SeqmarketError, match=said):
        configured(*overrides)


def test_a_whole_run_logs_the_loss_and_keeps_the_encoder(trained: Callable[..., Any]) -> None:
    small = ["task=churn", "pretrain=next_event", "pretrain.epochs=1", "training.max_epochs=1"]
    finished = trained("model=gru", *small)
    with (finished.folder / "tracking" / "metrics.jsonl").open() as lines:
        logged = {json.loads(line)["name"] for line in lines}
    assert {"pretrain/loss", "train/loss"} <= logged
    assert (finished.folder / "checkpoints" / PRETRAINED).is_file()
    with pytest.raises(SeqmarketError, match="this is not a checkpoint of seqmarket"):
        load_trained(finished.folder / "checkpoints" / PRETRAINED)
