from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from seqmarket.data.event_log import EventLog, make_event_log
from seqmarket.data.parsing import TimeFormat
from seqmarket.data.settings import ValidationSettings
from seqmarket.data.validation import EventSchema, validate_events
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EVENT_COLUMNS

PLAIN = EventSchema()
SECRET = "customer-4711"


def raw(n: int = 4, **columns: Sequence[object]) -> pl.DataFrame:
    """A log of n good rows, as text, with these columns replaced."""
    good: dict[str, Sequence[object]] = {
        "customer_id": [SECRET] * n,
        "time": [f"2024-01-{day + 1:02d} 10:00:00" for day in range(n)],
        "channel": ["web"] * n,
        "event_type": ["purchase"] * n,
        "value": ["1.5"] * n,
        "cost": ["0"] * n,
    }
    return pl.DataFrame(good | columns, strict=False)


def validated(
    frame: pl.DataFrame, tmp_path: Path, schema: EventSchema = PLAIN, **settings: object
) -> pl.DataFrame:
    events, _ = validate_events(
        frame,
        schema,
        settings=ValidationSettings.model_validate(settings),
        quarantine_path=tmp_path / "quarantine.parquet",
    )
    return events


def times(
    texts: Sequence[object], tmp_path: Path, how: TimeFormat | None = None
) -> list[datetime | None]:
    events, _ = validate_events(
        raw(len(texts), time=texts),
        PLAIN,
        settings=ValidationSettings(duplicates="keep"),
        quarantine_path=tmp_path / "quarantine.parquet",
        times=how,
    )
    assert events.schema["time"] == pl.Datetime("us", "UTC")
    return events["time"].to_list()


def log_of(frame: pl.DataFrame, tmp_path: Path, schema: EventSchema, **options: object) -> EventLog:
    return make_event_log(
        frame,
        schema,
        name="test",
        fingerprint="0" * 64,
        settings=ValidationSettings(),
        quarantine_dir=tmp_path,
        **options,  # type: ignore[arg-type]
    )


def test_the_schema_of_a_validated_log(tmp_path: Path) -> None:
    frame = raw(device=["a", "", "b", None], pages=["1", "2", "", "-3"])
    schema = EventSchema(categorical=("device",), numeric=("pages",))
    events = validated(frame, tmp_path, schema)
    assert events.columns == [*EVENT_COLUMNS, "device", "pages"]
    assert events.dtypes == [
        pl.String,
        pl.Datetime("us", "UTC"),
        pl.String,
        pl.String,
        *[pl.Float64] * 2,
        pl.String,
        pl.Float64,
    ]
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
    ],
)
def test_every_rule_names_row_and_column_and_no_customer(
    column: str, bad: str | None, problem: str, tmp_path: Path
) -> None:
    schema = EventSchema(numeric=("pages",))
    good = raw(6, pages=["1"] * 6)
    values = good[column].to_list()
    values[3] = bad
    values[5] = bad
    broken = good.with_columns(pl.Series(column, values, pl.String))
    assert len(validated(good, tmp_path, schema)) == 6
    with pytest.raises(SeqmarketError) as caught:
        validated(broken, tmp_path, schema)
    message = str(caught.value)
    assert f"'{column}' {problem}" in message
    assert f"row 4, column '{column}'" in message
    assert "1 further row breaks a rule" in message
    assert SECRET not in message


def test_negative_values_can_be_allowed_and_negative_costs_cannot(tmp_path: Path) -> None:
    schema = EventSchema()
    events = log_of(
        raw(value=["-5", "1", "2", "3"]), tmp_path, schema, allow_negative_value=True
    ).frame
    assert events.collect()["value"][0] == -5
    with pytest.raises(SeqmarketError, match="'cost' is negative"):
        log_of(raw(cost=["-5", "1", "2", "3"]), tmp_path, schema, allow_negative_value=True)


def broken_log() -> pl.DataFrame:
    """Twelve rows: five break a rule, two repeat an earlier one, five are fine."""
    good = raw(5)
    repeated = good[[0, 3]]
    bad = raw(
        5,
        customer_id=[None, " ", "b", "b", "b"],
        time=["2024-01-01", "2024-01-02", "?", "2024-01-04", "2024-01-05"],
        value=["1", "2", "3", "-4", "inf"],
    )
    return pl.concat([good, bad, repeated])[[5, 0, 1, 6, 2, 10, 7, 3, 4, 8, 11, 9]]


