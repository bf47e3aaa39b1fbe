from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from seqmarket.data.cleaning.rules import RuleCount, clean, extend_lexicon, merge_counts
from seqmarket.data.cleaning.settings import (
    Cap,
    CapRate,
    CleaningRule,
    Deduplicate,
    DropBots,
    DropWhere,
    MergeSpellings,
)
from seqmarket.data.shard import Shard

SECOND = 1_000_000
DAY = 86_400 * SECOND
NAN = float("nan")


def shard_of(*times: Sequence[int], **columns: Sequence[int] | Sequence[float]) -> Shard:
    """One customer per list of times; columns over all their events, floats being numbers."""
    lengths = [len(of_one) for of_one in times]
    e = sum(lengths)
    codes = {"channel": np.zeros(e, np.int32), "event_type": np.zeros(e, np.int32)}
    numbers = {}
    for name, values in columns.items():
        if any(isinstance(value, float) for value in values):
            numbers[name] = np.array(values, dtype=np.float64)
        else:
            codes[name] = np.array(values, dtype=np.int32)
    flat = np.array([time for of_one in times for time in of_one], dtype=np.int64)
    return Shard(
        customer_id=pl.Series([f"customer {i}" for i in range(len(times))], dtype=pl.String),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        time=flat,
        codes=codes,
        numbers=numbers,
        static_codes={"tier": np.arange(len(times), dtype=np.int32)},
        static_numbers={},
    )


def untied(shard: Shard) -> Shard:
    """Stands in for the engine's order of ties, where none change."""
    return shard


def cleaned(
    shard: Shard, *rules: CleaningRule, channels: tuple[str, ...] = ("web",)
) -> tuple[Shard, tuple[RuleCount, ...]]:
    lexicon = extend_lexicon({"channel": channels}, rules)
    return clean(shard, lexicon, rules, order_ties=untied)


def seconds(shard: Shard) -> list[float]:
    return (shard.time / SECOND).tolist()


def test_a_repetition_is_told_from_the_last_kept_event_not_from_the_previous_one() -> None:
    shard = shard_of([n * 4 * SECOND for n in range(5)])
    after, counts = cleaned(shard, Deduplicate(within=timedelta(seconds=5)))
    assert seconds(after) == [0, 8, 16]
    assert counts == (RuleCount("deduplicate", 2, 0, 0),)


def test_the_tolerance_is_inclusive_to_the_microsecond() -> None:
    shard = shard_of([0, 5 * SECOND], [0, 5 * SECOND + 1])
    after, _ = cleaned(shard, Deduplicate(within=timedelta(seconds=5)))
    assert np.diff(after.offsets).tolist() == [1, 2]


def test_within_0s_drops_events_of_the_same_time_only() -> None:
    shard = shard_of([7, 7, 8], [8, 8])
    after, _ = cleaned(shard, Deduplicate(within=timedelta(0)))
    assert after.time.tolist() == [7, 8, 8]


def test_a_repetition_is_found_behind_another_event_and_missing_values_are_equal() -> None:
    shard = shard_of([0, 1, 2, 3], channel=[0, 1, 0, -1], value=[NAN, 1.0, NAN, 1.0])
    by = ("channel", "value")
    after, _ = cleaned(shard, Deduplicate(within=timedelta(seconds=1), by=by))
    assert after.time.tolist() == [0, 1, 3]
    after, _ = cleaned(shard, Deduplicate(within=timedelta(seconds=1), by=("value",)))
    assert after.time.tolist() == [0, 1]


def test_many_columns_of_many_categories_do_not_collide() -> None:
    """Three codes near the largest int32 do not fit into one 64-bit key."""
    big = np.iinfo(np.int32).max - 1
    codes = np.array(np.meshgrid([0, big - 1, big], [0, big - 1, big], [-1, 0, big]))
    x, y, z = codes.reshape(3, -1).tolist()
    shard = shard_of(range(2 * len(x)), x=[*x, *x], y=[*y, *y], z=[*z, *z])
    after, _ = cleaned(shard, Deduplicate(within=timedelta(seconds=1), by=("x", "y", "z")))
    assert after.time.tolist() == list(range(len(x)))


def test_a_customer_with_200_000_repetitions_is_quick() -> None:
    """One pass per kept event would take hours."""
    n = 200_000
    shard = shard_of((np.arange(n) * 4 * SECOND).tolist())
    after, _ = cleaned(shard, Deduplicate(within=timedelta(seconds=5)))
    assert np.array_equal(after.time, np.arange(0, n, 2) * 4 * SECOND)


def test_a_cap_clips_and_counts_and_leaves_missing_numbers() -> None:
    shard = shard_of(range(6), value=[-3.0, 0.0, 5.0, 10.0, 11.0, NAN])
    after, counts = cleaned(shard, Cap(column="value", at=10, below=-1))
    np.testing.assert_array_equal(after.numbers["value"], [-1.0, 0.0, 5.0, 10.0, 10.0, NAN])
    assert counts == (RuleCount("cap", 0, 2, 0),)
    after, counts = cleaned(shard, Cap(column="value", at=10))
    assert after.numbers["value"][0] == -3
    assert counts == (RuleCount("cap", 0, 1, 0),)


def test_a_cap_never_makes_a_negative_zero() -> None:
    shard = shard_of(range(2), value=[-1.0, 1.0])
    after, _ = cleaned(shard, Cap(column="value", at=-0.0, below=-0.0))
    assert not np.signbit(after.numbers["value"]).any()


