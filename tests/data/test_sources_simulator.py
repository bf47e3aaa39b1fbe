"""The simulated log: repeatable, confounded as far as asked, and with its truth beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from seqmarket.cli.main import main
from seqmarket.data.event_log import EventLog
from seqmarket.data.simulation import cohort
from seqmarket.data.simulation.cohort import SIZE, simulate
from seqmarket.data.simulation.world import PLACEBO, PRESETS
from seqmarket.data.sources import simulator
from seqmarket.data.sources.files import FileSource
from seqmarket.data.sources.simulator import JourneySimulator

Read = Callable[..., EventLog]


def events_of(**options: Any) -> pl.DataFrame:
    source = JourneySimulator.model_validate({"days": 60, **options})
    return pl.concat(part.frame for part in source.open().parts).collect()


def test_the_same_settings_give_the_same_log(read_log: Read) -> None:
    first, again, other = (
        read_log(JourneySimulator(n_customers=100, days=40, seed=seed)) for seed in (1, 1, 2)
    )
    assert first.frame.collect().equals(again.frame.collect())
    assert first.fingerprint == again.fingerprint
    assert not first.frame.collect().equals(other.frame.collect())
    assert first.fingerprint != other.fingerprint


def test_every_knob_is_in_the_fingerprint() -> None:
    knobs = {"preset": "confounded", "confounding": 0.5, "intent_proxy": 0.5, "visits": 0.5}
    knobs |= {"holdout": 0.5, "n_customers": 9, "days": 9, "seed": 9}
    made = [
        JourneySimulator(),
        *(JourneySimulator.model_validate({k: v}) for k, v in knobs.items()),
    ]
    assert len({source.fingerprint() for source in made}) == len(made)


def test_fewer_customers_are_the_first_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "_COHORTS_PER_PART", 1)
    more = events_of(n_customers=SIZE + 50)
    assert len(JourneySimulator(n_customers=SIZE + 50).open().parts) == 2
    fewer = events_of(n_customers=SIZE + 10)
    assert more["customer_id"].n_unique() == SIZE + 50
    known = more.filter(pl.col("customer_id").is_in(fewer["customer_id"].unique().implode()))
    assert known.sort("customer_id", "time").equals(fewer.sort("customer_id", "time"))


def test_what_it_holds(read_log: Read) -> None:
    source = JourneySimulator(preset="confounded", n_customers=300, days=90, holdout=0.5)
    log = read_log(source)
    report = log.report
    assert report.rows_in == report.kept
    assert report.warnings == ()
    assert report.profile.customers == 300
    assert set(report.profile.channels) == {*source.world.names, "direct", "shop", "site"}
    assert log.static is not None
    static = log.static.collect()
    assert set(static.columns) == {"customer_id", "intent_score", "held_out"}
    assert set(static["held_out"]) == {*source.world.names, "all", "none"}
    events = log.frame.collect()
    assert events.filter(event_type="purchase")["value"].null_count() == 0
    assert events.filter(pl.col("event_type") != "purchase")["value"].null_count() > 0
    first = events.sort("time").group_by("customer_id").first()
    assert set(first["event_type"]) == {"registration"}


def test_who_is_held_out_meets_nothing() -> None:
    events = events_of(n_customers=600, holdout=0.6).filter(event_type="touch")
    assert not len(events.filter(held_out="all"))
    assert not len(events.filter(pl.col("held_out") == pl.col("channel")))
    assert len(events.filter(pl.col("held_out") != "none"))


def targeting(confounding: float) -> float:
    """How much higher than that of the customers the intent of those is whom the placebo meets."""
    options = {"confounding": confounding, "intent_proxy": 1.0, "n_customers": 2_000, "days": 90}
    events = events_of(**options)
    met = events.filter(channel=PLACEBO)["intent_score"].mean()
    every = events.unique("customer_id")["intent_score"].mean()
    return float(met) - float(every)  # type: ignore[arg-type]


def test_intent_drives_touches_as_far_as_asked() -> None:
    assert abs(targeting(0.0)) < 0.05
    assert 0.3 < targeting(0.5) < targeting(1.5) - 0.3


def same_luck() -> None:
    world = PRESETS["unconfounded"]
    weaker = replace(
        world, channels=tuple(c._replace(effect=0.5 * c.effect) for c in world.channels)
    )
    one, other = (simulate(w, 60, seed=1, number=0) for w in (world, weaker))
    assert (one.touched == other.touched).all()
    assert (one.background == other.background).all()
    # Where both worlds hold a purchase for as likely, it happens in both or in none.
    untouched = ~np.cumsum(one.touched.any(axis=0), axis=0).astype(bool)
    assert (one.bought == other.bought)[untouched].all()
    assert (one.bought != other.bought).any()


def test_worlds_with_other_effects_have_the_same_luck() -> None:
    same_luck()


def test_luck_that_depends_on_the_effects_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds: list[Any] = []

    def rng(key: tuple[int, int]) -> np.random.Generator:
        worlds.append(key)
        return np.random.Generator(np.random.PCG64((*key, len(worlds))))

    monkeypatch.setattr(cohort.np.random, "default_rng", rng)
    with pytest.raises(AssertionError):
        same_luck()


@pytest.mark.parametrize("proxy", [0.3, 0.9])
def test_the_score_is_as_noisy_as_asked(proxy: float) -> None:
    noisy, exact = (
        np.concatenate([simulate(world, 10, seed=1, number=i).score for i in range(8)])
        for world in (replace(PRESETS["confounded"], intent_proxy=known) for known in (proxy, 1.0))
    )
    assert np.corrcoef(noisy, exact)[0, 1] == pytest.approx(proxy, abs=0.06)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"preset": "perfect"}, {"holdout": 2}, {"intent_proxy": -1}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            JourneySimulator.model_validate(wrong)


@pytest.mark.parametrize("touches", [False, True])
def test_the_command_writes_the_log_and_its_truth(
    read_log: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str], touches: bool
) -> None:
    folder = tmp_path / "made" / "world"
    options = ["data.n_customers=50", "data.days=30", "data.preset=confounded", "data.holdout=.2"]
    more = ["--touches"] if touches else []
    assert main(["simulate", "--output", str(folder), *options, *more]) == 0
    source = JourneySimulator(preset="confounded", n_customers=50, days=30, holdout=0.2)
    truth = source.truth(touches=touches)
    assert f"{truth.purchases:,} happened: {folder}" in capsys.readouterr().out
    about = json.loads((folder / "about.json").read_text())
    assert about["expected"] == pytest.approx(truth.expected)
    assert about["settings"]["n_customers"] == 50
    assert pl.read_parquet(folder / "channels.parquet").equals(truth.channels)
    static = {"static_numeric": ["intent_score"], "static_categorical": ["held_out"]}
    again = read_log(FileSource.model_validate({"path": str(folder / "events"), **static}))
    names = ["customer_id", "time", "channel", "event_type"]
    own = read_log(source).frame.select(names).collect()
    assert again.frame.select(names).collect().equals(own)
    customers = pl.read_parquet(folder / "customers.parquet")
    assert set(customers["customer_id"]) == set(own["customer_id"])
    assert [path.name for path in folder.parent.iterdir()] == ["world"]
    if touches:
        found = pl.read_parquet(folder / "touches.parquet")
        log = own.filter(event_type="touch").drop("event_type")
        key = ["customer_id", "channel"]
        both = found.sort(*key, "time"), log.sort(*key, "time")
        assert both[0].select(key).equals(both[1].select(key))
        gap = both[0]["time"].dt.epoch("us") - both[1]["time"].dt.epoch("us")
        assert gap.abs().max() <= 1  # type: ignore[operator]
    else:
        assert not (folder / "touches.parquet").exists()


def test_the_command_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--output", str(tmp_path), "data.n_customers=5"]) == 2
    assert "there is something already" in capsys.readouterr().err
    other = ["--output", str(tmp_path / "new"), "data=synthetic"]
    assert main(["simulate", *other]) == 2
    assert "no truth to tell" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(simulator, "truth_of", fails)
    with pytest.raises(RuntimeError):
        JourneySimulator(n_customers=20, days=20).write(tmp_path / "world")
    assert list(tmp_path.iterdir()) == []