@pytest.mark.parametrize("policy", ["quarantine", "drop"])
@pytest.mark.parametrize("duplicates", ["drop", "keep"])
def test_every_row_is_accounted_for(policy: str, duplicates: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "quarantine.parquet"
    settings = ValidationSettings.model_validate({"policy": policy, "duplicates": duplicates})
    events, report = validate_events(broken_log(), PLAIN, settings=settings, quarantine_path=path)
    aside = report.quarantined + report.dropped
    assert report.rows_in == 12
    assert report.kept + aside + report.duplicates == report.rows_in
    assert report.kept == len(events) == (5 if duplicates == "drop" else 7)
    assert aside == sum(report.reasons.values()) == 5
    assert report.reasons["'customer_id' is missing"] == 2
    assert report.quarantined == (5 if policy == "quarantine" else 0)
    assert path.exists() == (policy == "quarantine")
    assert report.quarantine_path == (path if policy == "quarantine" else None)


def test_the_quarantine_holds_the_rows_as_they_were(tmp_path: Path) -> None:
    validated(broken_log(), tmp_path, policy="quarantine")
    aside = pl.read_parquet(tmp_path / "quarantine.parquet")
    assert aside.columns == ["reason", "file", "row", *EVENT_COLUMNS]
    assert aside["row"].to_list() == [1, 4, 7, 10, 12]
    assert aside["reason"].to_list() == [
        "'customer_id' is missing",
        "'customer_id' is missing",
        "'time' cannot be read as a time",
        "'value' is negative",
        "'value' is not finite",
    ]
    assert aside["time"][2] == "?"
    assert aside["value"].to_list() == ["1", "2", "3", "-4", "inf"]
    assert [file.name for file in tmp_path.iterdir()] == ["quarantine.parquet"]


def test_a_repeated_row_can_be_an_error(tmp_path: Path) -> None:
    frame = pl.concat([raw(3), raw(3)[[1]]])
    with pytest.raises(SeqmarketError, match=r"repeats an earlier one(.|\n)*row 4"):
        validated(frame, tmp_path, duplicates="error")
    different_feature = frame.with_columns(page=pl.Series(["a", "b", "c", "d"]))
    schema = EventSchema(categorical=("page",))
    assert len(validated(different_feature, tmp_path, schema, duplicates="error")) == 4


@pytest.mark.parametrize("frame", [raw(0), raw(2, customer_id=[None, ""])])
def test_an_empty_log_is_an_error(frame: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="the log holds no event"):
        validated(frame, tmp_path, policy="drop")


def shuffled_ties(n: int = 2_000) -> pl.DataFrame:
    """Events of three customers at five moments; `page` tells their position."""
    return raw(
        n,
        customer_id=[f"c{i * 7 % 3}" for i in range(n)],
        time=[f"2024-01-0{i * 11 % 5 + 1}" for i in range(n)],
        page=[str(i) for i in range(n)],
    )


def is_in_total_order(events: pl.DataFrame) -> bool:
    keys = events.select("customer_id", "time", pl.col("page").cast(pl.Int64)).rows()
    return keys == sorted(keys)


def test_ties_keep_their_position_in_the_log(tmp_path: Path) -> None:
    schema = EventSchema(categorical=("page",))
    events = validated(shuffled_ties(), tmp_path, schema)
    assert is_in_total_order(events)
    mutant = events.sort("customer_id", "time", "page")  # "10" before "9"
    assert not is_in_total_order(mutant)


def test_identifiers_stay_as_written(tmp_path: Path) -> None:
    events = validated(raw(customer_id=["007", "7", " 7", "7.0"]), tmp_path)
    assert set(events["customer_id"]) == {"007", "7", " 7", "7.0"}


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series([1, 2, 3, 10], dtype=pl.UInt8),
        pl.Series(["1", "2", "3", "10"], dtype=pl.Categorical),
        pl.Series(["1", "2", "3", "10"], dtype=pl.Enum(["10", "3", "2", "1"])),
    ],
)
def test_typed_identifiers_become_text_and_are_ordered_as_text(
    ids: pl.Series, tmp_path: Path
) -> None:
    events = validated(raw().with_columns(ids.alias("customer_id")), tmp_path)
    assert events["customer_id"].to_list() == ["1", "10", "2", "3"]


def test_decimal_numbers_are_no_identifiers(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="'customer_id' cannot be used: it holds decimal"):
        validated(raw(customer_id=[1.0, 2.0, 3.0, 4.0]), tmp_path)


def test_iso_times_of_all_shapes(tmp_path: Path) -> None:
    texts = ["2024-01-01", "2024-01-01T00:01", "2024-01-01 00:02:00", "2024-01-01T00:03:00.25"]
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    assert times(texts, tmp_path) == [
        midnight + timedelta(minutes=minute, milliseconds=250 if minute == 3 else 0)
        for minute in range(4)
    ]


def test_offsets_are_instants_and_may_differ(tmp_path: Path) -> None:
    texts = ["2024-01-01T12:00Z", "2024-01-01 14:30:00+02:00", "2024-01-01T10:00:00.0-0330"]
    assert times(texts, tmp_path) == [
        datetime(2024, 1, 1, 12, tzinfo=UTC),
        datetime(2024, 1, 1, 12, 30, tzinfo=UTC),
        datetime(2024, 1, 1, 13, 30, tzinfo=UTC),
    ]