def test_a_capped_rate_starts_anew_at_midnight_and_with_each_customer() -> None:
    midnight = [-DAY - 1, -DAY, -2, -1, 0, 1, 2]
    shard = shard_of(midnight, [2, 3, 4])
    after, counts = cleaned(shard, CapRate(events_per_day=2))
    assert after.time.tolist() == [-DAY - 1, -DAY, -2, 0, 1, 2, 3]
    assert counts == (RuleCount("cap_rate", 3, 0, 0),)


def test_a_bot_is_removed_whole_and_the_customers_around_it_stay() -> None:
    person, busy, much = [0, 1], [0, DAY, DAY + 1, DAY + 2], [n * DAY for n in range(5)]
    shard = shard_of(person, busy, person, much)
    after, counts = cleaned(shard, DropBots(events_per_day=2))
    assert after.static_codes["tier"].tolist() == [0, 2, 3]
    assert counts == (RuleCount("drop_bots", 4, 0, 1),)
    after, counts = cleaned(shard, DropBots(total=4))
    assert after.static_codes["tier"].tolist() == [0, 1, 2]
    assert counts == (RuleCount("drop_bots", 5, 0, 1),)
    after, _ = cleaned(shard, DropBots(events_per_day=2, total=4))
    assert after.static_codes["tier"].tolist() == [0, 2]


def test_events_are_dropped_by_their_text_and_customers_with_their_last_event() -> None:
    channels = ("internal", "web")
    shard = shard_of([0, 1, 2], [0, 1], channel=[0, 1, -1, 0, 0])
    rule = DropWhere(column="channel", values=("internal", "not in this log"))
    after, counts = cleaned(shard, rule, channels=channels)
    assert after.codes["channel"].tolist() == [1, -1]
    assert after.customer_id.to_list() == ["customer 0"]
    assert counts == (RuleCount("drop_where", 3, 0, 1),)
    _, counts = cleaned(shard, DropWhere(column="channel", values=("none",)), channels=channels)
    assert counts == (RuleCount("drop_where", 0, 0, 0),)


def test_spellings_are_merged_into_a_text_that_the_log_did_not_have() -> None:
    shard = shard_of(range(5), channel=[0, 1, 2, 3, -1])
    channels = ("E-Mail", "email", "mailing", "web")
    rule = MergeSpellings(into={"Letter": ("mailing",)}, normalise=True)
    lexicon = extend_lexicon({"channel": channels}, [rule])
    shard.codes["channel"][:4] = [lexicon["channel"].index(text) for text in channels]
    after, counts = clean(shard, lexicon, [rule], order_ties=untied)
    texts = [lexicon["channel"][code] for code in after.codes["channel"][:4]]
    assert texts == ["e_mail", "email", "Letter", "web"]
    assert after.codes["channel"][4] == -1
    assert after.codes["channel"].dtype == np.int32
    assert counts == (RuleCount("merge_spellings", 0, 2, 0),)


def test_a_lexicon_that_was_not_extended_is_refused() -> None:
    rule = MergeSpellings(into={"www": ("web",)})
    with pytest.raises(LookupError, match="extend_lexicon"):
        clean(shard_of([0]), {"channel": ("web",)}, [rule], order_ties=untied)


def test_events_that_a_rule_makes_equal_stay_until_a_rule_drops_them() -> None:
    shard = shard_of([0, 0], channel=[0, 1])
    merge = MergeSpellings(into={"web": ("Web",)})
    after, _ = cleaned(shard, merge, channels=("Web", "web"))
    assert after.n_events == 2
    after, _ = cleaned(shard, merge, Deduplicate(within=timedelta(0)), channels=("Web", "web"))
    assert after.n_events == 1


def test_rules_apply_in_the_order_written() -> None:
    shard = shard_of([0, 1, 2], channel=[0, 1, 1])
    merge = MergeSpellings(into={"web": ("Web",)})
    drop = DropWhere(column="channel", values=("web",))
    _, counts = cleaned(shard, drop, merge, channels=("Web", "web"))
    assert counts == (RuleCount("drop_where", 2, 0, 0), RuleCount("merge_spellings", 0, 1, 0))
    _, counts = cleaned(shard, merge, drop, channels=("Web", "web"))
    assert counts == (RuleCount("merge_spellings", 0, 1, 0), RuleCount("drop_where", 3, 0, 1))


def test_a_shard_that_a_rule_has_emptied_passes_every_other_rule() -> None:
    empty = DropWhere(column="channel", values=("web",))
    rest: tuple[CleaningRule, ...] = (
        MergeSpellings(normalise=True),
        Deduplicate(within=timedelta(seconds=1)),
        Cap(column="value", at=1, below=0),
        CapRate(events_per_day=1),
        DropBots(events_per_day=1, total=1),
        empty,
    )
    after, counts = cleaned(shard_of([0, 1], value=[1.0, 2.0]), empty, *rest)
    assert (after.n_customers, after.n_events) == (0, 0)
    assert counts == (
        RuleCount("drop_where", 2, 0, 1),
        *(RuleCount(rule.rule, 0, 0, 0) for rule in rest),
    )


def test_counts_add_up_per_rule() -> None:
    one = (RuleCount("cap", 0, 3, 0), RuleCount("drop_bots", 10, 0, 1))
    two = (RuleCount("cap", 0, 4, 0), RuleCount("drop_bots", 20, 0, 2))
    assert merge_counts([one, two]) == (RuleCount("cap", 0, 7, 0), RuleCount("drop_bots", 30, 0, 3))
    assert merge_counts([(), ()]) == ()
