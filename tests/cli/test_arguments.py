"""What is an option of a verb, what an override, and what is neither."""

from __future__ import annotations

import pytest

from seqmarket.cli.arguments import parse_arguments, refuse_other_groups
from seqmarket.errors import SeqmarketError

OPTIONS = {"run": {}, "--output": {}}


def test_options_and_overrides_are_told_apart() -> None:
    parsed, overrides = parse_arguments(
        "predict",
        "",
        ["last", "--output", "a.parquet", "data=files", "~model@baselines.gbdt", "+x.y=1"],
        OPTIONS,
    )
    assert parsed.run == "last"
    assert parsed.output == "a.parquet"
    assert overrides == ["data=files", "~model@baselines.gbdt", "+x.y=1"]


def test_a_path_with_an_equals_sign_is_no_override() -> None:
    parsed, overrides = parse_arguments("predict", "", ["./a=b/c", "--output=x=1"], OPTIONS)
    assert (parsed.run, parsed.output) == ("./a=b/c", "x=1")
    assert overrides == []


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(SeqmarketError, match="neither an option"):
        parse_arguments("predict", "", ["last", "--outptu", "x"], OPTIONS)


def test_overrides_without_effect_are_refused() -> None:
    refuse_other_groups(
        "evaluate", ["paths.output_dir=x", "+tracking.uri=y"], ("paths", "tracking")
    )
    for item in ("data.n_customers=3", "model=lstm", "~model@baselines.gbdt"):
        with pytest.raises(SeqmarketError, match="no effect"):
            refuse_other_groups("evaluate", [item], ("paths", "tracking"))
