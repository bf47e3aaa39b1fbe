"""Every rule that a row can break, and what is said of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqmarket.data.parsing import TimeFormat
from seqmarket.data.reading import RawPart
from seqmarket.data.validation import Converter, EventSchema, validate_customers
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EVENT_COLUMNS

PLAIN = Converter(EventSchema(), TimeFormat(), datetime(2030, 1, 1, tzinfo=UTC))

Read = Callable[..., Any]
Rows = Callable[..., pl.DataFrame]


def part(frame: pl.DataFrame, **options: Any) -> RawPart:
    return RawPart(frame.lazy(), "log", **options)


def with_schema(**options: Any) -> Converter:
    return replace(PLAIN, schema=EventSchema(**options))


@pytest.fixture
def times(raw: Rows, read_rows: Read) -> Callable[..., list[datetime]]:
    def read(texts: Sequence[object], how: TimeFormat = PLAIN.times) -> list[datetime]:
        log = part(raw(len(texts), time=texts))
        frame: pl.DataFrame = read_rows([log], replace(PLAIN, times=how)).frame
        return frame["time"].to_list()

    return read


def test_the_columns_of_a_chunk(raw: Rows, read_rows: Read) -> None:
    frame = raw(device=["a", "", "b", None], pages=["1", "2", "", "-3"])
    schema = with_schema(categorical=("device",), numeric=("pages",))
    events = read_rows([part(frame)], schema).frame
    assert events.columns[:6] == list(EVENT_COLUMNS)
    assert events["device"].to_list() == ["a", None, "b", None]
    assert events["pages"].to_list() == [1.0, 2.0, None, -3.0]


@pytest.mark.parametrize(
    ("column", "bad", "problem"),
    [
        ("customer_id", None, "is missing"),
        ("customer_id", "  ", "is missing"),
        ("channel", "", "is missing"),
        ("event_type", None, "is missing"),
        ("time", None, "is missing"),
        ("time", "yesterday", "cannot be read"),
        ("time", "2024-02-30 10:00:00", "cannot be read"),
        ("time", "2024-01-01T10:00:00Z", "has an offset in some rows and none in others"),
        ("time", "9999-01-01", "is in the future"),
        ("value", "1,5", "is not a number"),
        ("value", "1e400", "is not finite"),
        ("value", "nan", "is not finite"),
        ("value", "-1", "is negative"),
        ("cost", "-0.01", "is negative"),
        ("cost", "inf", "is not finite"),
        ("pages", "-inf", "is not finite"),
        ("pages", "many", "is not a number"),
        ("order", None, "is missing"),
        ("order", " ", "is missing"),
        ("order", "first", "is not a number"),
    ],
)
def test_every_rule_names_row_and_column_and_no_customer(
    raw: Rows, column: str, bad: str | None, problem: str, read_rows: Read
) -> None:
    converter = with_schema(numeric=("pages",), order=True)
    good = raw(6, pages=["1"] * 6, order=["-1"] * 6)
    values = good[column].to_list()
    values[3] = bad
    values[5] = bad
    broken = good.with_columns(pl.Series(column, values, pl.String))
    assert len(read_rows([part(good)], converter).frame) == 6
    with pytest.raises(SeqmarketError) as caught:
        read_rows([part(broken)], converter)
    message = str(caught.value)
    assert f"'{column}' {problem}" in message
    assert f"row 4, column '{column}'" in message
    assert "1 further row breaks a rule" in message
    assert raw(1)["customer_id"].item() not in message


def test_of_a_row_the_first_rule_counts(raw: Rows, read_rows: Read) -> None:
    frame = raw(
        2,
        customer_id=["", "a"],
        time=["2099-01-01", "2099-01-01Z"],
        value=["x"] * 2,
        order=["?"] * 2,
    )
    flawed = part(frame, flaws=lambda: {"has a flaw": np.array([1])})
    found = read_rows([flawed], with_schema(order=True), policy="drop")
    assert found.broken == [(0, 0, "'customer_id' is missing"), (0, 1, "a row has a flaw")]


def test_names_of_the_users_file(raw: Rows, read_rows: Read) -> None:
    converter = replace(PLAIN, names={"customer_id": "uid"})
    with pytest.raises(SeqmarketError, match=r"'uid' is missing(.|\n)*row 1, column 'uid'"):
        read_rows([part(raw(customer_id=["", "b", "c", "d"]))], converter)


def test_negative_values_can_be_allowed_and_negative_costs_cannot(
    raw: Rows, read_rows: Read
) -> None:
    converter = replace(PLAIN, allow_negative_value=True)
    log = part(raw(value=["-5", "1", "2", "3"]))
    assert read_rows([log], converter).frame["value"][0] == -5
    with pytest.raises(SeqmarketError, match="'cost' is negative"):
        read_rows([part(raw(cost=["-5", "1", "2", "3"]))], converter)


@pytest.mark.parametrize("zero", ["-0.0", -0.0])
def test_there_is_one_zero(raw: Rows, zero: object, read_rows: Read) -> None:
    frame = raw(2, value=[zero, 0.0] if isinstance(zero, float) else [zero, "0"])
    value = read_rows([part(frame)], PLAIN).frame["value"].to_numpy()
    assert not np.signbit(value).any()
    assert np.signbit(-value).all()  # the check can tell


def test_the_quarantine_holds_the_rows_as_they_were(raw: Rows, read_rows: Read) -> None:
    bad = raw(
        5,
        customer_id=[None, " ", "b", "b", "b"],
        time=["2024-01-01", "2024-01-02", "?", "2024-01-04", "2024-01-05"],
        value=["1", "2", "3", "-4", "inf"],
    )
    log = pl.concat([raw(5), bad])[[5, 0, 1, 6, 2, 7, 3, 4, 8, 9]]
    for chunk_rows in (1, 3, 100):
        found = read_rows([part(log)], PLAIN, policy="quarantine", chunk_rows=chunk_rows)
        assert len(found.frame) + len(found.aside) == 10
        assert found.aside.columns == ["reason", "file", "row", *EVENT_COLUMNS]
        assert found.aside["row"].to_list() == [1, 4, 6, 9, 10]
        assert found.aside["reason"].to_list() == [
            "'customer_id' is missing",
            "'customer_id' is missing",
            "'time' cannot be read as a time",
            "'value' is negative",
            "'value' is not finite",
        ]
        assert found.aside["time"][2] == "?"
        assert found.aside["value"].to_list() == ["1", "2", "3", "-4", "inf"]


def test_identifiers_stay_as_written(raw: Rows, read_rows: Read) -> None:
    ids = ["007", "7", " 7", "7.0"]
    assert read_rows([part(raw(customer_id=ids))], PLAIN).frame["customer_id"].to_list() == ids


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series([1, 2, 3, 10], dtype=pl.UInt8),
        pl.Series(["1", "2", "3", "10"], dtype=pl.Categorical),
        pl.Series(["1", "2", "3", "10"], dtype=pl.Enum(["10", "3", "2", "1"])),
    ],
)
def test_typed_identifiers_become_text(raw: Rows, ids: pl.Series, read_rows: Read) -> None:
    events = read_rows([part(raw().with_columns(ids.alias("customer_id")))], PLAIN).frame
    assert events["customer_id"].to_list() == ["1", "2", "3", "10"]


def test_decimal_numbers_are_no_identifiers(raw: Rows, read_rows: Read) -> None:
    with pytest.raises(SeqmarketError, match="'customer_id' cannot be used: it holds decimal"):
        read_rows([part(raw(customer_id=[1.0, 2.0, 3.0, 4.0]))], PLAIN)


def test_iso_times_of_all_shapes(times: Callable[..., list[datetime]]) -> None:
    texts = ["2024-01-01", "2024-01-01T00:01", "2024-01-01 00:02:00", "2024-01-01T00:03:00.25"]
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    assert times(texts) == [
        midnight + timedelta(minutes=minute, milliseconds=250 if minute == 3 else 0)
        for minute in range(4)
    ]


def test_offsets_are_instants_and_may_differ(times: Callable[..., list[datetime]]) -> None:
    texts = ["2024-01-01T12:00Z", "2024-01-01 14:30:00+02:00", "2024-01-01T10:00:00.0-0330"]
    assert times(texts) == [
        datetime(2024, 1, 1, 12, tzinfo=UTC),
        datetime(2024, 1, 1, 12, 30, tzinfo=UTC),
        datetime(2024, 1, 1, 13, 30, tzinfo=UTC),
    ]


def test_the_fewer_of_mixed_times_are_at_fault(times: Callable[..., list[datetime]]) -> None:
    texts = ["2024-01-01T10:00:00Z", "2024-01-02T10:00:00", "2024-01-03T10:00:00+01:00"]
    with pytest.raises(SeqmarketError, match="row 2"):
        times(texts)
    with pytest.raises(SeqmarketError, match="row 1"):
        times(["2024-01-01T10:00:00Z", "2024-01-02", "2024-01-03"])


def test_times_are_mixed_over_all_parts(raw: Rows, read_rows: Read) -> None:
    zoned = raw(2).with_columns(pl.col("time") + "Z")
    with pytest.raises(SeqmarketError, match=r"has an offset in some(.|\n)*b, row 1"):
        read_rows([part(raw(3)), RawPart(zoned.lazy(), "b")], PLAIN)


def test_summer_time(times: Callable[..., list[datetime]]) -> None:
    berlin = TimeFormat(zone="Europe/Berlin")
    # 02:30 occurs twice on 2024-10-27: the earlier one, still in summer time, is meant.
    assert times(["2024-10-27 02:30", "2024-10-27 03:30"], berlin) == [
        datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
        datetime(2024, 10, 27, 2, 30, tzinfo=UTC),
    ]
    with pytest.raises(SeqmarketError, match=r"'time' does not exist in the time zone(.|\n)*row 2"):
        times(["2024-03-31 01:30", "2024-03-31 02:30"], berlin)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("%d.%m.%Y %H:%M", "05.01.2024 10:00"),
        ("%d/%m/%y %H:%M %z", "05/01/24 12:00 +0200"),
        ("epoch_s", "1704448800"),
        ("epoch_s", "1704448800.0"),
        ("epoch_ms", 1704448800000),
        ("epoch_us", 1704448800000000),
    ],
)
def test_time_formats(how: str, text: object, times: Callable[..., list[datetime]]) -> None:
    assert times([text], TimeFormat(how)) == [datetime(2024, 1, 5, 10, tzinfo=UTC)]


def test_an_epoch_in_the_wrong_unit_does_not_wrap_around(
    times: Callable[..., list[datetime]],
) -> None:
    # Times 1,000,000 this exceeds an Int64, and would come out as some other year.
    with pytest.raises(SeqmarketError, match="cannot be read as a time"):
        times([1704448800000000], TimeFormat("epoch_s"))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_typed_times(raw: Rows, unit: str, zone: str | None, read_rows: Read) -> None:
    moment = pl.Series([datetime(2024, 1, 1, 12, tzinfo=UTC)]).dt.cast_time_unit(unit)  # type: ignore[arg-type]
    moment = moment.dt.convert_time_zone(zone) if zone else moment.dt.replace_time_zone(None)
    events = read_rows([part(raw(1).with_columns(moment.alias("time")))], PLAIN).frame
    assert events["time"].to_list() == [datetime(2024, 1, 1, 12, tzinfo=UTC)]


def test_whole_numbers_are_no_times_until_their_unit_is_said(
    times: Callable[..., list[datetime]],
) -> None:
    with pytest.raises(SeqmarketError, match="epoch_s, epoch_ms, epoch_us"):
        times([1704448800])


def test_the_future_is_after_not_after(raw: Rows, read_rows: Read) -> None:
    last = datetime(2024, 1, 4, 10, tzinfo=UTC)
    assert len(read_rows([part(raw())], replace(PLAIN, not_after=last)).frame) == 4
    earlier = replace(PLAIN, not_after=last - timedelta(microseconds=1))
    with pytest.raises(SeqmarketError, match=r"in the future(.|\n)*row 4"):
        read_rows([part(raw())], earlier)


@pytest.mark.parametrize(
    "schema",
    [
        {"categorical": ("channel",)},
        {"numeric": ("order",), "order": True},
        {"categorical": ("a",), "numeric": ("a",)},
        {"numeric": ("a",), "static_numeric": ("a",)},
    ],
)
def test_a_name_means_one_thing(schema: dict[str, Any]) -> None:
    with pytest.raises(SeqmarketError, match="the name is taken"):
        EventSchema(**schema)


def test_a_missing_column_is_named(raw: Rows, read_rows: Read) -> None:
    with pytest.raises(SeqmarketError, match="no column 'channel'; did you mean 'chanel'"):
        read_rows([part(raw().rename({"channel": "chanel"}))], PLAIN)
    with pytest.raises(SeqmarketError, match="no column 'channel'"):
        read_rows([part(raw(0).drop("channel"))], PLAIN)
    without = read_rows([part(raw().drop("value", "cost"))], PLAIN).frame
    assert without["value"].null_count() == 4


def test_a_converter_can_be_sent_to_a_worker() -> None:
    converter = with_schema(categorical=("device",), order=True)
    assert pickle.loads(pickle.dumps(converter)) == converter


def test_a_table_of_customers() -> None:
    table = pl.DataFrame({"customer_id": [7, 8], "plan": ["a", ""], "age": ["", "1"], "x": [0, 0]})
    schema = EventSchema(static_categorical=("plan",), static_numeric=("age",))
    customers = validate_customers([part(table), part(table[:0])], schema)
    assert customers.rows() == [("7", "a", None), ("8", None, 1.0)]
    assert customers.dtypes == [pl.String, pl.String, pl.Float64]


@pytest.mark.parametrize(
    ("ids", "ages", "message"),
    [
        (["a", "b", "a"], ["1"] * 3, r"'uid' repeats an earlier row's(.|\n)*row 3, column 'uid'"),
        (["a", "a", None], ["1"] * 3, r"repeats(.|\n)*1 further row breaks a rule(.|\n)*row 2"),
        ([None, None, "a"], ["1"] * 3, r"'uid' is missing; 1 further row breaks(.|\n)*row 1"),
        (["a", "b", "b"], ["1", "x", "x"], r"'age' is not a number; 1 further(.|\n)*row 2"),
    ],
)
def test_a_table_of_customers_has_no_broken_row(
    ids: list[str | None], ages: list[str], message: str
) -> None:
    table = part(pl.DataFrame({"customer_id": ids, "age": ages}))
    with pytest.raises(SeqmarketError, match=message) as caught:
        validate_customers(
            [table], EventSchema(static_numeric=("age",)), names={"customer_id": "uid"}
        )
    assert caught.value.fix == "mend the row"