def test_the_fewer_of_mixed_times_are_at_fault(tmp_path: Path) -> None:
    texts = ["2024-01-01T10:00:00Z", "2024-01-02T10:00:00", "2024-01-03T10:00:00+01:00"]
    with pytest.raises(SeqmarketError, match="row 2"):
        times(texts, tmp_path)
    with pytest.raises(SeqmarketError, match="row 1"):
        times(["2024-01-01T10:00:00Z", "2024-01-02", "2024-01-03"], tmp_path)


def test_summer_time(tmp_path: Path) -> None:
    berlin = TimeFormat(zone="Europe/Berlin")
    # 02:30 occurs twice on 2024-10-27: the earlier one, still in summer time, is meant.
    assert times(["2024-10-27 02:30", "2024-10-27 03:30"], tmp_path, berlin) == [
        datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
        datetime(2024, 10, 27, 2, 30, tzinfo=UTC),
    ]
    with pytest.raises(SeqmarketError, match=r"'time' does not exist in the time zone(.|\n)*row 2"):
        times(["2024-03-31 01:30", "2024-03-31 02:30"], tmp_path, berlin)


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
def test_time_formats(how: str, text: object, tmp_path: Path) -> None:
    assert times([text], tmp_path, TimeFormat(how)) == [datetime(2024, 1, 5, 10, tzinfo=UTC)]


def test_an_epoch_in_the_wrong_unit_does_not_wrap_around(tmp_path: Path) -> None:
    # Times 1,000,000 this exceeds an Int64, and would come out as some other year.
    with pytest.raises(SeqmarketError, match="cannot be read as a time"):
        times([1704448800000000], tmp_path, TimeFormat("epoch_s"))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_typed_times(unit: str, zone: str | None, tmp_path: Path) -> None:
    moment = pl.Series([datetime(2024, 1, 1, 12, tzinfo=UTC)]).dt.cast_time_unit(unit)  # type: ignore[arg-type]
    moment = moment.dt.convert_time_zone(zone) if zone else moment.dt.replace_time_zone(None)
    events = validated(raw(1).with_columns(moment.alias("time")), tmp_path)
    assert events["time"].to_list() == [datetime(2024, 1, 1, 12, tzinfo=UTC)]


def test_whole_numbers_are_no_times_until_their_unit_is_said(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="epoch_s, epoch_ms, epoch_us"):
        times([1704448800], tmp_path)


def test_the_future_is_after_not_after(tmp_path: Path) -> None:
    assert len(validated(raw(), tmp_path, not_after="2024-01-04T10:00:00")) == 4
    with pytest.raises(SeqmarketError, match=r"in the future(.|\n)*row 4"):
        validated(raw(), tmp_path, not_after="2024-01-04T09:59:59")


def test_static_features_are_those_of_the_first_event(tmp_path: Path) -> None:
    frame = raw(
        customer_id=["a", "b", "a", "b"],
        time=["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-02"],
        plan=["late", "x", "early", "x"],
        age=["50", "", "49", "30"],
    )
    schema = EventSchema(static_categorical=("plan",), static_numeric=("age",))
    log = log_of(frame, tmp_path, schema)
    assert log.static is not None
    assert log.static.collect().rows() == [("a", "early", 49.0), ("b", "x", None)]
    assert log.frame.collect_schema().names() == list(EVENT_COLUMNS)
    assert any("'plan'" in w and "changes for 1 customers" in w for w in log.report.warnings)


def test_a_table_of_customers_is_cut_to_the_log(tmp_path: Path) -> None:
    customers = pl.DataFrame({"customer_id": ["z", "b"], "plan": ["p", "q"]})
    frame = raw(customer_id=["b", "a", "b", "a"])
    log = log_of(frame, tmp_path, EventSchema(static_categorical=("plan",)), customers=customers)
    assert log.static is not None
    assert log.static.collect().rows() == [("a", None), ("b", "q")]


def test_the_end_of_the_observation(tmp_path: Path) -> None:
    last = datetime(2024, 1, 4, 10, tzinfo=UTC)
    assert log_of(raw(), tmp_path, PLAIN).observed_until == last + timedelta(microseconds=1)
    later = last + timedelta(days=3)
    assert log_of(raw(), tmp_path, PLAIN, observed_until=later).observed_until == later
    with pytest.raises(SeqmarketError, match="1 events lie at or after"):
        log_of(raw(), tmp_path, PLAIN, observed_until=last)


@pytest.mark.parametrize(
    "schema",
    [
        {"categorical": ("channel",)},
        {"categorical": ("a",), "numeric": ("a",)},
        {"numeric": ("a",), "static_numeric": ("a",)},
    ],
)
def test_a_name_means_one_thing(schema: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(SeqmarketError, match="the name is taken"):
        EventSchema(**schema)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="no column 'channel'; did you mean 'chanel'"):
        validated(raw().rename({"channel": "chanel"}), tmp_path)
    assert validated(raw().drop("value", "cost"), tmp_path)["value"].null_count() == 4
