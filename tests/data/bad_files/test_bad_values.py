"""Identifiers, numbers, categories and types of columns; logs and customers as a whole."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from seqmarket.data.quality import QualityReport
from seqmarket.errors import SeqmarketError


def of(customer: str, channel: str = "web", value: str = "1", day: int = 18) -> str:
    """A line of this customer."""
    return f"{customer},2024-01-{day}T13:37:11,{channel},visit,{value}"


def customers(events: pl.DataFrame) -> set[str]:
    return {name for name in events["customer_id"] if not name.startswith("k4711")}


def test_leading_zeros(log) -> None:
    """Identifiers with leading zeros"""
    log.write(log.csv(of("007"), of("07"), of("7")))
    assert customers(log.read(63)) == {"007", "07", "7"}


def test_whole_numbers(log) -> None:
    """Identifiers that are whole numbers"""
    log.write(log.frame(customer_id=[7 + i % 20 for i in range(60)]), "log.parquet")
    assert "7" in customers(log.read())


@pytest.mark.parametrize("kind", [float, Decimal, lambda i: str(i).encode()])
def test_decimal_identifiers(log, kind) -> None:
    """Identifiers that are decimal numbers or bytes"""
    log.write(log.frame(customer_id=[kind(i % 20) for i in range(60)]), "log.parquet")
    log.refused("log.parquet")


def test_spellings_of_identifiers(log) -> None:
    """Identifiers that differ in spaces, case, a .0 or an invisible character"""
    ids = {"ab", "AB", "ab ", " ab", "ab\u200b", "ab\u00a0", "12", "12.0", "1.2E+01", "\u0430b"}
    log.write(log.csv(*map(of, sorted(ids))))
    assert customers(log.read(60 + len(ids))) == ids


@pytest.mark.parametrize("blank", ["", "  ", '""', '" "', "\u00a0"])
def test_no_identifier(log, blank) -> None:
    """A missing or blank identifier"""
    log.write(log.csv(of(blank)))
    log.set_aside()


def test_null_identifiers(log) -> None:
    """An identifier that is null"""
    log.write(log.frame(customer_id=[None, *["k4711"] * 59]), "log.parquet")
    log.set_aside(where="log.parquet, row 1", rows=60)


def test_words_for_null(log) -> None:
    """Words for a missing value, such as NULL"""
    words = ["NULL", "null", "nan", "N/A"]
    log.write(log.csv(*map(of, words)))
    assert customers(log.read(64)) == set(words)
    with pytest.raises(SeqmarketError, match="'customer_id' is missing; 3 further rows"):
        log.mended(csv={"null_values": words})


def test_mail_addresses(log) -> None:
    """Identifiers that look like e-mail addresses or phone numbers"""
    log.write(log.csv(*(of(f"jane{i}@example.org") for i in range(5))))
    log.read(65)


@pytest.mark.parametrize("bad", ["1e400", "-1e400", "nan", "NaN", "inf", "-inf"])
def test_not_finite(log, bad) -> None:
    """A number that is not finite"""
    log.write(log.csv(of("x", value=bad)))
    log.set_aside()


def test_not_finite_floats(log) -> None:
    """NaN and infinity among the numbers of a Parquet file"""
    values = [1.0] * 57 + [float("nan"), float("inf"), float("-inf")]
    log.write(log.frame(value=values), "log.parquet")
    log.set_aside(3, where="log.parquet, row 58", rows=60)


@pytest.mark.parametrize("bad", ['"1,5"', "12 EUR", "1_000", "0x10", "\u0661", "true", "-", "NULL"])
def test_no_number(log, bad) -> None:
    """A number that is text"""
    log.write(log.csv(of("x", value=bad)))
    log.set_aside()


def test_late_text(log) -> None:
    """A column of numbers that turns to text late, such as in row 100,000"""
    n = 100_002
    start = datetime(2023, 1, 1)
    frame = pl.DataFrame(
        {
            "customer_id": [f"k4711-{i % 999}" for i in range(n)],
            "time": [start + timedelta(minutes=5, seconds=7) * i for i in range(n)],
            "channel": ["web", "mail"] * (n // 2),
            "event_type": ["purchase", "visit", "visit"] * (n // 3),
            "value": [str(i / 7) for i in range(n)],
        }
    ).with_row_index("row")
    late = pl.when(pl.col("row") == 99_999).then(pl.lit("unknown")).otherwise("value")
    log.write(frame.with_columns(late.alias("value")).drop("row"))
    log.set_aside(where="log.csv, line 100001", rows=n)


def test_negative_value(log) -> None:
    """A negative value"""
    log.write(log.csv(of("x", value="-1")))
    log.set_aside()
    assert -1.0 in log.mended(61, allow_negative_value=True)["value"]


def test_negative_cost(log) -> None:
    """A negative cost"""
    log.write(log.csv(of("x", value="-0.01"), header=log.header.replace("value", "cost")))
    log.set_aside(allow_negative_value=True)


def test_cents(log) -> None:
    """Amounts in cents"""
    cents = log.frame(value=[1_999 + 7 * i for i in range(60)])
    more = cents.with_columns(pl.col("time") + timedelta(hours=3), pl.col("value") + 3)
    log.write(pl.concat([cents, more]), "log.parquet")
    log.read(120)


def test_booleans(log) -> None:
    """A column of booleans"""
    log.write(log.frame(value=[True, False] * 30, channel=[True, False] * 30), "log.parquet")
    events = log.read()
    assert set(events["value"]) == {0.0, 1.0}
    assert set(events["channel"]) == {"true", "false"}


def test_types_of_columns(log) -> None:
    """Categoricals, enumerations, decimals, small and large numbers"""
    frame = log.frame().with_columns(
        pl.col("customer_id").cast(pl.Categorical),
        pl.col("channel").cast(pl.Enum(["mail", "web"])),
        pl.col("value").cast(pl.Decimal(12, 2)),
        pl.col("time").cast(pl.Datetime("ns", "UTC")),
        cost=pl.lit(2**62).cast(pl.Int128),
    )
    log.write(frame, "log.parquet")
    events = log.read()
    assert sorted(events["value"]) == log.frame()["value"].to_list()
    assert set(events["cost"]) == {2.0**62}


@pytest.mark.parametrize(
    ("column", "nested"),
    [("channel", ["web"]), ("channel", {"name": "web"}), ("value", [1.0]), ("time", ["2024"])],
)
def test_nested(log, column, nested) -> None:
    """A column of lists or structures"""
    log.write(log.frame(**{column: [nested] * 60}), "log.parquet")
    log.refused("log.parquet")


def test_spellings_of_channels(log) -> None:
    """Channels that differ in case, spaces, accents or invisible characters"""
    cafe = "caf\u00e9"
    spelt = ["Web", "web\u200b", cafe, unicodedata.normalize("NFD", cafe)]
    log.write(log.csv(*(of(f"x{i}", name, day=10 + i % 8) for name in spelt for i in range(12))))
    events = log.read(108)
    assert set(events["channel"]) == {"web", "mail", *spelt}


def test_look_alikes(log) -> None:
    """Letters of another alphabet that look alike"""
    log.write(log.csv(*(of(f"x{i}", "m\u0430il", day=10 + i % 8) for i in range(12))))
    assert {"mail", "m\u0430il"} <= set(log.read(72)["channel"])


def test_one_channel(log) -> None:
    """The same channel in all rows"""
    log.write(log.csv().replace("mail", "web"))
    log.read()


def test_no_purchase(log) -> None:
    """A type of purchase that never occurs"""
    log.write(log.csv())
    log.read(purchase_event_types=["purchases"])


def test_empty_feature(log) -> None:
    """A feature that is always empty"""
    log.write(log.frame(page=[None] * 60))
    log.read(categorical=["page"])


def test_reserved_name(log) -> None:
    """A feature with the name of a column of ours"""
    log.write(log.csv())
    log.refused("data.categorical", categorical=["channel"])


def test_names_of_the_quarantine(log) -> None:
    """Features called reason, file or row"""
    frame = log.frame(reason=["r"] * 60, file=["f"] * 60, row=[5.0] * 60)
    log.write(
        frame.with_columns(value=pl.when(pl.col("value") > 59).then(-1.0).otherwise(1.0)),
        "log.parquet",
    )
    read = log.set_aside(
        where="log.parquet, row 60", rows=60, categorical=["reason", "file"], numeric=["row"]
    )
    aside = pl.read_parquet(read.report.quarantine_path)
    assert aside.select("reason_", "file_", "row_").row(0) == ("r", "f", "5.0")


@pytest.mark.parametrize("n", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_million_categories(log, n) -> None:
    """A million categories"""
    frame = pl.DataFrame({"row": pl.int_range(n, eager=True)}).select(
        customer_id="k4711-" + (pl.col("row") % 5_000).cast(pl.String),
        time=pl.lit(datetime(2023, 1, 1)) + pl.col("row") * pl.lit(timedelta(seconds=29)),
        channel=pl.when(pl.col("row") % 2 == 0).then(pl.lit("web")).otherwise(pl.lit("mail")),
        event_type=pl.when(pl.col("row") % 3 == 0)
        .then(pl.lit("visit"))
        .otherwise(pl.lit("purchase")),
        page="p" + pl.col("row").cast(pl.String),
    )
    log.write(frame, "log.parquet")
    store = log.encoded(categorical=["page"])
    log.account(QualityReport.from_dict(store.report), n)
    (page,) = store.spec.categorical
    assert len(page.categories) == 10_000


def test_a_customer_with_100_000_events(log) -> None:
    """A customer with 100,000 events"""
    n = 100_000
    times = [datetime(2024, 1, 1) + timedelta(seconds=13) * i for i in range(n)]
    bot = (
        log.frame()[:1].select(pl.exclude("time")).join(pl.DataFrame({"time": times}), how="cross")
    )
    log.write(pl.concat([log.frame(), bot.select(log.frame().columns)]), "log.parquet")
    log.read(n + 60)
    assert log.encoded().events.n_events == n + 60


def test_one_customer(log) -> None:
    """A single customer"""
    log.write(log.frame(customer_id=["k4711"] * 60), "log.parquet")
    log.read()
    assert log.encoded().events.n_customers == 1


def test_one_row_again_and_again(log) -> None:
    """The same row again and again"""
    log.write(log.csv(*log.lines[:1] * 500))
    log.read(560, kept=60)


def test_repetitions_refused(log) -> None:
    """A repeated row, where repetitions are errors"""
    log.write(log.csv(log.lines[5]))
    log.refused("log.csv, line ", validation={"duplicates": "error"})


OF_CUSTOMERS = {"static_categorical": ["plan"], "static_numeric": ["age"]}


@pytest.mark.parametrize(
    "lines", [["k4711-01,gold,40", "k4711-01,tin,41"], ["k4711-00,gold,40", ",tin,41"]]
)
def test_repeated_customers(log, tmp_path, lines) -> None:
    """A table of customers that names one twice, or not at all"""
    log.write(log.csv())
    path = log.write("\n".join(["customer_id,plan,age", *lines, ""]), tmp_path / "customers.csv")
    log.refused("customers.csv, line 3", customers_path=str(path), **OF_CUSTOMERS)


def test_missing_customers(log, tmp_path) -> None:
    """A table of customers that lacks some, or has others"""
    log.write(log.csv())
    text = "customer_id,plan,age\nk4711-01,gold,40\nz,tin,3\n"
    path = log.write(text, tmp_path / "customers.csv")
    log.read(customers_path=str(path), **OF_CUSTOMERS)


def test_changing_customers(log) -> None:
    """A feature of customers that changes from event to event"""
    log.write(log.frame(plan=["gold"] * 40 + ["tin"] * 20))
    log.read(static_categorical=["plan"])
