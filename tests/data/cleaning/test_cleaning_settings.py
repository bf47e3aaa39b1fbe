from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from seqmarket.data.cleaning.settings import (
    Cap,
    CapRate,
    CleaningRule,
    Deduplicate,
    DropBots,
    DropWhere,
    MergeSpellings,
    check_rules,
)
from seqmarket.errors import SeqmarketError

RULES: TypeAdapter[tuple[CleaningRule, ...]] = TypeAdapter(tuple[CleaningRule, ...])
TEXTS = ("channel", "event_type", "device")
NUMBERS = ("value", "cost")


def test_a_list_of_rules_in_the_order_written() -> None:
    rules = RULES.validate_python(
        [
            {"rule": "merge_spellings", "into": {"email": ["Email", "e-mail"]}},
            {"rule": "deduplicate", "within": "5s"},
            {"rule": "cap", "column": "value", "at": 10_000},
            {"rule": "cap_rate", "events_per_day": 200},
            {"rule": "drop_bots", "events_per_day": 500},
            {"rule": "drop_where", "column": "channel", "values": ["internal"]},
        ]
    )
    assert rules == (
        MergeSpellings(into={"email": ("Email", "e-mail")}),
        Deduplicate(within=timedelta(seconds=5)),
        Cap(column="value", at=10_000.0),
        CapRate(events_per_day=200),
        DropBots(events_per_day=500),
        DropWhere(column="channel", values=("internal",)),
    )


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"rule": "dedup"}, "does not match any of the expected tags"),
        ({"within": "5s"}, "discriminator 'rule'"),
        ({"rule": "deduplicate", "within": 5}, "a duration is a number and one of"),
        ({"rule": "deduplicate", "within": "25h"}, "must be from 0s to 1d"),
        ({"rule": "deduplicate", "within": timedelta(-1)}, "must be from 0s to 1d"),
        ({"rule": "deduplicate", "within": "5s", "by": []}, "at least 1 item"),
        ({"rule": "deduplicate", "within": "5s", "columns": ["value"]}, "Extra inputs"),
        ({"rule": "merge_spellings"}, "set into or normalise"),
        ({"rule": "merge_spellings", "into": {" ": ["x"]}}, "a blank text"),
        ({"rule": "merge_spellings", "into": {"a": "b"}}, "valid tuple"),
        ({"rule": "merge_spellings", "into": {"a": ["x"], "b": ["x"]}}, "'a' and 'b'"),
        ({"rule": "merge_spellings", "into": {"a": ["b"], "b": ["c"]}}, "'a' and 'b'"),
        (
            {"rule": "merge_spellings", "into": {"a": ["X y"], "b": ["x-Y"]}, "normalise": True},
            "'a' and 'b'",
        ),
        ({"rule": "cap", "column": "value", "at": 1, "below": 2}, "is larger than at"),
        ({"rule": "cap", "column": "value", "at": float("nan")}, "finite"),
        ({"rule": "cap_rate", "events_per_day": 0}, "greater than or equal to 1"),
        ({"rule": "drop_bots"}, "set events_per_day or total"),
        ({"rule": "drop_where", "column": "channel", "values": []}, "at least 1 item"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        RULES.validate_python([rule])


def test_rules_on_columns_that_are_there_are_accepted() -> None:
    rules = (
        MergeSpellings(column="device", normalise=True),
        Deduplicate(within=timedelta(0), by=("device", "value")),
        Cap(column="cost", at=1),
        CapRate(events_per_day=1),
        DropBots(total=5),
        DropWhere(column="event_type", values=("a",)),
    )
    check_rules(rules, texts=TEXTS, numbers=NUMBERS)


@pytest.mark.parametrize(
    ("rule", "what", "key", "fix"),
    [
        (MergeSpellings(column="chanel", normalise=True), "'chanel'", "column", "'channel'"),
        (MergeSpellings(column="value", normalise=True), "a column of text", "column", "device"),
        (DropWhere(column="costs", values=("1",)), "'costs'", "column", "channel"),
        (Cap(column="valu", at=1), "'valu'", "column", "'value'"),
        (Cap(column="channel", at=1), "a column of numbers", "column", "cost, value"),
        (Deduplicate(within=timedelta(0), by=("channel", "time")), "'time'", "by", "known:"),
    ],
)
def test_a_wrong_column_is_named_with_its_key(
    rule: CleaningRule, what: str, key: str, fix: str
) -> None:
    rules = (CapRate(events_per_day=1), DropBots(total=5), rule)
    with pytest.raises(SeqmarketError) as caught:
        check_rules(rules, texts=TEXTS, numbers=NUMBERS)
    assert what in caught.value.what
    assert caught.value.where == f"data.cleaning[2].{key}"
    assert fix in (caught.value.fix or "")


def test_settings_are_read_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys, seqmarket.data.cleaning.settings\n"
        "print({'numpy', 'polars', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
