"""Who may become champion: what counts as a comparison, and what speaks against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqmarket.comparison import promotion
from seqmarket.comparison.promotion import (
    Entrant,
    KeptComparison,
    check_promotion,
    evidence,
    read_comparisons,
)
from seqmarket.errors import SeqmarketError

CANDIDATE = Entrant("lstm (22)", "22", "lstm", ("churn", "value"))
CHAMPION = Entrant("version 1", "11", "gru", ("churn", "value"))
COMMAND = "seqmarket compare models:/m@champion 22"


def kept(verdicts: dict[str, str], place: str = "comparisons/gru", **changes: Any):
    about = {
        "verdict": "lstm and gru.",
        "restricted": [],
        "level": 0.95,
        "resamples": 2_000,
        "contenders": [
            {"name": "gru", "model": "gru", "runs": [{"record": "11"}]},
            {"name": "lstm", "model": "lstm", "runs": [{"record": "22"}, {"record": "23"}]},
        ],
        "tasks": {
            task: {"reference": "gru", "verdicts": {"lstm": said}}
            for task, said in verdicts.items()
        },
        **changes,
    }
    return KeptComparison(place, about)


NO_WORSE = {"churn": "better", "value": "no difference"}


@pytest.mark.parametrize(
    "verdicts",
    [NO_WORSE, {"churn": "better", "value": "worse"}, dict.fromkeys(NO_WORSE, "no difference")],
)
def test_better_somewhere_or_worse_nowhere_is_enough(verdicts) -> None:
    item = kept(verdicts)
    assert check_promotion(CANDIDATE, CHAMPION, [item], COMMAND) is item


def test_without_a_comparison_the_command_is_named() -> None:
    with pytest.raises(SeqmarketError, match="was not compared") as refused:
        check_promotion(CANDIDATE, CHAMPION, [], COMMAND)
    assert COMMAND in str(refused.value.fix)
    assert "--without-comparison" in str(refused.value.fix)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"restricted": ["split (kind: time, or customer)"]}, "restricted to the rows"),
        ({"level": 0.999}, "tested at 99.9%"),
        ({"level": 0.5}, "tested at 50.0%"),
        ({"resamples": 100}, "has 100 resamples"),
    ],
)
def test_what_does_not_count_is_said(changes, said) -> None:
    with pytest.raises(SeqmarketError, match=said):
        check_promotion(CANDIDATE, CHAMPION, [kept(NO_WORSE, **changes)], COMMAND)
    assert evidence(CANDIDATE, CHAMPION, [kept(NO_WORSE, **changes)]) is None


def test_a_test_that_cannot_decide_does_not_count() -> None:
    """With thirty others beside it nothing is ever worse, whatever it is."""
    crowd = {f"other-{place}": "no difference" for place in range(30)}
    tasks = {
        task: {"reference": "gru", "verdicts": {"lstm": "no difference", **crowd}}
        for task in ("churn", "value")
    }
    with pytest.raises(SeqmarketError, match="2,000 resamples cannot decide 62 tests"):
        check_promotion(CANDIDATE, CHAMPION, [kept(NO_WORSE, tasks=tasks)], COMMAND)


@pytest.mark.parametrize(
    "contenders",
    [
        # of another champion
        [("gru", "gru", "10"), ("lstm", "lstm", "22")],
        # of another run
        [("gru", "gru", "11"), ("lstm", "lstm", "21")],
        # of a baseline beside the champion
        [("gru", "majority", "11"), ("lstm", "lstm", "22")],
        # of a baseline beside the candidate
        [("gru", "gru", "11"), ("lstm", "majority", "22")],
        # the other way round
        [("lstm", "gru", "11"), ("gru", "lstm", "22")],
    ],
)
def test_a_comparison_of_others_does_not_count(contenders) -> None:
    of = [
        {"name": name, "model": model, "runs": [{"record": record}]}
        for name, model, record in contenders
    ]
    with pytest.raises(SeqmarketError, match="was not compared"):
        check_promotion(CANDIDATE, CHAMPION, [kept(NO_WORSE, contenders=of)], COMMAND)


def test_a_task_that_the_champion_does_not_answer_is_no_comparison_with_it() -> None:
    tasks = {"churn": {"reference": "gbdt", "verdicts": {"lstm": "better"}}}
    assert evidence(CANDIDATE, CHAMPION, [kept({}, tasks=tasks)]) is None


def test_worse_and_nowhere_better_is_refused() -> None:
    worse = kept({"churn": "worse", "value": "no difference"})
    with pytest.raises(SeqmarketError, match="is worse than the present champion"):
        check_promotion(CANDIDATE, CHAMPION, [worse], COMMAND)


def test_nobody_chooses_the_kindest_of_several() -> None:
    worse = kept({"churn": "worse"}, place="comparisons/other")
    with pytest.raises(SeqmarketError, match="is worse than"):
        check_promotion(CANDIDATE, CHAMPION, [kept(NO_WORSE), worse], COMMAND)


def test_a_task_is_not_lost_unseen() -> None:
    small = Entrant("lstm (22)", "22", "lstm", ("churn",))
    with pytest.raises(SeqmarketError, match="does not answer value, as the champion does"):
        check_promotion(small, CHAMPION, [kept({"churn": "better"})], COMMAND)


def test_the_mutant_that_heeds_no_shortcoming_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(promotion.KeptComparison, "shortcoming", "")
    restricted = kept(NO_WORSE, restricted=["rows"])
    assert check_promotion(CANDIDATE, CHAMPION, [restricted], COMMAND) is restricted


def test_comparisons_are_read_from_the_artifacts(tmp_path: Path) -> None:
    for name, text in {
        "gru": json.dumps(kept(NO_WORSE).about),
        "cut": '{"verdict": ',
        "old": '{"verdict": "of before"}',
    }.items():
        (tmp_path / "comparisons" / name).mkdir(parents=True)
        (tmp_path / "comparisons" / name / "about.json").write_text(text)
    assert [item.place for item in read_comparisons(tmp_path)] == ["comparisons/gru"]
    assert read_comparisons(tmp_path / "nowhere") == []
