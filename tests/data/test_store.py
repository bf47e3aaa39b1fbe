"""The encoded store: fitted on training only, found again, and refused when damaged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqmarket.data.event_log import EventLog
from seqmarket.data.quality import QualityReport
from seqmarket.data.settings import EncodingSettings, SplitSettings, ValidationSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store, prepare_store, write_store
from seqmarket.errors import SeqmarketError
from seqmarket.schema import UNK, EventArrays, SequenceSpec

SPLIT = SplitSettings()
ENCODING = EncodingSettings(max_length=32)


@pytest.fixture(scope="module")
def log() -> EventLog:
    source = SyntheticJourneys(n_customers=60, days=120, seed=3)
    return source.read(ValidationSettings(), Path("unused"))


def store_of(log: EventLog, path: Path, split: SplitSettings = SPLIT) -> SequenceStore:
    write_store(path, log, split, ENCODING)
    return open_store(path)


def test_arrays_hold_the_log_in_its_order(log: EventLog, tmp_path: Path) -> None:
    store = store_of(log, tmp_path / "store")
    frame = log.frame.collect()
    assert store.events.n_events == frame.height
    assert (
        store.customer_ids().to_list() == frame["customer_id"].unique(maintain_order=True).to_list()
    )
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


def with_later_events(log: EventLog, after: datetime) -> EventLog:
    """The same log with a channel and values that the training period does not show."""
    late = pl.col("time") >= after
    frame = log.frame.with_columns(
        channel=pl.when(late).then(pl.lit("brand_new")).otherwise("channel"),
        value=pl.when(late).then(1e6).otherwise("value"),
    )
    return replace(log, frame=frame)


def fitted_before(log: EventLog, changed: EventLog, folder: Path) -> None:
    """What is fitted does not change when the time after the training does."""
    assert store_of(log, folder / "a").spec == store_of(changed, folder / "b").spec


def test_nothing_is_fitted_after_the_training_period(log: EventLog, tmp_path: Path) -> None:
    split = store_of(log, tmp_path / "store").split
    end = datetime.fromtimestamp(split.periods["train"].end / 1e6, tz=UTC)
    changed = with_later_events(log, end)
    fitted_before(log, changed, tmp_path)
    store = open_store(tmp_path / "b")
    late = store.events.time >= split.periods["train"].end
    assert (store.events.channel[late] == UNK).all()


def test_a_change_inside_the_training_period_is_noticed(log: EventLog, tmp_path: Path) -> None:
    split = store_of(log, tmp_path / "store").split
    before_end = datetime.fromtimestamp(split.periods["train"].end / 1e6 - 20 * 86_400, tz=UTC)
    with pytest.raises(AssertionError):
        fitted_before(log, with_later_events(log, before_end), tmp_path)


def test_the_report_keeps_its_warnings(log: EventLog, tmp_path: Path) -> None:
    doubtful = replace(log, report=replace(log.report, warnings=("look at this",)))
    store = store_of(doubtful, tmp_path / "store")
    assert store.report["warnings"] == ["look at this"]
    assert QualityReport.from_dict(store.report) == doubtful.report


def test_customers_of_other_folds_are_not_fitted_on(log: EventLog, tmp_path: Path) -> None:
    split = SplitSettings(kind="time_and_customer")
    store = store_of(log, tmp_path / "store", split)
    assert store.split.customer_fold is not None
    outsiders = store.customer_ids().filter(store.split.customer_fold > 0).to_list()
    renamed = log.frame.with_columns(
        channel=pl.when(pl.col("customer_id").is_in(outsiders))
        .then(pl.lit("theirs"))
        .otherwise("channel")
    )
    other = store_of(replace(log, frame=renamed), tmp_path / "other", split)
    assert "theirs" not in other.spec.channel.categories
    assert other.spec == store.spec


def test_the_same_data_and_settings_are_encoded_once(tmp_path: Path) -> None:
    source = SyntheticJourneys(n_customers=20, days=100, seed=3)
    reads = []

    class Counting:
        name = source.name

        def check(self) -> None:
            source.check()

        def fingerprint(self) -> str:
            return source.fingerprint()

        def read(self, validation: ValidationSettings, quarantine_dir: Path) -> EventLog:
            reads.append(quarantine_dir)
            return source.read(validation, quarantine_dir)

    def prepare(encoding: EncodingSettings) -> SequenceStore:
        return prepare_store(
            Counting(),
            validation=ValidationSettings(),
            split=SPLIT,
            encoding=encoding,
            cache_dir=tmp_path,
        )

    first, second = prepare(ENCODING), prepare(ENCODING)
    assert len(reads) == 1
    assert first.fingerprint == second.fingerprint
    prepare(EncodingSettings(max_length=16))
    assert len(reads) == 2


def test_encoding_twice_gives_the_same_bytes(log: EventLog, tmp_path: Path) -> None:
    first = store_of(log, tmp_path / "a").fingerprint
    assert store_of(log, tmp_path / "b").fingerprint == first


@pytest.mark.parametrize("name", [*EventArrays.__dataclass_fields__, "about", "manifest"])
def test_a_flipped_bit_is_refused(log: EventLog, tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    write_store(path, log, SPLIT, ENCODING)
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
