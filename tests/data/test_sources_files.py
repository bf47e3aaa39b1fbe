from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from seqmarket.data.event_log import EventLog
from seqmarket.data.sources.files import FileSource
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EVENT_COLUMNS

Read = Callable[..., EventLog]
Write = Callable[..., Path]
Source = Callable[..., FileSource]


@pytest.fixture
def read(source: Source, read_log: Read) -> Read:
    def read_file(path: Path, policy: str = "error", **options: object) -> EventLog:
        return read_log(source(path, **options), validation={"policy": policy})

    return read_file


def table(log: EventLog) -> pl.DataFrame:
    """The events by customer and time, in the log's own order where both are the same."""
    return log.frame.collect().sort("customer_id", "time", maintain_order=True)


def typed(n: int = 3, start: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "time": [datetime(2024, 1, start + i) for i in range(n)],
            "channel": ["web"] * n,
            "event_type": ["purchase"] * n,
        }
    )


def test_csv(write: Write, read: Read, tmp_path: Path) -> None:
    log = read(write(tmp_path / "a.csv"))
    events = table(log)
    assert events.columns == list(EVENT_COLUMNS)
    assert events["customer_id"].to_list() == ["007", "007", "7"]
    assert events["value"].to_list() == [None, 5.0, 19.9]
    assert events["cost"].to_list() == [0.5, None, None]
    assert events["time"][0] == datetime(2024, 1, 1, 10, tzinfo=UTC)


def test_a_missing_id_on_line_7_is_found_there(write: Write, read: Read, tmp_path: Path) -> None:
    lines = ["uid,time,channel,event_type"]
    lines += [f"secret{i},2024-01-0{i},web,purchase" for i in range(1, 9)]
    lines[6] = ",2024-01-06,web,purchase"
    path = write(tmp_path / "events.csv", "\n".join(lines) + "\n")
    with pytest.raises(SeqmarketError) as caught:
        read(path, columns={"customer_id": "uid"})
    assert caught.value.what == "'uid' is missing"
    assert caught.value.where == f"{path}, line 7, column 'uid'"
    assert "data.validation.policy=quarantine" in str(caught.value.fix)
    assert "secret" not in str(caught.value)


def test_lines_are_counted_as_an_editor_does(read: Read, tmp_path: Path) -> None:
    text = (
        "\ufeffcustomer_id,time,channel,event_type\r\n"
        'a,2024-01-01,"two\r\nlines, ""quoted""",purchase\r\n'  # lines 2 and 3
        "b,2024-01-02,web,purchase\r\n"
        "\r\n"  # line 5
        "c,never,web,purchase\r\n"  # line 6
    )
    path = tmp_path / "events.csv"
    path.write_bytes(text.encode())
    with pytest.raises(SeqmarketError, match=r"fewer fields than the header(.|\n)*line 5"):
        read(path)
    log = read(path, policy="quarantine")
    assert log.report.quarantine_path is not None
    assert pl.read_parquet(log.report.quarantine_path)["row"].to_list() == [5, 6]
    assert table(log)["channel"][0] == 'two\r\nlines, "quoted"'


