"""The cleaning rules on the events of some customers.

Each rule looks at one customer at a time, so that the result does not depend on how customers are
divided into shards. All but `drop_bots` decide on an event from it and those up to its time alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.cleaning.settings import (
    Cap,
    CapRate,
    CleaningRule,
    Deduplicate,
    DropBots,
    DropWhere,
    MergeSpellings,
)
from seqmarket.data.shard import Lexicon, Shard
from seqmarket.schema import MICROSECONDS_PER_DAY


@dataclass(frozen=True)
class RuleCount:
    """What one rule did; additive over shards.

    Attributes:
        rule: Its name, as in `data.cleaning`.
        events_dropped: Events that it dropped, those of dropped customers included.
        events_changed: Events in which it changed a text or a number.
        customers_dropped: Customers that it left without events.
    """

    rule: str
    events_dropped: int
    events_changed: int
    customers_dropped: int

    def __add__(self, other: RuleCount) -> RuleCount:
        return RuleCount(
            self.rule,
            self.events_dropped + other.events_dropped,
            self.events_changed + other.events_changed,
            self.customers_dropped + other.customers_dropped,
        )


def merge_counts(shards: Iterable[Sequence[RuleCount]]) -> tuple[RuleCount, ...]:
    """The counts over all shards, per rule, from those of each shard."""
    return tuple(reduce(RuleCount.__add__, counts) for counts in zip(*shards, strict=True))


def extend_lexicon(lexicon: Lexicon, rules: Sequence[CleaningRule]) -> Lexicon:
    """The lexicon with the texts that rules merge into, sorted again: codes shift.

    To be called once, before events get the codes that `clean` reads. Texts that were merged away
    stay in it.
    """
    extended = dict(lexicon)
    for rule in rules:
        if isinstance(rule, MergeSpellings):
            texts = extended[rule.column]
            extended[rule.column] = tuple(sorted({*texts, *rule.targets(texts).values()}))
    return extended


def clean(
    shard: Shard,
    lexicon: Lexicon,
    rules: Sequence[CleaningRule],
    *,
    order_ties: Callable[[Shard], Shard],
) -> tuple[Shard, tuple[RuleCount, ...]]:
    """Applies rules in order, each to what the one before has left.

    A changed text or number can put events of the same time in another order of content. They are
    put in order before a rule that keeps the first of several (`deduplicate`, `cap_rate`), and at
    the end; so two rules in one list do what one list after the other does. Events that a rule has
    made equal all stay, unless a later `deduplicate` drops them; its `within: 0s` does that to
    those of exactly the same time.

    Args:
        shard: In order, and not changed.
        lexicon: As `extend_lexicon` gives it; the codes of the shard are into it.
        rules: As set in `data.cleaning`, checked by `check_rules`.
        order_ties: Puts events of the same customer and time in the order of their content.

    Returns:
        The cleaned shard, and one count per rule.

    Raises:
        LookupError: A text that a rule merges into is not in the lexicon.
    """
    counts = []
    in_order = True
    for rule in rules:
        if isinstance(rule, MergeSpellings | Cap):
            after, changed = _change(shard, lexicon, rule)
            in_order = in_order and changed == 0
        else:
            if not in_order and isinstance(rule, Deduplicate | CapRate):
                shard, in_order = order_ties(shard), True
            kept = _kept(shard, lexicon, rule)
            after, changed = shard if kept.all() else shard.keep(kept), 0
        dropped = shard.n_events - after.n_events
        counts.append(RuleCount(rule.rule, dropped, changed, shard.n_customers - after.n_customers))
        shard = after
    return shard if in_order else order_ties(shard), tuple(counts)


def _change(shard: Shard, lexicon: Lexicon, rule: MergeSpellings | Cap) -> tuple[Shard, int]:
    """The shard after a rule that drops nothing, and the number of events that it changed."""
    if isinstance(rule, MergeSpellings):
        codes = shard.codes[rule.column]
        new_codes = _recoded(lexicon[rule.column], rule, codes)
        after = replace(shard, codes={**shard.codes, rule.column: new_codes})
        return after, int(np.count_nonzero(new_codes != codes))
    number = shard.numbers[rule.column]
    beyond = number > rule.at
    capped = np.where(beyond, rule.at + 0.0, number)  # + 0.0: never -0.0, which is ordered apart
    if rule.below is not None:
        short = number < rule.below
        capped[short] = rule.below + 0.0
        beyond |= short
    return replace(shard, numbers={**shard.numbers, rule.column: capped}), int(beyond.sum())


def _recoded(
    texts: Sequence[str], rule: MergeSpellings, codes: NDArray[np.int32]
) -> NDArray[np.int32]:
    """(e,) codes of the merged texts."""
    recode = np.arange(len(texts) + 1, dtype=np.int32)
    recode[-1] = -1  # where the code of a null points
    present = np.flatnonzero(np.bincount(codes + 1, minlength=1)[1:]).tolist()
    code_of = {texts[code]: code for code in present}
    for text, target in rule.targets(code_of).items():
        code = _code(texts, target)
        if code is None:
            raise LookupError(f"{target!r} is not in the lexicon: extend_lexicon adds it")
        recode[code_of[text]] = code
    return recode[codes]


def _code(texts: Sequence[str], text: str) -> int | None:
    """The code of a text in the sorted texts of a column, if it is there."""
    place = bisect_left(texts, text)
    return place if place < len(texts) and texts[place] == text else None


def _kept(
    shard: Shard, lexicon: Lexicon, rule: Deduplicate | CapRate | DropBots | DropWhere
) -> NDArray[np.bool_]:
    """(e,) which events a rule keeps."""
    if shard.n_events == 0:
        return np.zeros(0, dtype=np.bool_)
    match rule:
        case Deduplicate():
            return _not_repeated(shard, rule)
        case CapRate():
            start, length = _days(shard)
            if length.max() <= rule.events_per_day:
                return np.ones(shard.n_events, dtype=np.bool_)
            rank = np.arange(shard.n_events) - np.repeat(start, length)
            return rank < rule.events_per_day
        case DropBots():
            return _of_people(shard, rule)
        case DropWhere():
            texts = lexicon[rule.column]
            unwanted = np.zeros(len(texts) + 1, dtype=np.bool_)
            unwanted[[code for text in rule.values if (code := _code(texts, text)) is not None]] = 1
            return ~unwanted[shard.codes[rule.column]]


def _is_first(shard: Shard) -> NDArray[np.bool_]:
    """(e,) which events are the first of their customer."""
    first = np.zeros(shard.n_events, dtype=np.bool_)
    first[shard.offsets[:-1]] = True
    return first


def _days(shard: Shard) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First event and number of events of each customer's UTC days that have any."""
    new = _is_first(shard)
    day = shard.time // MICROSECONDS_PER_DAY
    new[1:] |= day[1:] != day[:-1]
    start = np.flatnonzero(new)
    return start, np.diff(start, append=shard.n_events)


