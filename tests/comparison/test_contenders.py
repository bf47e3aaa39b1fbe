"""Who takes part: seeds of one model are one, everything else is told apart by what differs."""

from __future__ import annotations

import pytest

from seqmarket.comparison import contenders as module
from seqmarket.comparison.changes import changes, costs
from seqmarket.comparison.contenders import contenders
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import PathsConfig
from seqmarket.training.tracking.settings import TrackingSettings


@pytest.fixture
def named(monkeypatch):
    """Finds runs by the names that a test gives them."""

    def contend(wanted, **runs):
        def find(names, paths, tracking):
            return [runs[name] if isinstance(runs[name], list) else [runs[name]] for name in names]

        monkeypatch.setattr(module, "find_recorded", find)
        return contenders(wanted, PathsConfig(), TrackingSettings())

    return contend


def test_seeds_become_one(make_run, named) -> None:
    runs = [make_run(seed=seed) for seed in (1, 2, 3)]
    lstm = make_run(name="lstm", config={"model": {"_target_": "lstm"}})
    found = named(["all", "lstm"], all=runs, lstm=lstm)
    assert [len(contender.runs) for contender in found] == [3, 1]


def test_of_seeds_alone_each_stands_for_itself_and_knows_its_kin(make_run, named) -> None:
    found = named(["a", "b"], a=make_run(seed=1), b=make_run(seed=2))
    assert [contender.name for contender in found] == ["gru, seed 1", "gru, seed 2"]
    assert [len(contender.kin) for contender in found] == [2, 2]


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (
            {"config": {"training": {"max_epochs": 9, "calibration": "platt"}}},
            ["gru, max_epochs=3", "gru, max_epochs=9"],
        ),
        (
            {"tags": {"seqmarket.git_commit": "b" * 40}},
            ["gru, commit aaaaaaa", "gru, commit bbbbbbb"],
        ),
    ],
)
def test_other_settings_or_code_make_another_model(make_run, named, changed, names) -> None:
    found = named(["a", "b"], a=make_run(seed=1), b=make_run(seed=2, **changed))
    assert [contender.name for contender in found] == names
    assert [len(contender.kin) for contender in found] == [1, 1]


@pytest.mark.parametrize("changed", [{"name": "new"}, {"config": {"baselines": {}}}])
def test_what_it_is_called_and_what_stands_beside_it_do_not(make_run, named, changed) -> None:
    found = named(["a", "b"], a=make_run(seed=1), b=make_run(seed=2, **changed))
    assert [len(contender.kin) for contender in found] == [2, 2]


def test_one_run_is_held_against_its_baselines(make_run, named) -> None:
    found = named(["a"], a=make_run())
    assert [contender.name for contender in found] == ["gru", "majority"]
    assert [contender.is_own for contender in found] == [True, False]
    with pytest.raises(SeqmarketError, match="nothing to compare with"):
        named(["a"], a=make_run(models={"gru": 0.5}))


def test_a_baseline_is_named_behind_a_colon(make_run, named) -> None:
    run = make_run()
    found = named(["a:majority", "a"], a=run)
    assert [contender.model for contender in found] == ["majority", "gru"]
    with pytest.raises(SeqmarketError, match="no predictions of a model 'mayority'") as refused:
        named(["a:mayority", "a"], a=run)
    assert refused.value.fix == "did you mean 'majority'?"


def test_what_changed_is_named_and_the_seed_is_no_change(make_run, named) -> None:
    wide = {"model": {"_target_": "seqmarket.models.gru.GRUEncoder", "d_model": 128}}
    a = make_run(seed=1)
    b = make_run(seed=2, config=wide, tags={"seqmarket.torch": "2.0"})
    found = changes(named(["a", "b"], a=a, b=b))
    assert found == [
        ("configuration", "model.d_model", ["64", "128"]),
        ("environment", "torch", ["-", "2.0"]),
    ]


def test_a_price_is_named_for_whoever_has_one(make_run, named) -> None:
    own, baseline = named(["a"], a=make_run())
    assert costs(own) == ["12.0 s", "-", "1,000", "300 MiB"]
    assert costs(baseline) == ["-", "-", "-", "-"]
