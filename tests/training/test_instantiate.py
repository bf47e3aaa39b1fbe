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
from seqmarket.training.config import ComponentConfig, RunConfig
from seqmarket.training.instantiate import build, check_components, resolve_target


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
        ("Layer", {"widths": [1, "x"]}, "model.widths[1]: expected a valid integer, got 'x'"),
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


def test_key_of_a_refused_target_is_named() -> None:
    for path in ("os.system", "torch.optim.AdmaW", "seqmarket.models.lstn.LSTM"):
        with pytest.raises(SeqmarketError) as caught:
            resolve_target(path, "model.")
        assert caught.value.where == f"model._target_: {path}"


def run_config(**parts: Any) -> RunConfig:
    """Of a small run, with some parts changed."""
    plain = {
        "data": {"_target_": "seqmarket.data.sources.synthetic.SyntheticJourneys"},
        "model": {"_target_": "seqmarket.models.gru.GRUEncoder", "d_model": 8},
        "task": {"churn": {}},
    }
    return RunConfig.model_validate({**plain, **parts})


def model(name: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"seqmarket.models.{name}", **options}


TRANSFORMER = "transformer.TransformerEncoder"


def test_a_sound_run_passes_the_checks() -> None:
    check_components(run_config())
    check_components(run_config(model=model("majority.Majority")))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"model": model(TRANSFORMER, d_model=-8)},
            "model.d_model: expected greater than or equal",
        ),
        ({"model": model(TRANSFORMER, d_model=0)}, "model.d_model: expected greater than or equal"),
        ({"model": model(TRANSFORMER, d_model=8, n_heads=3)}, "multiple of n_heads"),
        ({"model": model(TRANSFORMER, n_layers=0)}, "model.n_layers: expected greater than or equ"),
        ({"model": model("lstm.LSTMEncoder", dropout=2)}, "model.dropout: expected less than 1"),
        (
            {"model": model("gru.GRUEncoder", n_layers=0)},
            "model.n_layers: expected greater than or",
        ),
        ({"model": {"_target_": "torch.nn.Linear"}}, "neither a journey encoder nor a baseline"),
        (
            {"model": {"_target_": "seqmarket.fake.Layer"}},
            "neither a journey encoder nor a baseline",
        ),
        ({"model": model("markov.Markov")}, "markov answers none of the tasks churn"),
        (
            {"baselines": {"markov": model("markov.Markov", order=-1)}},
            "baselines.markov.order: expected greater than or equal to 0",
        ),
        (
            {"baselines": {"rfm": model("rfm_logistic.RfmLogistic", c=0)}},
            "baselines.rfm.c: expected greater than 0",
        ),
        ({"baselines": {"gru": model("gru.GRUEncoder")}}, "only baselines stand beside the model"),
        (
            {"training": {"optimizer": {"_target_": "torch.optim.AdamW", "lr": -1.0}}},
            "Invalid learning rate",
        ),
        (
            {"training": {"optimizer": {"_target_": "torch.optim.AdamW", "lr": "abc"}}},
            "training.optimizer.lr: expected a valid number",
        ),
        (
            {
                "training": {
                    "optimizer": {"_target_": "torch.optim.AdamW", "fused": True, "foreach": True}
                }
            },
            "cannot be `True` together",
        ),
        (
            {"training": {"optimizer": {"_target_": "torch.nn.Linear"}}},
            "'torch.nn.Linear' is not an optimizer",
        ),
    ],
)
def test_what_a_run_would_stumble_on_is_found_first(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(SeqmarketError) as caught:
        check_components(run_config(**parts))
    assert message in str(caught.value)


class Encoder(torch.nn.Module):
    """A plug-in that asks more of its data than the smallest data have."""

    def __init__(self, spec: Any, width: int = 4) -> None:
        super().__init__()
        self.first = spec.categorical[0]

    def forward(self, batch: Any, need_attention: bool = False) -> Any:
        raise NotImplementedError


def test_a_plug_in_is_checked_without_being_built(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in = types.ModuleType("plug_in")
    monkeypatch.setattr(Encoder, "__module__", "plug_in")
    vars(plug_in).update(Encoder=Encoder)
    monkeypatch.setitem(sys.modules, "plug_in", plug_in)
    monkeypatch.setenv("SEQMARKET_PLUGINS", "plug_in")
    check_components(run_config(model={"_target_": "plug_in.Encoder"}))
    with pytest.raises(SeqmarketError, match=r"model\.width: expected a valid integer"):
        check_components(run_config(model={"_target_": "plug_in.Encoder", "width": "x"}))


@pytest.mark.parametrize(
    ("accelerator", "devices", "gpus", "fine"),
    [
        ("gpu", 1, 0, False),
        ("cuda", 1, 0, False),
        ("mps", 1, 1, False),
        ("gpu", 4, 2, False),
        ("gpu", "auto", 0, False),
        ("gpu", 2, 2, True),
        ("gpu", "auto", 2, True),
        ("cpu", 4, 0, True),
        ("auto", 1, 0, True),
    ],
)
def test_the_devices_must_be_there(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, devices: Any, gpus: int, fine: bool
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    config = run_config(trainer={"accelerator": accelerator, "devices": devices})
    if fine:
        check_components(config)
    else:
        with pytest.raises(SeqmarketError, match="on this machine"):
            check_components(config)


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
