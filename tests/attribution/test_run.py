"""A run's journeys attributed, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from seqmarket.attribution import report as module
from seqmarket.attribution import run as run_module
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.config import AttributionSettings
from seqmarket.attribution.last import LastTouch
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.report import Report
from seqmarket.attribution.run import Attributed, _days, attribute_run, gather
from seqmarket.attribution.touch_table import attribution_table
from seqmarket.data.splits import Period
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY
from seqmarket.training.checkpoint import TrainedModel, load_trained
from seqmarket.training.config import ComponentConfig
from seqmarket.training.scoring import own_store

METHODS = {"linear": Linear(), "last": LastTouch()}
COMPONENTS = {name: ComponentConfig(target="seqmarket.x") for name in METHODS}
SETTINGS = AttributionSettings(resamples=20)


class Refuses:
    signed: ClassVar[bool] = False

    def attribute(self, evidence: Evidence) -> Attribution:
        raise SeqmarketError("it has no attention", where="attribution=rollout")


@pytest.fixture(scope="module")
def model(logistic_run) -> TrainedModel:
    return load_trained(logistic_run.model_file)


@pytest.fixture(scope="module")
def attributed(model: TrainedModel) -> Attributed:
    return attribute_run(model, SETTINGS, METHODS)


def test_the_runs_own_period_is_attributed(model: TrainedModel, attributed: Attributed) -> None:
    store = own_store(model)
    period = store.split.periods["test"]
    events = store.events
    bought = events.purchase & (events.time >= period.start) & (events.time < period.end)
    assert attributed.attributions["linear"].total == pytest.approx(bought.sum())
    assert attributed.journeys.members.all()
    assert attributed.truth is None


def test_each_method_is_told_and_timed(model: TrainedModel) -> None:
    told: list[str] = []
    found = attribute_run(model, SETTINGS, METHODS, told.append)
    assert "conversions" in told[0]
    assert [line.split()[0] for line in told[1:]] == [*METHODS, "replay"]
    assert set(found.seconds) == set(METHODS)


def test_a_method_that_refuses_is_left_out_and_said(model: TrainedModel) -> None:
    told: list[str] = []
    found = attribute_run(model, SETTINGS, {"rollout": Refuses(), **METHODS}, told.append)
    assert "rollout is left out: it has no attention" in told
    assert list(found.attributions) == list(METHODS)
    about = Report(found, COMPONENTS).about()
    assert about["left_out"] == {"rollout": "it has no attention"}


def test_where_every_method_refuses_it_is_a_mistake(model: TrainedModel) -> None:
    with pytest.raises(SeqmarketError, match="it has no attention"):
        attribute_run(model, SETTINGS, {"rollout": Refuses()})


def test_a_period_without_purchases_is_refused(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*how: Any) -> Evidence:
        found = gather(*how)
        few = {"conversion": [], "converts": []}
        nothing = {name: np.array(empty, dtype=np.int64) for name, empty in few.items()}
        alone = found.journeys.paths.take(found.journeys.paths.conversion < 0)
        return found._replace(journeys=replace(found.journeys, paths=alone, **nothing))

    monkeypatch.setattr(run_module, "gather", none)
    with pytest.raises(SeqmarketError, match="there is no purchase to attribute"):
        attribute_run(model, SETTINGS, METHODS)


def test_customers_of_other_folds_take_no_part(trained: Callable[..., Any]) -> None:
    run = trained(
        "model=rfm_logistic",
        "data.split.kind=time_and_customer",
        "task=purchase",
        drop=("model.",),
    )
    model = load_trained(run.model_file)
    found = attribute_run(model, SETTINGS, METHODS)
    store = own_store(model)
    mine = np.flatnonzero(store.split.customers("test", store.events.n_customers))
    assert 0 < Report(found, COMPONENTS).about()["customers"] == len(mine)
    assert len(mine) < store.events.n_customers
    touches = attribution_table(found.journeys, found.attributions)
    assert set(touches["customer"]) <= set(mine.tolist())
    # The place among the customer's own events is the same in the store.
    row = touches.row(0, named=True)
    event = int(store.events.offsets[row["customer"]]) + row["touch"]
    assert store.events.time[event] == row["time"].timestamp() * 1e6


def test_what_is_left_behind(attributed: Attributed, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "found"
    Report(attributed, COMPONENTS).write(folder)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "about.json",
        "channels.csv",
        "channels.parquet",
        "comparison.csv",
        "comparison.parquet",
        "plots/channel_interaction.png",
        "plots/credit_over_time.png",
        "plots/organic.png",
        "plots/replay.png",
        "plots/sample_journeys.png",
        "plots/shares.png",
        "replay.csv",
        "replay.parquet",
        "touches.parquet",
    ]
    about = json.loads((folder / "about.json").read_text())
    assert about["settings"]["fold"] == "test"
    assert about["conversions"] == len(attributed.journeys.conversion)
    assert about["methods"]["linear"]["organic_is"] == "untouched"
    assert about["environment"]["seqmarket.version"]
    assert [path.name for path in folder.parent.iterdir()] == ["found"]
    touches = pl.read_parquet(folder / "touches.parquet")
    credit = touches.group_by("method", maintain_order=True).agg(pl.col("credit").sum())
    organic = attributed.attributions["linear"].organic.sum()
    assert credit["credit"].to_list() == pytest.approx(
        [len(attributed.journeys.conversion) - organic] * 2
    )


def test_no_identifier_is_left_behind(
    model: TrainedModel, attributed: Attributed, tmp_path: Path
) -> None:
    Report(attributed, COMPONENTS).write(tmp_path / "found")
    names = [name.encode() for name in own_store(model).customer_ids().to_list()]
    for path in (tmp_path / "found").rglob("*.*"):
        content = path.read_bytes()
        assert not any(name in content for name in names), path


def test_an_earlier_attribution_is_replaced(attributed: Attributed, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    Report(attributed, COMPONENTS).write(folder)
    (folder / "old.txt").write_text("old")
    Report(attributed, COMPONENTS).write(folder)
    assert not (folder / "old.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_a_failure_leaves_what_was_there(
    attributed: Attributed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "found"
    Report(attributed, COMPONENTS).write(folder)
    before = {path.name: path.read_bytes() for path in folder.rglob("*.*")}

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(module, "write_csv", fails)
    with pytest.raises(OSError, match="full"):
        Report(attributed, COMPONENTS).write(folder)
    assert {path.name: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_another_folder_is_not_touched(attributed: Attributed, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SeqmarketError, match="something else"):
        Report(attributed, COMPONENTS).write(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_metrics_are_few_and_finite(attributed: Attributed) -> None:
    metrics = Report(attributed, COMPONENTS).metrics()
    assert set(metrics) == {f"attribution/test/{name}/organic_share" for name in METHODS}
    assert all(0 <= value <= 1 for value in metrics.values())


def test_settings_of_the_command_do_not_reach_the_record(attributed: Attributed) -> None:
    """An address may hold a password."""
    from seqmarket.attribution.config import AttributeConfig

    config = AttributeConfig.model_validate(
        {
            "run_id": "last",
            "attribution": {"a": {"_target_": "seqmarket.x"}},
            "tracking": {"uri": "http://user:secret@host"},
        }
    )
    about = Report(replace(attributed, settings=config), COMPONENTS).about()
    assert "secret" not in json.dumps(about)
    assert set(about["settings"]) == set(AttributionSettings.model_fields)


@pytest.mark.parametrize(
    ("first", "stop", "days"),
    [(0, 10, (0, 10)), (0.3, 10, (0, 10)), (3, 10, (3, 10)), (3.5, 10, None), (3, 9.5, None)],
)
def test_the_truth_is_of_whole_days(first: float, stop: float, days: object) -> None:
    day = MICROSECONDS_PER_DAY
    start = 19_000 * day
    assert _days(Period(start + int(first * day), start + int(stop * day)), start) == days
