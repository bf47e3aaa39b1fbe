"""The configurations in conf/data say what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from seqmarket.data.settings import EncodingSettings, SplitSettings, ValidationSettings
from seqmarket.data.sources.complete_journey import CompleteJourney
from seqmarket.data.sources.files import FileSource
from seqmarket.data.sources.synthetic import SyntheticJourneys

CONF = Path(__file__).parents[2] / "conf"
SOURCES = {
    "complete_journey": CompleteJourney,
    "files": FileSource,
    "synthetic": SyntheticJourneys,
}


def node(source: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF / "data"), version_base="1.3"):
        plain = OmegaConf.to_container(compose(source, overrides=[]))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def test_every_source_has_its_configuration() -> None:
    files = {file.stem for file in (CONF / "data").glob("*.yaml")}
    assert files == {"_base", *SOURCES}


@pytest.mark.parametrize("source", SOURCES)
def test_every_option_is_listed_with_its_default(source: str) -> None:
    options = node(source)
    for section in ("split", "encoding", "validation"):
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
    assert set(options["split"]) == set(SplitSettings.model_fields)
    assert EncodingSettings.model_validate(options["encoding"]) == EncodingSettings()
    assert ValidationSettings.model_validate(options["validation"]) == ValidationSettings()
    split = SplitSettings.model_validate(options["split"])
    assert (split == SplitSettings()) == (source == "files")
