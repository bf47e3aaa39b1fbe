"""What can be set under `data.cleaning`: a list of rules, applied in order.

Imports neither Polars nor torch nor numpy, so that a wrong setting is reported at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from seqmarket.data.cleaning.spelling import normal_form
from seqmarket.data.settings import Duration, Settings
from seqmarket.errors import SeqmarketError, did_you_mean


class MergeSpellings(Settings):
    """Gives the spellings of one name one text.

    The text that a spelling becomes depends on the spelling and on this rule alone, never on how
    often it occurs: a log that grows keeps its texts.

    Attributes:
        column: A column of text.
        into: Text -> the spellings that become it.
        normalise: Whether every other text becomes its `normal_form`; one whose normal form is
            that of a text or of a spelling in `into` becomes that text.
    """

    rule: Literal["merge_spellings"] = "merge_spellings"
    column: str = "channel"
    into: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    normalise: bool = False

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        if not self.into and not self.normalise:
            raise ValueError("merges nothing: set into or normalise")
        if any(not text.strip() for text in self.into):
            raise ValueError("a blank text cannot be merged into")
        target_of: dict[str, str] = {}
        for target, spellings in self.into.items():
            for spelling in (target, *spellings):
                form = normal_form(spelling) if self.normalise else spelling
                other = target_of.setdefault(form, target)
                if other != target:
                    raise ValueError(f"{spelling!r} is merged into both {other!r} and {target!r}")
        return self

    def targets(self, texts: Iterable[str]) -> dict[str, str]:
        """Text -> what it becomes, for those of these texts that change."""
        explicit = {
            spelling: target
            for target, spellings in self.into.items()
            for spelling in (target, *spellings)
        }
        by_form = {normal_form(spelling): target for spelling, target in explicit.items()}
        targets = {}
        for text in texts:
            target = explicit.get(text, text)
            if self.normalise and text not in explicit:
                form = normal_form(text)
                target = by_form.get(form, form)
            if target != text:
                targets[text] = target
        return targets


def _at_most_a_day(value: timedelta) -> timedelta:
    if not timedelta(0) <= value <= timedelta(days=1):
        raise ValueError("must be from 0s to 1d")
    return value


class Deduplicate(Settings):
    """Drops an event that comes at most `within` after a kept one with the same values.

    Kept or not is decided along the customer's events with the same values in `by`: the first one
    is kept, then each that lies more than `within` after the last *kept* one. So what is dropped
    always has a kept copy that near before it; were the distance counted from the previous event,
    kept or not, a signal every four seconds would be merged into one event however long it lasts.

    Attributes:
        within: From 0s (exactly the same time) to 1d.
        by: The columns that must be equal, of text or numbers; two missing values are equal.
    """

    rule: Literal["deduplicate"] = "deduplicate"
    within: Annotated[Duration, AfterValidator(_at_most_a_day)]
    by: tuple[str, ...] = Field(("channel", "event_type"), min_length=1)


class Cap(Settings):
    """Brings numbers beyond a bound back to it; missing ones stay missing.

    Attributes:
        column: A column of numbers.
        at: A larger number becomes this one.
        below: A smaller number becomes this one; null: no lower bound.
    """

    rule: Literal["cap"] = "cap"
    column: str
    at: FiniteFloat
    below: FiniteFloat | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.below is not None and self.below > self.at:
            raise ValueError(f"below ({self.below:g}) is larger than at ({self.at:g})")
        return self


class CapRate(Settings):
    """Keeps a customer's first events of a day only.

    Attributes:
        events_per_day: How many of a UTC day, the first ones in order.
    """

    rule: Literal["cap_rate"] = "cap_rate"
    events_per_day: int = Field(ge=1)


class DropBots(Settings):
    """Removes customers with more events than a person makes, with their whole journey.

    Unlike the other rules this one looks at all of a journey: who turns out to be a bot in the
    test period is missing from the training period too.

    Attributes:
        events_per_day: More events than this on any one UTC day make a bot; null: not looked at.
        total: More events than this in all make a bot; null: not looked at.
    """

    rule: Literal["drop_bots"] = "drop_bots"
    events_per_day: int | None = Field(None, ge=1)
    total: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_what_a_bot_is(self) -> Self:
        if self.events_per_day is None and self.total is None:
            raise ValueError("does not say what a bot is: set events_per_day or total")
        return self


class DropWhere(Settings):
    """Drops events by a text, as of an internal test channel.

    Attributes:
        column: A column of text.
        values: An event with one of these texts, exactly as written, is dropped.
    """

    rule: Literal["drop_where"] = "drop_where"
    column: str
    values: tuple[str, ...] = Field(min_length=1)


CleaningRule = Annotated[
    MergeSpellings | Deduplicate | Cap | CapRate | DropBots | DropWhere,
    Field(discriminator="rule"),
]
"""One item of `data.cleaning`, told apart by its key `rule`."""


def check_rules(
    rules: Sequence[CleaningRule], *, texts: Collection[str], numbers: Collection[str]
) -> None:
    """Sees whether the columns that rules name are there and of the right kind.

    Args:
        rules: As set in `data.cleaning`.
        texts: The columns of text of an event: channel, event_type, categorical features.
        numbers: The columns of numbers of an event: value, cost, numeric features.

    Raises:
        SeqmarketError: A rule names another column; its key and position are told.
    """
    for position, rule in enumerate(rules):
        where = f"data.cleaning[{position}]"
        match rule:
            case MergeSpellings() | DropWhere():
                _check_column(rule.column, f"{where}.column", "text", texts, numbers)
            case Cap():
                _check_column(rule.column, f"{where}.column", "numbers", numbers, texts)
            case Deduplicate():
                for column in rule.by:
                    _check_column(column, f"{where}.by", "events", {*texts, *numbers}, ())
            case CapRate() | DropBots():
                pass  # look at times only


def _check_column(
    column: str, where: str, kind: str, usable: Collection[str], others: Collection[str]
) -> None:
    if column in usable:
        return
    if column in others:
        what = f"the rule needs a column of {kind}, and '{column}' is none"
        fix = f"columns of {kind}: {', '.join(sorted(usable))}"
    else:
        what = f"events have no column '{column}'"
        fix = did_you_mean(column, usable)
    raise SeqmarketError(what, where=where, fix=fix)
