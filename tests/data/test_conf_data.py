"""The configurations in conf/data say what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from seqmarket.data.cleaning.settings import CleaningRule
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import EncodingSettings, ResourceSettings, Settings, SplitSettings
from seqmarket.data.sources.complete_journey import CompleteJourney
from seqmarket.data.sources.files import FileSource
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.training.config import DataConfig

CONF = Path(__file__).parents[2] / "conf"
SOURCES = {
    "complete_journey": CompleteJourney,
    "files": FileSource,
    "simulator": JourneySimulator,
    "synthetic": SyntheticJourneys,
}
SHARED = set(DataConfig.model_fields) - {"target", "options"}


def node(source: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF / "data"), version_base="1.3"):
        plain = OmegaConf.to_container(compose(source, overrides=[]))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def keys(plain: object) -> object:
    """The keys of nested dicts, without what they hold."""
    return {key: keys(value) for key, value in plain.items()} if isinstance(plain, dict) else None


def test_every_source_has_its_configuration() -> None:
    files = {file.stem for file in (CONF / "data").glob("*.yaml")}
    assert files == {"_base", *SOURCES}


@pytest.mark.parametrize("source", SOURCES)
def test_every_option_is_listed_with_its_default(source: str) -> None:
    options = node(source)
    for section in SHARED:
        del options[section]
    target = SOURCES[source]
    assert options.pop("_target_") == f"{target.__module__}.{target.__qualname__}"
    if source == "files":
        assert options["path"] == "???"
        options["path"] = "a.csv"
    assert set(options) == set(target.model_fields)
    given = {"path": "a.csv"} if source == "files" else {}
    assert target.model_validate(options) == target.model_validate(given)


@pytest.mark.parametrize("source", SOURCES)
def test_the_shared_sections_have_the_defaults(source: str) -> None:
    options = node(source)
    shared = {section: options[section] for section in SHARED}
    config = DataConfig.model_validate({"_target_": "a", **shared})
    assert config.model_copy(update={"split": SplitSettings()}) == DataConfig(target="a")
    assert (config.split == SplitSettings()) == (source == "files")
    assert config.log == LogSettings()


def test_every_shared_setting_is_listed() -> None:
    options = node("files")
    sections: dict[str, Settings] = {
        "split": SplitSettings(),
        "encoding": EncodingSettings(),
        "resources": ResourceSettings(),
    }
    for name, settings in sections.items():
        assert keys(options[name]) == keys(settings.model_dump())
    log = LogSettings().model_dump()
    assert {name: keys(options[name]) for name in log} == keys(log)
    assert {*sections, *log, "engine"} == SHARED


def test_the_examples_of_cleaning_show_every_rule() -> None:
    text = (CONF / "data" / "_base.yaml").read_text()
    block = text.partition("\ncleaning: []")[2].partition("\n\n")[0]
    example = [line.removeprefix("# ") for line in block.splitlines()[1:]]
    settings = LogSettings.model_validate({"cleaning": yaml.safe_load("\n".join(example))})
    union = get_args(CleaningRule)[0]
    assert {type(rule) for rule in settings.cleaning} == set(get_args(union))
    for rule in settings.cleaning:
        assert rule.model_fields_set == set(type(rule).model_fields)
