"""`ensemble=2`: two fits from two seeds that answer together, and go on where they were left."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmarket.cli.compose import load_plain
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.training import members
from seqmarket.training.checkpoint import load_trained, provenance
from seqmarket.training.config import parse_config
from seqmarket.training.fit import Fitted, fit
from seqmarket.training.members import fit_members
from seqmarket.training.resume import StartingPoint
from seqmarket.training.scoring import evaluate_run
from seqmarket.training.tasks import Task


@pytest.fixture(scope="module")
def pair(trained: Callable[..., Any]) -> Any:
    return trained("model=gru", "task=churn", "ensemble=2")


def test_the_members_are_of_two_seeds(pair: Any) -> None:
    model = load_trained(pair.model_file).model
    assert isinstance(model, JourneyEnsemble)
    one, two = model.members
    assert any(
        not torch.equal(left, right)
        for left, right in zip(one.parameters(), two.parameters(), strict=True)
    )
    for folder in ("checkpoints", "checkpoints/member-2"):
        assert isinstance(load_trained(pair.folder / folder / "best.ckpt").model, JourneyModel)


def test_the_gain_is_reported_and_one_member_is_no_baseline(pair: Any) -> None:
    artifacts = pair.folder / "tracking" / "artifacts"
    card = (artifacts / "model_card.md").read_text()
    assert "the ensemble against its first member alone: AUROC" in card
    assert "gru_alone, the best baseline" not in card
    assert "The mean of 2 networks" in card
    rows = json.loads((artifacts / "results" / "metrics.json").read_text())
    assert {row["model"] for row in rows} == {"gru", "gru_alone", "majority", "rfm_logistic"}
    with (pair.folder / "tracking" / "metrics.jsonl").open() as lines:
        logged = {json.loads(line)["name"] for line in lines}
    assert {"train/loss", "member_2/train/loss", "member_2/validation/churn/auroc"} <= logged


def test_the_metrics_come_out_again(pair: Any) -> None:
    (result,) = evaluate_run(pair.model_file, "test", with_baselines=False)
    found = {
        f"test/churn/{metric}": value.estimate for metric, value in result.models["gru"].items()
    }
    assert found == pair.metrics


class Counted:
    """Fits, and remembers from which seed and checkpoint; may fail in one of them."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[tuple[int, bool]] = []
        self._fail_at = fail_at

    def __call__(self, config: Any, *args: Any, resume_from: Path | None, **kw: Any) -> Fitted:
        self.calls.append((config.seed, resume_from is not None))
        if len(self.calls) - 1 == self._fail_at:
            raise KeyboardInterrupt
        return fit(config, *args, resume_from=resume_from, **kw)


def goes_on(
    data: JourneyDataModule, tasks: Mapping[str, Task], folder: Path, patch: pytest.MonkeyPatch
) -> None:
    """A run broken off in the second fit repeats nothing of the first one."""
    small = ["data=synthetic", "model=gru", "model.d_model=8", "trainer.limit_train_batches=2"]
    small += ["+task.next_event_type={}", "training.max_epochs=1", "ensemble=2", "seed=7"]
    plain = load_plain(small)
    config, facts = parse_config(plain), provenance(plain, data.store)

    def run(name: str, continued: bool, fail_at: int | None = None) -> tuple[Counted, Any]:
        counted = Counted(fail_at)
        patch.setattr(members, "fit", counted)
        start = StartingPoint(folder / name, None, continued=continued)
        try:
            return counted, fit_members(
                config, tasks, data, start, provenance=facts, report=lambda *_: None
            )
        except KeyboardInterrupt:
            return counted, None

    straight, expected = run("straight", continued=False)
    assert straight.calls == [(7, False), (8, False)]
    run("broken", continued=False, fail_at=1)
    again, resumed = run("broken", continued=True)
    assert again.calls == [(8, False)]
    for name, value in expected.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert resumed.outcome.epochs == expected.outcome.epochs == 2


def test_finished_members_are_not_fitted_again(
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on(data, tasks, tmp_path, monkeypatch)


def test_members_that_all_start_again_are_noticed(
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(members, "_finished", lambda folder, config: None)
    with pytest.raises(AssertionError):
        goes_on(data, tasks, tmp_path, monkeypatch)
