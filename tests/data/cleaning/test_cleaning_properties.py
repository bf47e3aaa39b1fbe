"""Rules against a plain-Python oracle, and what must not make a difference to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seqmarket.data.cleaning import rules as rules_module
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
from seqmarket.data.cleaning.spelling import normal_form
from seqmarket.data.shard import Lexicon, Shard

Event = tuple[int, str | None, str | None, float | None]
"""Time, channel, device, value."""
Log = dict[str, list[Event]]
COLUMNS = ("channel", "device", "value")
DAY = 86_400_000_000
LEXICON: Lexicon = {
    "channel": ("E MAIL", "Email", "e-mail", "test", "web"),
    "device": ("A", "a"),
}


def content(event: Event) -> tuple[float | str, ...]:
    """Order of events of one customer: nulls before texts, and after numbers."""
    time, channel, device, value = event
    return (time, channel or "", device or "", math.inf if value is None else value)


def encode(log: Log, lexicon: Lexicon) -> Shard:
    events = [event for journey in log.values() for event in journey]

    def codes(place: int, texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.array(
            [-1 if (x := event[place]) is None else texts.index(str(x)) for event in events],
            dtype=np.int32,
        )

    value = [math.nan if event[3] is None else event[3] for event in events]
    shard = Shard(
        customer_id=pl.Series(list(log), dtype=pl.String),
        offsets=np.cumsum([0, *(len(journey) for journey in log.values())]),
        time=np.array([event[0] for event in events], dtype=np.int64),
        codes={
            "channel": codes(1, lexicon["channel"]),
            "device": codes(2, lexicon["device"]),
        },
        numbers={"value": np.array(value, dtype=np.float64)},
        static_codes={},
        static_numbers={},
    )
    for column in (shard.time, *shard.codes.values(), *shard.numbers.values()):
        column.flags.writeable = False  # `clean` is a pure function
    return shard


def decode(shard: Shard, lexicon: Lexicon) -> Log:
    log: Log = {}
    for i, customer in enumerate(shard.customer_id):
        log[customer] = []
        for k in range(shard.offsets[i], shard.offsets[i + 1]):
            channel, device = (
                lexicon[name][code] if (code := shard.codes[name][k]) >= 0 else None
                for name in ("channel", "device")
            )
            value = float(shard.numbers["value"][k])
            number = None if math.isnan(value) else value
            log[customer].append((int(shard.time[k]), channel, device, number))
    return log


def order_ties(shard: Shard) -> Shard:
    value = shard.numbers["value"]
    keys = (value, shard.codes["device"], shard.codes["channel"], shard.time, shard.customer)
    place = np.lexsort(keys)
    return Shard(
        shard.customer_id,
        shard.offsets,
        shard.time,
        {name: column[place] for name, column in shard.codes.items()},
        {name: column[place] for name, column in shard.numbers.items()},
        shard.static_codes,
        shard.static_numbers,
    )


def run(log: Log, rules: Sequence[CleaningRule]) -> tuple[Log, tuple[RuleCount, ...]]:
    lexicon = extend_lexicon(LEXICON, rules)
    after, counts = clean(encode(log, lexicon), lexicon, rules, order_ties=order_ties)
    return decode(after, lexicon), counts


# --- The oracle: one customer, one event at a time.


def recoded(event: Event, rule: MergeSpellings | Cap) -> Event:
    row = dict(zip(COLUMNS, event[1:], strict=True))
    old = row[rule.column]
    if old is None:
        return event
    if isinstance(rule, Cap):
        assert isinstance(old, float)
        row[rule.column] = min(old, rule.at)
        if rule.below is not None:
            row[rule.column] = max(min(old, rule.at), rule.below)
    else:
        text = str(old)
        row[rule.column] = normal_form(text) if rule.normalise else text
        for target, spellings in rule.into.items():
            names = (target, *spellings)
            if text in names or (
                rule.normalise and normal_form(text) in [normal_form(name) for name in names]
            ):
                row[rule.column] = target
    return (event[0], row["channel"], row["device"], row["value"])  # type: ignore[return-value]


def kept_of(journey: list[Event], rule: CleaningRule) -> list[Event]:
    kept: list[Event] = []
    if isinstance(rule, Deduplicate):
        last: dict[tuple[object, ...], int] = {}
        for event in journey:
            values = tuple(event[1 + COLUMNS.index(name)] for name in rule.by)
            near = rule.within / timedelta(microseconds=1)
            if values not in last or event[0] - last[values] > near:
                last[values] = event[0]
                kept.append(event)
        return kept
    days = [event[0] // DAY for event in journey]
    if isinstance(rule, CapRate):
        for k, event in enumerate(journey):
            if days[:k].count(days[k]) < rule.events_per_day:
                kept.append(event)
        return kept
    if isinstance(rule, DropBots):
        busy = max(days.count(day) for day in days) > (rule.events_per_day or math.inf)
        return [] if busy or len(journey) > (rule.total or math.inf) else journey
    assert isinstance(rule, DropWhere)
    place = 1 + COLUMNS.index(rule.column)
    return [event for event in journey if event[place] not in rule.values]


def oracle(log: Log, rules: Sequence[CleaningRule]) -> tuple[Log, tuple[RuleCount, ...]]:
    counts = []
    for rule in rules:
        before, log = log, {}
        changed = 0
        for customer, journey in before.items():
            if isinstance(rule, MergeSpellings | Cap):
                after = [recoded(event, rule) for event in journey]
                changed += sum(new != old for new, old in zip(after, journey, strict=True))
                after.sort(key=content)
            else:
                after = kept_of(journey, rule)
            if after:
                log[customer] = after
        events = sum(map(len, before.values())) - sum(map(len, log.values()))
        counts.append(RuleCount(rule.rule, events, changed, len(before) - len(log)))
    return log, tuple(counts)


# --- Logs and rules.

TIMES = st.sampled_from([0, 1, 3, 4, 6, 9]).map(lambda second: second * 1_000_000)
EVENTS: st.SearchStrategy[Event] = st.tuples(
    st.builds(lambda day, time: day * DAY - 4_000_000 + time, st.integers(-1, 1), TIMES),
    st.sampled_from(LEXICON["channel"]),
    st.sampled_from([None, *LEXICON["device"]]),
    st.sampled_from([None, -1.0, 0.0, 5.0, 20.0]),
)
JOURNEYS = st.lists(EVENTS, min_size=1, max_size=9).map(lambda events: sorted(events, key=content))
LOGS: st.SearchStrategy[Log] = st.lists(JOURNEYS, max_size=6).map(
    lambda journeys: {f"customer {i}": journey for i, journey in enumerate(journeys)}
)
INTO = st.sampled_from([{}, {"mail": ("Email",)}, {"web": ("e-mail", "test"), "Email": ()}])
EARLY: st.SearchStrategy[CleaningRule] = st.one_of(
    st.builds(MergeSpellings, into=INTO, normalise=st.just(True)),
    st.just(MergeSpellings(into={"web": ("e-mail", "test")})),
    st.just(MergeSpellings(column="device", normalise=True)),
    st.builds(
        Deduplicate,
        within=st.integers(0, 6).map(lambda second: timedelta(seconds=second)),
        by=st.sampled_from([("channel",), ("device", "channel"), ("value",), COLUMNS]),
    ),
    st.builds(
        Cap,
        column=st.just("value"),
        at=st.sampled_from([0.0, 5.0]),
        below=st.sampled_from([None, -0.5, 0.0]),
    ),
    st.builds(CapRate, events_per_day=st.integers(1, 4)),
    st.builds(
        DropWhere,
        column=st.just("channel"),
        values=st.sampled_from([("test",), ("Email", "web"), ("no such",)]),
    ),
)
"""Rules that decide on an event from it and those up to its time alone."""
BOTS: st.SearchStrategy[CleaningRule] = st.builds(
    DropBots, events_per_day=st.integers(2, 6), total=st.none() | st.integers(4, 9)
)


def lists_of(rule: st.SearchStrategy[CleaningRule]) -> st.SearchStrategy[list[CleaningRule]]:
    return st.lists(rule, min_size=1, max_size=4)


def check(examples: int = 150) -> settings:
    """No shrinking: a mutant is to be caught quickly, and the logs are small as they are."""
    phases = (Phase.explicit, Phase.generate)
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, phases=phases
    )


# --- What must hold.


def agrees_with_the_oracle() -> None:
    @check()
    @given(LOGS, lists_of(EARLY | BOTS))
    def holds(log: Log, rules: list[CleaningRule]) -> None:
        expected, expected_counts = oracle(log, rules)
        assert run(log, rules) == (expected, expected_counts)

    holds()


def does_not_depend_on_the_division_into_shards() -> None:
    @check()
    @given(LOGS, lists_of(EARLY | BOTS), st.lists(st.integers(0, 2), min_size=6, max_size=6))
    def holds(log: Log, rules: list[CleaningRule], shard_of: list[int]) -> None:
        parts: list[Log] = [{}, {}, {}]
        for (customer, journey), shard in zip(log.items(), shard_of, strict=False):
            parts[shard][customer] = journey
        cleaned = [run(part, rules) for part in parts]
        together = {customer: journey for part, _ in cleaned for customer, journey in part.items()}
        assert (together, merge_counts(counts for _, counts in cleaned)) == run(log, rules)

    holds()


def does_not_look_into_the_future(rule: st.SearchStrategy[CleaningRule]) -> None:
    @check()
    @given(LOGS, lists_of(rule), EVENTS)
    def holds(log: Log, rules: list[CleaningRule], event: Event) -> None:
        now = event[0]
        assert run(until(log, now), rules)[0] == until(run(log, rules)[0], now)

    holds()


def until(log: Log, now: int) -> Log:
    seen = {name: [event for event in log[name] if event[0] <= now] for name in log}
    return {name: journey for name, journey in seen.items() if journey}


def test_the_rules_agree_with_the_oracle() -> None:
    agrees_with_the_oracle()


def test_the_oracle_catches_ties_that_are_not_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "order_ties", lambda shard: shard)
    with pytest.raises(AssertionError):
        agrees_with_the_oracle()


def test_the_division_into_shards_makes_no_difference() -> None:
    does_not_depend_on_the_division_into_shards()


def blind_to_customers(shard: Shard) -> object:
    """A mutant of `_is_first` that forgets where a customer ends."""
    return np.arange(shard.n_events) == 0


def most_frequent(rule: MergeSpellings, texts: Iterable[str]) -> Mapping[str, str]:
    """A mutant of `targets` that merges into one of the texts at hand."""
    texts = sorted(texts)
    return dict.fromkeys(texts[1:], *texts[:1])


@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (rules_module, "_is_first", blind_to_customers),
        (MergeSpellings, "targets", most_frequent),
    ],
)
def test_a_rule_that_looks_across_customers_is_caught(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, mutant: Callable[..., object]
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(AssertionError):
        does_not_depend_on_the_division_into_shards()


def test_all_rules_but_drop_bots_decide_without_the_future() -> None:
    does_not_look_into_the_future(EARLY)


def test_drop_bots_looks_into_the_future_and_is_caught() -> None:
    with pytest.raises(AssertionError):
        does_not_look_into_the_future(BOTS)