def test_rows_of_parquet_are_counted_from_1(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    typed().with_columns(channel=pl.Series(["web", None, "web"])).write_parquet(path)
    with pytest.raises(SeqmarketError, match="row 2, column 'channel'"):
        read(path)


def test_a_byte_order_mark_is_no_part_of_a_name(
    csv_text: str, write: Write, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", "\ufeff" + csv_text)
    assert read(path).report.kept == 3


@pytest.mark.parametrize(
    ("suffix", "writer"),
    [
        ("parquet", "write_parquet"),
        ("arrow", "write_ipc"),
        ("feather", "write_ipc"),
        ("csv", "write_csv"),
    ],
)
def test_all_formats_give_the_same_log(
    suffix: str, writer: str, read: Read, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    getattr(typed(), writer)(path)
    events = table(read(path))
    assert events["time"].to_list() == [datetime(2024, 1, d, tzinfo=UTC) for d in (1, 2, 3)]
    assert events.select("customer_id", "channel").equals(typed().select("customer_id", "channel"))
    shutil.copy(path, tmp_path / "a.data")
    known = {"parquet": "parquet", "csv": "csv"}.get(suffix, "ipc")
    assert table(read(tmp_path / "a.data", format=known)).equals(events)
    with pytest.raises(SeqmarketError, match="the suffix of the file tells no format"):
        read(tmp_path / "a.data")


def test_a_glob_is_read_in_order_of_names(write: Write, read: Read, tmp_path: Path) -> None:
    same_time = "customer_id,time,channel,event_type\na,2024-01-01,{},purchase\n"
    for name, channel in (("2", "x"), ("10", "z"), ("1", "y")):
        write(tmp_path / f"part-{name}.csv", same_time.format(channel))
    log = read(tmp_path / "part-*.csv", ties="position")
    assert table(log)["channel"].to_list() == ["y", "z", "x"]
    assert table(read(tmp_path / "part-*.csv"))["channel"].to_list() == ["x", "y", "z"]
    write(tmp_path / "part-3.csv", same_time.format(""))
    with pytest.raises(SeqmarketError, match=r"part-3\.csv, line 2, column 'channel'"):
        read(tmp_path / "part-*.csv")


def test_a_declared_column_orders_events_of_the_same_time(
    write: Write, read: Read, tmp_path: Path
) -> None:
    text = "customer_id,time,channel,event_type,nr\n"
    for channel, nr in (("x", 10), ("y", 9), ("z", 1)):
        text += f"a,2024-01-01,{channel},visit,{nr}\n"
    path = write(tmp_path / "a.csv", text)
    log = read(path, columns={"order": "nr"})
    assert table(log)["channel"].to_list() == ["z", "y", "x"]
    assert log.frame.collect_schema().names() == list(EVENT_COLUMNS)
    assert table(read(path))["channel"].to_list() == ["x", "y", "z"]


@pytest.mark.parametrize("policy", ["quarantine", "drop"])
def test_every_row_is_accounted_for(
    csv_text: str, write: Write, policy: str, read: Read, tmp_path: Path
) -> None:
    broken = "secret,2024-01-04,web,purchase,1,2,3\nd,2024-01-05,web,visit,1\ne,never,web,visit,,\n"
    path = write(tmp_path / "a.csv", csv_text + broken + csv_text.splitlines()[1] + "\n")
    report = read(path, policy=policy).report
    assert report.reasons == {
        "a row has more fields than the header": 1,
        "a row has fewer fields than the header": 1,
        "'time' cannot be read as a time": 1,
    }
    assert report.rows_in == 7
    assert (report.kept, report.duplicates, report.quarantined + report.dropped) == (3, 1, 3)
    if policy == "quarantine":
        assert report.quarantine_path is not None
        assert pl.read_parquet(report.quarantine_path)["row"].to_list() == [5, 6, 7]
    else:
        assert report.quarantine_path is None


def test_times_mixed_over_files_are_found(read: Read, tmp_path: Path) -> None:
    typed().write_parquet(tmp_path / "a.parquet")
    zoned = typed(2, start=5).with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    zoned.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(SeqmarketError, match=r"b\.parquet, row 1, column 'time'"):
        read(tmp_path / "*.parquet")


def test_a_partitioned_folder(write: Write, read: Read, tmp_path: Path) -> None:
    root = tmp_path / "log"
    for shop, day in (("007", 1), ("a%20b", 2), ("__HIVE_DEFAULT_PARTITION__", 3)):
        folder = root / f"shop={shop}"
        folder.mkdir(parents=True)
        typed(1, start=day).write_parquet(folder / "0.parquet")
    write(root / "_SUCCESS", "")
    write(root / "notes.md", "no data")
    write(root / ".hidden" / "0.parquet", "no data")
    log = read(root, categorical=["shop"])
    assert log.frame.collect()["shop"].to_list() == ["007", "a b", None]


def test_columns_can_have_any_name(write: Write, read: Read, tmp_path: Path) -> None:
    text = "uid;when;kind;paid;page\nx;05.01.2024 11:00;purchase;3;home\n"
    log = read(
        write(tmp_path / "a.csv", text),
        columns={
            "customer_id": "uid",
            "time": "when",
            "channel": None,
            "event_type": "kind",
            "value": "paid",
        },
        time_format="%d.%m.%Y %H:%M",
        time_zone="Europe/Berlin",
        categorical=["page"],
        csv={"separator": ";"},
    )
    row = log.frame.collect().row(0)
    at_ten = datetime(2024, 1, 5, 10, tzinfo=UTC)
    assert row == ("x", at_ten, "purchase", "purchase", 3.0, None, "home")


def test_a_column_timestamp_is_the_time(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    typed().rename({"time": "timestamp"}).write_parquet(path)
    assert read(path).report.kept == 3
    with pytest.raises(SeqmarketError, match="no column 'time';"):
        read(path, columns={"time": "time"})
    typed().rename({"time": "when"}).write_parquet(path)
    with pytest.raises(SeqmarketError, match="no column 'time' or 'timestamp'"):
        read(path)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"columns": {"customer_id": "custmer_id"}}, "data.columns.customer_id"),
        ({"columns": {"value": "price"}}, "data.columns.value"),
        ({"categorical": ["device"]}, "data.categorical"),
        ({"static_numeric": ["age"]}, "data.static_numeric"),
    ],
)
def test_an_unknown_column_is_named_with_its_key(
    write: Write, options: dict[str, object], key: str, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv")
    with pytest.raises(SeqmarketError, match="there is no column") as caught:
        read(path, **options)
    assert caught.value.where == f"{path}, {key}"
    assert "did you mean 'customer_id'?" in str(caught.value) or "known: " in str(caught.value)


def test_a_file_without_a_header_shows_nothing(write: Write, read: Read, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "secret,2024-01-01,web,purchase\n")
    with pytest.raises(SeqmarketError, match="names none of the columns") as caught:
        read(path)
    assert "'customer_id', 'time' or 'timestamp', 'channel', 'event_type'" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_event_needs_a_channel_or_a_type(write: Write, read: Read, tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="needs a channel or an event type"):
        read(write(tmp_path / "a.csv"), columns={"channel": None, "event_type": None})


@pytest.mark.parametrize("path", ["missing.csv", "missing/*.parquet", "", "empty"])
def test_a_missing_file(
    write: Write, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty" / "notes.md", "no data")
    missing = FileSource(path=path)
    what = "no data files in the folder empty" if path == "empty" else "no file at"
    with pytest.raises(SeqmarketError, match=what):
        missing.check()
    with pytest.raises(SeqmarketError, match=what):
        missing.fingerprint()
    with pytest.raises(SeqmarketError, match=what):
        missing.open()


def test_a_check_reads_no_content(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no such format")
    source(path).check()
    with pytest.raises(SeqmarketError, match=r"no file at .*c\.csv") as caught:
        source(path, customers_path=str(tmp_path / "c.csv")).check()
    assert caught.value.where == "data.customers_path"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.arrow"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00secret\xe9\n\xe9\n"])
def test_a_damaged_file_is_named(name: str, content: bytes, read: Read, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SeqmarketError) as caught:
        read(path)
    assert str(path) in str(caught.value.where)
    assert "secret" not in caught.value.what


def test_customers_of_their_own_file(write: Write, read: Read, tmp_path: Path) -> None:
    events = write(tmp_path / "a.csv")
    customers = write(tmp_path / "c.csv", "id,plan,age\n007,gold,41\nother,tin,\n")
    options = {
        "customers_path": str(customers),
        "customers_id_column": "id",
        "static_categorical": ["plan"],
        "static_numeric": ["age"],
    }
    log = read(events, **options)
    assert log.static is not None
    assert log.static.collect().sort("customer_id").rows() == [
        ("007", "gold", 41.0),
        ("7", None, None),
    ]

    write(customers, "id,plan,age\n007,gold,41\n7,tin,old\n")
    with pytest.raises(SeqmarketError, match=r"'age' is not a number(.|\n)*c\.csv, line 3"):
        read(events, **options)
    write(customers, "id,plan,age\n007,gold,41\n007,tin,3\n")
    with pytest.raises(SeqmarketError, match=r"'id' repeats an earlier row's(.|\n)*line 3"):
        read(events, **options)


def test_words_for_missing_values(csv_text: str, write: Write, read: Read, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", csv_text.replace("19.90", "n/a"))
    with pytest.raises(SeqmarketError, match="'value' is not a number"):
        read(path)
    log = read(path, csv={"null_values": ["n/a"]})
    assert log.frame.collect()["value"].null_count() == 2


def test_the_fingerprint_is_of_content_and_options(
    csv_text: str, source: Source, write: Write, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv")
    first = source(path).fingerprint()
    assert read(path).fingerprint == first
    moved = write(tmp_path / "elsewhere" / "b.csv")
    assert source(moved, name="other").fingerprint() == first
    assert source(path, time_zone="Europe/Berlin").fingerprint() != first
    write(path, csv_text.replace("19.90", "19.91"))
    assert source(path).fingerprint() != first
    with_customers = source(moved, customers_path=str(path)).fingerprint()
    write(path, csv_text.replace("19.90", "19.92"))
    assert source(moved, customers_path=str(path)).fingerprint() not in (first, with_customers)


def test_files_count_by_content_unless_their_order_means_something(
    csv_text: str, source: Source, write: Write, tmp_path: Path
) -> None:
    texts = [csv_text, csv_text.replace("web", "shop"), csv_text.replace("web", "mail")]

    def fingerprints(folder: str, texts: list[str]) -> tuple[str, str, str | None]:
        for number, text in enumerate(texts):
            write(tmp_path / folder / f"{number}.csv", text)
        log = source(tmp_path / folder)
        by_position = source(tmp_path / folder, ties="position")
        return log.fingerprint(), by_position.fingerprint(), log.family()

    first, again = fingerprints("a", texts), fingerprints("b", texts)
    turned, fewer = fingerprints("c", texts[::-1]), fingerprints("d", texts[:2])
    assert first == again
    assert first[0] == turned[0] != fewer[0]
    assert first[1] != turned[1]
    assert first[2] == turned[2] == fewer[2]  # what lacks a file is of the same family


def test_files_that_are_not_hashed_need_a_version() -> None:
    remote = FileSource(path="s3://bucket/log/*.parquet")
    with pytest.raises(SeqmarketError, match="not hashed") as caught:
        remote.fingerprint()
    assert caught.value.where == "data.version"
    first, second = (remote.model_copy(update={"version": name}) for name in ("1", "2"))
    assert first.fingerprint() != second.fingerprint()
    assert first.family() is None


@pytest.mark.parametrize(
    "options",
    [
        {"purchase_event_types": "purchase"},
        {"columns": {"customer": "uid"}},
        {"seperator": ";"},
        {"time_zone": "Europe/Berln"},
        {"time_format": "epoch"},
        {"time_format": "YYYY-MM-DD"},
        {"time_format": "%d.%m.%Y %H:%M %Z"},  # would read the zone and ignore it
        {"time_format": "%d.%m.%Y %H"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        FileSource.model_validate({"path": "a.csv", **options})
