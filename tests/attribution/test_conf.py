"""Every shipped method composes, says all of its settings with their defaults, and can be built."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from seqmarket.attribution.config import build_methods, parse_attribute_config
from seqmarket.attribution.journeys import JourneySettings
from seqmarket.cli.compose import config_dir, load_plain
from seqmarket.data.settings import parse_duration
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import ComponentConfig
from seqmarket.training.instantiate import resolve_target

FILES = sorted(path for path in (config_dir() / "attribution").glob("*.yaml") if path.stem != "all")
JOURNEYS = sorted((config_dir() / "journeys").glob("*.yaml"))
CHOSEN = {"shapley_rate": {"game": "rate"}}
"""Where a method is a class with another setting than its default."""


def says_every_default(name: str, node: dict[str, Any]) -> None:
    """The keys are the settings of the class, and their values its defaults."""
    target = resolve_target(node["_target_"])
    given = {key: value for key, value in node.items() if key != "_target_"}
    if issubclass(target, BaseModel):
        defaults = {key: field.default for key, field in target.model_fields.items()}
    else:
        parameters = inspect.signature(target).parameters.values()
        defaults = {parameter.name: parameter.default for parameter in parameters}
    assert list(given) == list(defaults)
    for key, default in (defaults | CHOSEN.get(name, {})).items():
        value = given[key]
        if type(default).__name__ == "timedelta":
            value = parse_duration(value)
        same = tuple(value) == tuple(default) if isinstance(value, list) else value == default
        assert same or float(value) == default, key


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_method_is_one_key_and_all_its_settings(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# "), "the question that it answers"
    plain = yaml.safe_load(text)
    assert list(plain) == [path.stem]
    says_every_default(path.stem, plain[path.stem])


def test_a_setting_without_its_default_is_noticed() -> None:
    node = {"_target_": "seqmarket.attribution.position_based.PositionBased", "first": 0.4}
    with pytest.raises(AssertionError):
        says_every_default("position_based", node)
    with pytest.raises(AssertionError):
        says_every_default("position_based", {**node, "last": 0.5})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_method_validates_and_can_be_built(path: Path) -> None:
    config = parse_attribute_config(load_plain([f"attribution={path.stem}"], "attribute"))
    assert list(config.attribution) == [path.stem]
    method = build_methods(config.attribution)[path.stem]
    assert isinstance(method.signed, bool)


def test_all_is_every_method() -> None:
    config = parse_attribute_config(load_plain([], "attribute"))
    assert sorted(config.attribution) == [path.stem for path in FILES]
    assert list(build_methods(config.attribution)) == list(config.attribution)


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("attribution=[markov,regression]", ["markov", "regression"]),
        ("attribution=last", ["last"]),
    ],
)
def test_methods_are_chosen_by_name(override: str, names: list[str]) -> None:
    assert list(load_plain([override], "attribute")["attribution"]) == names


def test_a_method_is_left_out_of_all() -> None:
    names = load_plain(["~attribution.markov"], "attribute")["attribution"]
    assert "markov" not in names
    assert "regression" in names


def test_settings_below_a_method_can_be_overridden() -> None:
    plain = load_plain(["attribution.markov.order=2"], "attribute")
    assert build_methods(parse_attribute_config(plain).attribution)["markov"].order == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attribution=markv"], "did you mean 'markov'?"),
        (["attribution=[last,markv]"], "did you mean 'markov'?"),
        (["attribution.markov.ordr=2"], "did you mean 'attribution.markov.order'?"),
        (["journeys.touches.event_typ=[a]"], "did you mean 'journeys.touches.event_type'?"),
        (["journeys=simulater"], "did you mean 'simulator'?"),
        (["attribution=null"], "must be a string or a list"),
    ],
)
def test_wrong_names_are_told(overrides: list[str], said: str) -> None:
    with pytest.raises(SeqmarketError) as caught:
        load_plain(overrides, "attribute")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["fold=tst"], "fold: expected 'train', 'validation' or 'test', got 'tst'"),
        (["level=1"], "level"),
        (["journeys.lookback=30"], "journeys.lookback"),
        (["journeys.lookback=99999999999d"], "journeys.lookback"),
        (["journeys.lookback=9999999999w"], "journeys.lookback"),
        (["resamples=-1"], "resamples"),
    ],
)
def test_wrong_values_are_told(overrides: list[str], said: str) -> None:
    with pytest.raises(SeqmarketError, match=said):
        parse_attribute_config(load_plain(overrides, "attribute"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("regression.groups=1", "nobody is left"),
        ("deconfounded.groups=1", "nobody is left"),
        ("regression.half_lives=[]", r"regression\.half_lives"),
        ("regression.half_lives=[1, 0]", r"regression\.half_lives"),
        ("regression.half_lives=[-7]", r"regression\.half_lives"),
    ],
)
def test_wrong_settings_of_a_method_are_told(setting: str, said: str) -> None:
    overrides = [f"attribution={setting.split('.', maxsplit=1)[0]}", f"attribution.{setting}"]
    config = parse_attribute_config(load_plain(overrides, "attribute"))
    with pytest.raises(SeqmarketError, match=said):
        build_methods(config.attribution)


def test_no_method_is_a_mistake() -> None:
    with pytest.raises(SeqmarketError, match="no method is named"):
        parse_attribute_config({**load_plain([], "attribute"), "attribution": {}})


def test_only_a_method_can_be_built() -> None:
    wrong = ComponentConfig(target="seqmarket.models.gru.GRUEncoder")
    with pytest.raises(SeqmarketError, match="is not a method of attribution"):
        build_methods({"mine": wrong})


@pytest.mark.parametrize("path", JOURNEYS, ids=lambda path: path.stem)
def test_journeys_validate_and_the_default_says_every_setting(path: Path) -> None:
    plain = load_plain([f"journeys={path.stem}"], "attribute")["journeys"]
    settings = JourneySettings.model_validate(plain)
    assert set(plain) == set(JourneySettings.model_fields)
    if path.stem == "default":
        assert settings == JourneySettings()
