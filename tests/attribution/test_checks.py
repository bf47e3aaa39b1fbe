"""Which checks are made of a run, and what becomes of one that cannot be."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console

from seqmarket.attribution import checks as module
from seqmarket.attribution.config import AttributionSettings
from seqmarket.attribution.last import LastTouch
from seqmarket.attribution.overview import Overview
from seqmarket.attribution.report import Report
from seqmarket.attribution.run import attribute_run
from seqmarket.errors import SeqmarketError
from seqmarket.training.checkpoint import TrainedModel, load_trained, untrained
from seqmarket.training.config import ComponentConfig

METHODS = {"last": LastTouch()}
SETTINGS = AttributionSettings(resamples=20, faithfulness=30, sample_journeys=0, replay=())


@pytest.fixture(scope="module")
def model(gru_run) -> TrainedModel:
    return load_trained(gru_run.model_file)


def test_the_terminal_says_it_in_a_line(model: TrainedModel) -> None:
    found = attribute_run(model, SETTINGS, METHODS)
    checks = {
        "faithfulness": pl.DataFrame({"method": ["last", "linear"], "gain": [-0.01, 0.25]}),
        "holdout": pl.DataFrame({"method": ["last"] * 3, "agrees": [True, False, True]}),
        "replay": pl.DataFrame(
            {
                "method": ["everything", "last", "linear", "uniform", "last"],
                "budget": [1.0, 0.5, 0.5, 0.5, 0.25],
                "incremental": [99.0, 1234.4, 1234.4, 1500.0, 3.0],
            }
        ),
        "stability": pl.DataFrame({"method": ["last", "linear"], "lost_20": [0.0126, None]}),
    }
    component = {"last": ComponentConfig(target="seqmarket.x")}
    console = Console(file=StringIO(), width=200)
    console.print(Overview(Report(replace(found, checks=checks), component)))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "over chance: linear +25.0%, last -1.0%." in said
    assert "hold-out: last 2/3." in said
    assert (
        "50% of the money would have added, by credit: uniform 1,500; last, linear 1,234." in said
    )
    assert "a fifth of the touches: last 0.013." in said
    console.print(Overview(Report(replace(found, checks={}), component)))
    assert console.file.getvalue().count("hold-out") == 1  # type: ignore[attr-defined]


def test_a_run_of_a_network_is_asked(model: TrainedModel, tmp_path: Path) -> None:
    told: list[str] = []
    found = attribute_run(model, SETTINGS, METHODS, told.append)
    assert list(found.checks) == ["faithfulness"]
    assert told[-1].startswith("faithfulness ")
    Report(found, {"last": ComponentConfig(target="seqmarket.x")}).write(tmp_path / "found")
    table = pl.read_parquet(tmp_path / "found" / "faithfulness.parquet")
    assert table["method"].to_list() == ["last"]
    assert pl.read_csv(tmp_path / "found" / "faithfulness.csv").columns == table.columns


def test_nothing_is_asked_unless_wanted(model: TrainedModel) -> None:
    quiet = SETTINGS.model_copy(update={"faithfulness": 0})
    assert not attribute_run(model, quiet, METHODS).checks


def test_a_check_that_cannot_be_made_is_said(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> pl.DataFrame:
        raise SeqmarketError("no path is long enough", where="faithfulness")

    monkeypatch.setattr(module, "faithfulness_table", refuses)
    told: list[str] = []
    assert not attribute_run(model, SETTINGS, METHODS, told.append).checks
    assert told[-1] == "faithfulness is left out: no path is long enough"


def test_drawn_weights_are_others_and_the_same_by_seed(model: TrainedModel) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (_weights(untrained(model, seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, _weights(model))


def _weights(model: TrainedModel) -> torch.Tensor:
    assert model.model is not None
    return torch.cat([parameter.detach().flatten() for parameter in model.model.parameters()])


def test_a_hold_out_that_is_not_there_is_a_mistake_before_any_work(model: TrainedModel) -> None:
    wrong = SETTINGS.model_copy(update={"holdout": "kept_from"})
    told: list[str] = []
    with pytest.raises(SeqmarketError, match="no categorical feature 'kept_from'"):
        attribute_run(model, wrong, METHODS, told.append)
    assert not told


def test_budgets_are_replayed_only_if_wanted(model: TrainedModel) -> None:
    asked = SETTINGS.model_copy(update={"faithfulness": 0, "replay": (0.5,)})
    found = attribute_run(model, asked, METHODS).checks
    assert list(found) == ["replay"]
    assert found["replay"]["budget"].to_list() == [1.0, 0.5, 0.5, 0.5]


def test_methods_are_run_again_only_if_wanted(model: TrainedModel) -> None:
    again = SETTINGS.model_copy(update={"faithfulness": 0, "stability": True})
    found = attribute_run(model, again, METHODS).checks
    assert list(found) == ["stability"]
    assert found["stability"]["method"].to_list() == ["last"]
