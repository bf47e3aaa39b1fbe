"""The encoded store: fitted on training only, found again, and refused when damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqmarket.data.engine.hashing import stable_hash
from seqmarket.data.event_log import EventLog
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.quality import QualityReport
from seqmarket.data.raw_log import RawLog
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store
from seqmarket.data.store_writing import write_store
from seqmarket.errors import SeqmarketError
from seqmarket.schema import UNK, EventArrays, SequenceSpec

SPLIT = SplitSettings()
ENCODING = EncodingSettings(max_length=32)


LogLike = Callable[[EventLog, pl.DataFrame], EventLog]


@pytest.fixture(scope="module")
def log(read_log: Callable[..., EventLog]) -> EventLog:
    return read_log(SyntheticJourneys(n_customers=60, days=120, seed=3))


def store_of(log: EventLog, path: Path, split: SplitSettings = SPLIT) -> SequenceStore:
    write_store(path, log, split, ENCODING)
    return open_store(path)


def test_arrays_hold_the_log_in_its_order(log: EventLog, tmp_path: Path) -> None:
    store = store_of(log, tmp_path / "store")
    frame = log.frame.collect()
    assert store.events.n_events == frame.height
    ids = store.customer_ids()
    assert ids.to_list() == frame["customer_id"].unique(maintain_order=True).to_list()
    assert (np.diff(stable_hash(ids)) > 0).all()
    assert (store.events.time == frame["time"].to_physical().to_numpy()).all()
    names = np.array(["", "?", *store.spec.channel.categories])
    known = store.events.channel > UNK
    assert (names[store.events.channel][known] == frame["channel"].to_numpy()[known]).all()
    lengths = np.diff(store.events.offsets)
    assert lengths.sum() == frame.height
    assert lengths.min() >= 1


def test_the_spec_survives_the_round_trip(log: EventLog, tmp_path: Path) -> None:
    spec = store_of(log, tmp_path / "store").spec
    assert SequenceSpec.from_dict(spec.to_dict()) == spec
    assert spec.n_features == store_of(log, tmp_path / "other").events.features.shape[1]


def test_features_are_finite_and_scaled_on_the_training_period(
    log: EventLog, tmp_path: Path
) -> None:
    store = store_of(log, tmp_path / "store")
    assert np.isfinite(store.events.features).all()
    in_training = store.events.time < store.split.periods["train"].end
    given = store.events.features[in_training][:, 0] != 0
    assert abs(np.median(store.events.features[in_training][given][:, 0])) < 0.2


def with_later_events(log: EventLog, after: datetime) -> pl.DataFrame:
    """The same events with a channel and values that the training period does not show."""
    late = pl.col("time") >= after
    frame = log.frame.with_columns(
        channel=pl.when(late).then(pl.lit("brand_new")).otherwise("channel"),
        value=pl.when(late).then(1e6).otherwise("value"),
    )
    return frame.collect()


def fitted_before(log: EventLog, changed: EventLog, folder: Path) -> None:
    """What is fitted does not change when the time after the training does."""
    assert store_of(log, folder / "a").spec == store_of(changed, folder / "b").spec


def test_nothing_is_fitted_after_the_training_period(
    log: EventLog, log_like: LogLike, tmp_path: Path
) -> None:
    split = store_of(log, tmp_path / "store").split
    end = datetime.fromtimestamp(split.periods["train"].end / 1e6, tz=UTC)
    changed = log_like(log, with_later_events(log, end))
    fitted_before(log, changed, tmp_path)
    store = open_store(tmp_path / "b")
    late = store.events.time >= split.periods["train"].end
    assert (store.events.channel[late] == UNK).all()


def test_a_change_inside_the_training_period_is_noticed(
    log: EventLog, log_like: LogLike, tmp_path: Path
) -> None:
    split = store_of(log, tmp_path / "store").split
    before_end = datetime.fromtimestamp(split.periods["train"].end / 1e6 - 20 * 86_400, tz=UTC)
    changed = log_like(log, with_later_events(log, before_end))
    with pytest.raises(AssertionError):
        fitted_before(log, changed, tmp_path)


def test_the_report_keeps_its_warnings(log: EventLog, tmp_path: Path) -> None:
    doubtful = replace(log, report=replace(log.report, warnings=("look at this",)))
    store = store_of(doubtful, tmp_path / "store")
    assert store.report["warnings"] == ["look at this"]
    assert QualityReport.from_dict(store.report) == doubtful.report


def test_customers_of_other_folds_are_not_fitted_on(
    log: EventLog, log_like: LogLike, tmp_path: Path
) -> None:
    split = SplitSettings(kind="time_and_customer")
    store = store_of(log, tmp_path / "store", split)
    assert store.split.customer_fold is not None
    outsiders = store.customer_ids().filter(store.split.customer_fold > 0).to_list()
    renamed = log.frame.with_columns(
        channel=pl.when(pl.col("customer_id").is_in(outsiders))
        .then(pl.lit("theirs"))
        .otherwise("channel")
    )
    other = store_of(log_like(log, renamed.collect()), tmp_path / "other", split)
    assert "theirs" not in other.spec.channel.categories
    assert other.spec == store.spec


def test_the_same_data_and_settings_are_read_and_encoded_once(tmp_path: Path) -> None:
    source = SyntheticJourneys(n_customers=20, days=100, seed=3)
    opened = []

    class Counting:
        name = source.name
        check = source.check
        fingerprint = source.fingerprint
        family = source.family

        def open(self) -> RawLog:
            opened.append(self)
            return source.open()

    def prepare(encoding: EncodingSettings, **settings: object) -> SequenceStore:
        log_settings = LogSettings.model_validate(settings)
        return prepare_store(Counting(), log_settings, SPLIT, encoding, Workshop(tmp_path))

    first, second = prepare(ENCODING), prepare(ENCODING)
    assert len(opened) == 1
    assert first.path == second.path
    assert first.fingerprint == second.fingerprint
    other = prepare(EncodingSettings(max_length=16))
    assert len(opened) == 1  # it is encoded once more, but the log is there
    assert other.spec.max_length == 16
    assert other.path != first.path
    prepare(ENCODING, validation={"duplicates": "keep"})
    assert len(opened) == 2


def test_encoding_twice_gives_the_same_bytes(log: EventLog, tmp_path: Path) -> None:
    first = store_of(log, tmp_path / "a").fingerprint
    assert store_of(log, tmp_path / "b").fingerprint == first


IDS = {"customer_id_bytes", "customer_id_offsets"}
FILES = {*EventArrays.__dataclass_fields__, *IDS, "about", "report", "origin", "manifest"}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_rows_does_not_matter(
    log: EventLog, log_like: LogLike, tmp_path: Path, seed: int
) -> None:
    shuffled = log.frame.collect().sample(fraction=1, shuffle=True, seed=seed)
    again = store_of(log_like(log, shuffled), tmp_path / "again")
    assert again.fingerprint == store_of(log, tmp_path / "store").fingerprint


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_flipped_bit_is_refused(log: EventLog, tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    write_store(path, log, SPLIT, ENCODING)
    assert {file.stem for file in path.iterdir()} == FILES
    file = next(path.glob(f"{name}.*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(SeqmarketError, match="damaged"):
        open_store(path)


def test_a_missing_file_is_refused(log: EventLog, tmp_path: Path) -> None:
    path = tmp_path / "store"
    write_store(path, log, SPLIT, ENCODING)
    (path / "time.npy").unlink()
    with pytest.raises(SeqmarketError, match="damaged"):
        open_store(path)


def test_a_failed_encoding_leaves_nothing_behind(log: EventLog, tmp_path: Path) -> None:
    too_early = SplitSettings.model_validate({"train_end": "1999-01-01"})
    with pytest.raises(SeqmarketError):
        write_store(tmp_path / "store", log, too_early, ENCODING)
    assert list(tmp_path.iterdir()) == []
