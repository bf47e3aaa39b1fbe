from __future__ import annotations

import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmarket.data.settings import EncodingSettings, PositiveDuration, Settings
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import ComponentConfig
from seqmarket.training.instantiate import build, resolve_target


class Layer:
    """Stands for a model: a specification, then the user's options."""

    def __init__(
        self,
        spec: str,
        d_model: int = 8,
        *,
        widths: tuple[int, ...] = (),
        encoding: EncodingSettings | None = None,
    ) -> None:
        self.spec = spec
        self.d_model = d_model
        self.widths = widths
        self.encoding = encoding


class Source(Settings):
    path: str
    every: PositiveDuration | None = None


class Strict:
    def __init__(self, rate: float) -> None:
        raise ValueError("a defect of ours")


class Inner:
    """Builds its settings itself, as a source may."""

    def __init__(self, **options: Any) -> None:
        self.source = Source(**options)


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("seqmarket.fake")
    vars(fake).update(Layer=Layer, Source=Source, Strict=Strict, Inner=Inner, function=len)
    Strict.__module__ = "seqmarket.fake"
    monkeypatch.setitem(sys.modules, "seqmarket.fake", fake)


def component(name: str, **options: Any) -> ComponentConfig:
    return ComponentConfig(target=name, options=options)


def test_options_are_converted_to_the_annotated_types() -> None:
    layer = build(
        component("seqmarket.fake.Layer", d_model="16", widths=[1, 2], encoding={"min_count": 3}),
        "the spec",
    )
    assert layer.spec == "the spec"
    assert layer.d_model == 16
    assert layer.widths == (1, 2)
    assert layer.encoding == EncodingSettings(min_count=3)


def test_defaults_are_the_constructor_s() -> None:
    layer = build(component("seqmarket.fake.Layer"), "the spec", d_model=4)
    assert layer.d_model == 4
    assert layer.encoding is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Layer", {"d_model": "abc"}, "model.d_model: expected a valid integer, got 'abc'"),
        ("Layer", {"d_modle": 3}, "model.d_modle: no such setting; did you mean 'd_model'?"),
        ("Layer", {"spec": "mine"}, "model.spec: no such setting"),
        ("Layer", {"widths": [1, "x"]}, "model.widths.1: expected a valid integer, got 'x'"),
        ("Layer", {"encoding": {"min_cuont": 1}}, "model.encoding.min_cuont: no such setting; did"),
        ("Source", {"path": 3}, "model.path: expected a valid string, got 3"),
        ("Source", {}, "model.path: is missing"),
        ("Source", {"path": "x", "every": 7}, "model.every: a duration is a number and one of"),
        ("Source", {"path": "x", "pth": "y"}, "model.pth: no such setting; did you mean 'path'?"),
        ("Inner", {"path": 3}, "model.path: expected a valid string, got 3"),
    ],
)
def test_wrong_option_is_named(name: str, options: dict[str, Any], message: str) -> None:
    arguments = ["the spec"] if name == "Layer" else []
    with pytest.raises(SeqmarketError) as caught:
        build(component(f"seqmarket.fake.{name}", **options), *arguments, prefix="model.")
    assert message in str(caught.value)


def test_missing_option_of_a_plain_class_is_named() -> None:
    with pytest.raises(SeqmarketError, match=r"model\.spec: is missing"):
        build(component("seqmarket.fake.Layer"), prefix="model.")


def test_optimizer_is_built_and_its_options_checked() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    adamw = build(component("torch.optim.AdamW", lr=0.5, betas=[0.8, 0.9]), parameters)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["lr"] == 0.5
    assert adamw.defaults["betas"] == (0.8, 0.9)
    with pytest.raises(SeqmarketError, match=r"optimizer\.learning_rate: no such setting"):
        build(component("torch.optim.AdamW", learning_rate=1), parameters, prefix="optimizer.")
    with pytest.raises(SeqmarketError, match=r"Invalid learning rate: -1\.0"):
        build(component("torch.optim.AdamW", lr=-1.0), parameters)


def test_value_error_of_our_own_class_is_a_defect() -> None:
    with pytest.raises(ValueError, match="a defect of ours"):
        build(component("seqmarket.fake.Strict", rate=1.0))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "a configuration may not build 'os.system'"),
        ("collections.OrderedDict", "a configuration may not build"),
        ("torchvision.models.ResNet", "a configuration may not build"),
        ("seqmarket_evil.Model", "a configuration may not build"),
        ("AdamW", "a configuration may not build"),
        ("torch.optim.AdmaW", "torch.optim has no class 'AdmaW'; did you mean 'AdamW'?"),
        ("torch.hub.load", "torch.hub has something else than a class by the name 'load'"),
        ("seqmarket.fake.function", "has something else than a class"),
        ("seqmarket.models.lstn.LSTM", "there is no module 'seqmarket.models.lstn'"),
    ],
)
def test_refused_target(path: str, message: str) -> None:
    with pytest.raises(SeqmarketError) as caught:
        resolve_target(path)
    assert message in str(caught.value)


def test_own_package_is_allowed_by_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SeqmarketError, match="SEQMARKET_PLUGINS"):
        resolve_target("collections.OrderedDict")
    monkeypatch.setenv("SEQMARKET_PLUGINS", "mine, collections")
    assert resolve_target("collections.OrderedDict") is OrderedDict


def test_missing_optional_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_with_trees.py").write_text("import lightgbm\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SEQMARKET_PLUGINS", "plugin_with_trees")
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(SeqmarketError) as caught:
        resolve_target("plugin_with_trees.Model")
    assert "needs the package 'lightgbm'" in str(caught.value)
    assert 'pip install "seqmarket[gbdt]"' in str(caught.value)
