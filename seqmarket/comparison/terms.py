"""Whether runs may be compared at all: the same log, the same periods, the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqmarket.comparison.contenders import Contender
from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.names import flatten

RESTRICT = "--restrict-to-common"
_SHOWN = 3


@dataclass
class Obstacles:
    """What makes rows of one run mean something else than those of another.

    Attributes:
        texts: Each, for the user.
        tasks: Tasks whose labels differ.
    """

    texts: list[str] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)


def find_obstacles(contenders: Sequence[Contender]) -> Obstacles:
    """What differs between the runs, in the log, the split and the labels.

    Raises:
        SeqmarketError: The runs count different customers, so that no row can be matched.
    """
    found = Obstacles()
    runs = [run for contender in contenders for run in contender.runs]
    first = runs[0]
    for run in runs[1:]:
        a, b = first.terms, run.terms
        if a["customers"] != b["customers"]:
            raise SeqmarketError(
                f"these runs cannot be compared: they are about other customers "
                f"({a['log']['name']} and {b['log']['name']}), so no row of one is a row of the "
                "other",
                where=f"{first.called} and {run.called}",
                fix="train both on the same log",
            )
        found.texts += _differences("data", a["log"], b["log"])
        found.texts += _differences("split", _shortened(a["split"]), _shortened(b["split"]))
        for task in a["labels"].keys() & b["labels"].keys():
            if a["labels"][task]["rule"] != b["labels"][task]["rule"]:
                found.tasks.add(task)
                found.texts.append(
                    f"label of {task} ({a['labels'][task]['in_words']}; "
                    f"{b['labels'][task]['in_words']})"
                )
    found.texts = list(dict.fromkeys(found.texts))
    return found


def refuse(obstacles: Sequence[str], contenders: Sequence[Contender]) -> None:
    """Refuses runs whose rows mean something else.

    Raises:
        SeqmarketError: There is an obstacle. One message names all of them.
    """
    if not obstacles:
        return
    raise SeqmarketError(
        f"these runs cannot be compared, because these differ: {'; '.join(obstacles)}",
        where=" and ".join(contender.name for contender in contenders),
        fix=f"train them with the same settings, or add {RESTRICT} to compare them on the rows "
        "that they share, which the report will say",
    )


def _shortened(split: Mapping[str, Any]) -> dict[str, Any]:
    """With each period as a text, to the minute."""
    periods = {
        fold: " to ".join(moment[:16].removesuffix("T00:00") for moment in period)
        for fold, period in split["periods"].items()
    }
    return {**{key: value for key, value in split.items() if key != "periods"}, **periods}


def _differences(what: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What differs in two nested mappings, in one line."""
    left, right = flatten(a), flatten(b)
    keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    if not keys:
        return []
    parts = [
        f"{key}: {_short(left.get(key))}, or {_short(right.get(key))}" for key in keys[:_SHOWN]
    ]
    more = len(keys) - _SHOWN
    return [f"{what} ({'; '.join(parts)}{f', and {more} more' if more > 0 else ''})"]


def _short(text: str | None) -> str:
    if text is None:
        return "none"
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text
