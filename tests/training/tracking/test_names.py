from __future__ import annotations

import pytest

from seqmarket.training.tracking.connection import load_mlflow, without_credentials
from seqmarket.training.tracking.names import (
    MAX_NAME,
    MAX_PARAM,
    chunks,
    flatten,
    safe_name,
    shorten,
)

AWKWARD = [
    "purchase/lift@10%",
    "a//b",
    "../up",
    "/root",
    "a/./b",
    "",
    ".",
    "größe",
    "x:y",
    "new\nline",
    "n" * 400,
    "a/" * 200,
]


@pytest.mark.parametrize("name", AWKWARD)
def test_mlflow_accepts_every_safe_name(name: str) -> None:
    load_mlflow(database=False)
    from mlflow.utils.validation import _validate_metric, _validate_param, _validate_tag

    safe = safe_name(name)

    _validate_metric(safe, 1.0, 1, 1)
    _validate_param(safe, "v")
    _validate_tag(safe, "v")
    assert len(safe) <= MAX_NAME


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("val/loss", "churn/average_precision", "model.d_model", "a b-c.d_e/f"):
        assert safe_name(name) == name


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    assert safe_name("n" * 400 + "a") != safe_name("n" * 400 + "b")


def test_a_text_is_cut_with_a_marker_that_says_so() -> None:
    assert shorten("x" * MAX_PARAM, MAX_PARAM) == "x" * MAX_PARAM
    cut = shorten("x" * 9999, MAX_PARAM)
    assert len(cut) == MAX_PARAM
    assert cut.endswith("xx [cut: 9999 characters in all]")


def test_nested_settings_become_flat_text() -> None:
    nested = {"a": {"b": [1, 2], "c": None, "d": {}}, "e": "text", "f": True, "g": 0.1}
    assert flatten(nested) == {
        "a.b": "[1, 2]",
        "a.c": "null",
        "a.d": "{}",
        "e": "text",
        "f": "true",
        "g": "0.1",
    }


def test_chunks_hold_everything_in_order() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 2)) == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@host:5000/path", "http://host:5000/path"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////folder/a@b.db", "sqlite:////folder/a@b.db"),
        ("postgresql+psycopg2://user:secret@host/db", "postgresql+psycopg2://host/db"),
    ],
)
def test_credentials_are_never_shown(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown
