"""Finds the configuration files and composes them with the user's overrides."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqmarket.cli.mistakes import explain_composition
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import RunConfig, parse_config

CONFIG_NAME = "config"
"""The root of what `train.py` runs; verbs that need a root of their own have one beside it."""
_LOOK = {
    CONFIG_NAME: "`python train.py --cfg job` prints every key",
    "attribute": "conf/attribute.yaml and conf/attribution/ hold every key",
}
_OVERLAY = re.compile(r"^\++(?=(experiment|debug)=)")
_OVERRIDE = re.compile(r"^(~|[^-].*=)")
_CHOICE = re.compile(r"^(\w+)(@[\w.]+)?=\w+$")


def config_dir() -> Path:
    """The directory of the shipped configuration: in the wheel, or in a source checkout.

    Raises:
        SeqmarketError: Neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / f"{CONFIG_NAME}.yaml").is_file():
            return candidate
    raise SeqmarketError(
        "the configuration files of seqmarket are missing",
        where=str(package / "conf"),
        fix="install seqmarket again",
    )


def normalise(arguments: Sequence[str]) -> list[str]:
    """Makes ``+experiment=x`` mean ``experiment=x``, the same for ``debug``, and flags come first.

    Hydra's parser takes the overrides in one piece only, without a flag between them.
    """
    overrides = [item for item in arguments if _OVERRIDE.match(item)]
    flags = [item for item in arguments if not _OVERRIDE.match(item)]
    return [*flags, *(_OVERLAY.sub("", override) for override in overrides)]


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Resolves interpolations; raises OmegaConf's errors for missing mandatory values."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return cast(dict[str, Any], plain)


def load_plain(overrides: Sequence[str], root: str = CONFIG_NAME) -> dict[str, Any]:
    """Composes the configuration with overrides, without running anything.

    Args:
        overrides: What the user changes.
        root: Name of the file that it is composed from.

    Raises:
        SeqmarketError: The overrides do not compose.
    """
    with (
        readable_errors(overrides, root),
        initialize_config_dir(str(config_dir()), version_base="1.3"),
    ):
        return to_plain(compose(root, overrides=normalise(overrides)))


def load_config(overrides: Sequence[str]) -> RunConfig:
    """Composes and checks: what `train.py` would run with the same overrides.

    Raises:
        SeqmarketError: The overrides do not compose, or a setting is wrong.
    """
    return parse_config(load_plain(overrides))


@contextmanager
def readable_errors(overrides: Sequence[str], root: str = CONFIG_NAME) -> Iterator[None]:
    """Turns what Hydra and OmegaConf raise inside into a `SeqmarketError`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error, MissingConfigException) and error.options is None:
            error.options = _options(error.missing_cfg_file or "")  # of a list, Hydra names none
        known = partial(_known_keys, overrides, root)
        raise explain_composition(error, known, _LOOK[root]) from error
    except ValueError as error:
        if not str(error).startswith("Config group override must be"):
            raise
        raise SeqmarketError(f"{error}", fix=_LOOK[root]) from error


def _options(file: str) -> list[str]:
    """What could have been chosen in place of a file that is not there."""
    group = config_dir() / Path(file).parent
    return [] if group == config_dir() else [path.stem for path in group.glob("*.yaml")]


def _known_keys(overrides: Sequence[str], root: str) -> list[str]:
    """Every dotted key of the configuration that the user started from, groups included."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    own, rest = parser.parse_known_args(normalise(overrides))
    search = (
        [f"hydra.searchpath=[file://{Path(own.config_dir).resolve()}]"] if own.config_dir else []
    )
    matches = [match for match in map(_CHOICE.match, rest) if match]
    choices = [match[0] for match in matches if (config_dir() / match[1]).is_dir()]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for chosen in (choices, []):
            try:
                config = compose(root, overrides=[*search, *chosen])
            except (HydraException, OmegaConfBaseException):
                continue
            return _flatten(OmegaConf.to_container(config))
    return []


def _flatten(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys: list[str] = []
    for name, child in node.items():
        keys += [f"{prefix}{name}", *_flatten(child, f"{prefix}{name}.")]
    return [key for key in keys if not key.endswith(("_target_", "_partial_"))]