def _of_people(shard: Shard, rule: DropBots) -> NDArray[np.bool_]:
    """(e,) which events are not of a bot."""
    length = np.diff(shard.offsets)
    bot = np.zeros(shard.n_customers, dtype=np.bool_)
    if rule.total is not None:
        bot |= length > rule.total
    if rule.events_per_day is not None:
        start, events = _days(shard)
        busy = start[events > rule.events_per_day]
        bot[np.searchsorted(shard.offsets, busy, side="right") - 1] = True
    return np.repeat(~bot, length)


def _not_repeated(shard: Shard, rule: Deduplicate) -> NDArray[np.bool_]:
    """(e,) which events do not repeat a kept one.

    Only stretches of events that lie near each other can hold repetitions, and most events are in
    none. Within a stretch and the same values, each event points to the first one that is too late
    to repeat it; kept is what can be reached from the events that have nothing near before them.
    The pointers double with every pass (the jump then spans 2, 4, 8, ... kept events), so that
    a customer with n events takes log n passes, not n.
    """
    within = rule.within // timedelta(microseconds=1)
    kept = np.ones(shard.n_events, dtype=np.bool_)
    apart = _is_first(shard)
    apart[1:] |= np.diff(shard.time) > within
    alone = apart.copy()
    alone[:-1] &= apart[1:]
    near = np.flatnonzero(~alone)
    if len(near) == 0:
        return kept
    key = _same_values(np.cumsum(apart, dtype=np.int64)[near], shard, rule.by, near)
    place = np.argsort(key, kind="stable")
    near, key = near[place], key[place]
    # A clock that runs with the events' time, but never longer than needed to be too late.
    tick = np.full(len(near), within + 1)
    same = key[1:] == key[:-1]
    tick[1:][same] = np.minimum(np.diff(shard.time[near])[same], within + 1)
    clock = np.cumsum(tick)
    n = len(near)
    jump = np.append(np.searchsorted(clock, clock + within, side="right"), n)
    reached = np.append(tick > within, True)
    while True:
        before = np.count_nonzero(reached)
        reached[jump[reached]] = True
        if np.count_nonzero(reached) == before:
            break
        jump = jump[jump]
    kept[near] = reached[:n]
    return kept


def _same_values(
    key: NDArray[np.int64], shard: Shard, by: Sequence[str], events: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Divides groups of events further: equal keys and equal values make equal new keys."""
    for name in by:
        if name in shard.codes:
            value = shard.codes[name][events].astype(np.int64) + 1
        else:
            value = np.unique(shard.numbers[name][events], return_inverse=True)[1]
        size = int(value.max()) + 1
        if (int(key.max()) + 1) * size > np.iinfo(np.int64).max:
            key = np.unique(key, return_inverse=True)[1]
        key = key * size + value
    return key
