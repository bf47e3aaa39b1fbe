"""A run that is asked when its gate has changed since: which part, and how to go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import torch

from seqmarket.data import prepare
from seqmarket.data.event_log import EventLog
from seqmarket.data.gate.gate import Gate, make_gate
from seqmarket.data.gate.ledger import Ledger
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.errors import SeqmarketError
from seqmarket.training.checkpoint import load_trained, save_atomically
from seqmarket.training.scoring import evaluate_run, score_customers

VARIABLE = "SEQMARKET_PSEUDONYM_KEY"
KEY, OTHER_KEY = "ab" * 32, "cd" * 32


class Shop(NamedTuple):
    """A run, the folder of its tables, its customers, and what its gate took for the present."""

    run: Any
    folder: Path
    people: pl.Series
    now: datetime

    def evaluate(self) -> None:
        evaluate_run(self.run.model_file, "test", with_baselines=False)


@pytest.fixture(scope="module")
def shop(
    trained: Callable[..., Any],
    read_log: Callable[..., EventLog],
    tmp_path_factory: pytest.TempPathFactory,
) -> Shop:
    """A baseline on a log, each of whose customers has two identifiers and has consented."""
    folder = tmp_path_factory.mktemp("tables")
    frame = read_log(SyntheticJourneys(n_customers=100)).frame.collect()
    now = frame["time"].min() + timedelta(days=60)
    row = pl.int_range(pl.len())
    of_device = pl.when(row % 2 == 0).then(pl.concat_str(pl.lit("device-"), "customer_id"))
    frame.with_columns(customer_id=of_device.otherwise("customer_id")).write_parquet(
        folder / "log.parquet"
    )
    people = frame["customer_id"].unique().sort()
    write_tables(folder, people)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        patch.setattr(prepare, "make_gate", partial(make_gate, now=now))
        run = trained(
            "model=majority",
            "task=churn",
            "data=files",
            f"data.path={folder / 'log.parquet'}",
            f"data.identity.path={folder / 'mapping.csv'}",
            f"data.privacy.consent.path={folder / 'consents.csv'}",
            "data.privacy.pseudonyms.enabled=true",
            "data.privacy.retention.keep=50d",
            f"data.privacy.ledger={folder / 'erasures.jsonl'}",
            drop=("model.", "data"),
        )
    return Shop(run, folder, people, now)


def write_tables(folder: Path, people: pl.Series, leave_out: str = "") -> None:
    """The mapping and the consents, without one customer in one of them."""
    for name, table in {
        "mapping": pl.DataFrame({"identifier": "device-" + people, "customer_id": people}),
        "consents": pl.DataFrame({"customer_id": people}).with_columns(
            purpose=pl.lit("analytics"),
            granted_at=pl.lit(None, pl.String),
            withdrawn_at=pl.lit(None, pl.String),
        ),
    }.items():
        (table[1:] if name == leave_out else table).write_csv(folder / f"{name}.csv")


@pytest.fixture
def changed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Changes a part of the gate; everything is as it was when the run was trained before."""
    people = shop.people
    write_tables(shop.folder, people)
    (shop.folder / "erasures.jsonl").unlink(missing_ok=True)
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setattr(prepare, "make_gate", partial(make_gate, now=shop.now))

    def change(part: str) -> None:
        if part == "identity":
            write_tables(shop.folder, people, leave_out="mapping")
        elif part == "consent":
            write_tables(shop.folder, people, leave_out="consents")
        elif part == "pseudonyms":
            monkeypatch.setenv(VARIABLE, OTHER_KEY)
        elif part == "retention":
            later = shop.now + timedelta(days=9)
            monkeypatch.setattr(prepare, "make_gate", partial(make_gate, now=later))
        elif part == "ledger":
            Ledger(shop.folder / "erasures.jsonl").enter([people[0]], 1)

    return change


SAID = {
    "identity": ("the mapping table of data.identity", "restore the mapping table"),
    "consent": ("the consent table of data.privacy.consent", "without those who do not consent"),
    "pseudonyms": ("the key of the pseudonyms (", "give the key that the run was trained with"),
    "retention": ("the moment that data.privacy.retention begins at (", "retention.as_of"),
    "ledger": ("the ledger of erasures (not there then)", "whose data were erased"),
}


def check_what_is_said(shop: Shop, *parts: str) -> None:
    with pytest.raises(SeqmarketError) as caught:
        shop.evaluate()
    error = caught.value
    assert "gate has changed since this run was trained, the log itself has not" in error.what
    for part, (name, remedy) in SAID.items():
        assert (name in error.what) == (part in parts)
        assert (remedy in (error.fix or "")) == (part in parts)
    assert not any(key in str(error) for key in (KEY, OTHER_KEY))


@pytest.mark.parametrize("part", SAID)
def test_the_part_that_has_changed_is_named(
    part: str, shop: Shop, changed: Callable[[str], None]
) -> None:
    shop.evaluate()
    changed(part)
    check_what_is_said(shop, part)


@pytest.mark.parametrize("part", SAID)
def test_mutant_that_does_not_record_a_part(
    part: str, shop: Shop, changed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Gate.parts
    trained = load_trained(shop.run.model_file).gate
    assert trained is not None
    monkeypatch.setattr(Gate, "parts", lambda gate: {**honest(gate), part: trained.parts.get(part)})
    changed(part)
    with pytest.raises(AssertionError):
        check_what_is_said(shop, part)


def test_several_parts_are_all_named(shop: Shop, changed: Callable[[str], None]) -> None:
    for part in ("consent", "ledger"):
        changed(part)
    check_what_is_said(shop, "consent", "ledger")


def test_both_moments_of_a_retention_are_shown(shop: Shop, changed: Callable[[str], None]) -> None:
    changed("retention")
    with pytest.raises(SeqmarketError) as caught:
        shop.evaluate()
    oldest = shop.now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=50)
    for moment in (oldest, oldest + timedelta(days=9)):
        assert moment.isoformat() in caught.value.what


def test_a_changed_log_is_told_from_a_changed_gate(
    shop: Shop, changed: Callable[[str], None]
) -> None:
    path = shop.folder / "log.parquet"
    content = path.read_bytes()
    frame = pl.read_parquet(path)
    frame.filter(pl.col("time") < frame["time"].max()).write_parquet(path)
    try:
        with pytest.raises(SeqmarketError) as caught:
            shop.evaluate()
        assert caught.value.what == "the log has changed since this run was trained"
        changed("consent")
        with pytest.raises(SeqmarketError, match=r"log has changed.*and so has the gate: what the"):
            shop.evaluate()
    finally:
        path.write_bytes(content)


def test_a_baseline_that_scores_another_log_says_it_too(
    shop: Shop, changed: Callable[[str], None], read_log: Callable[..., EventLog]
) -> None:
    changed("ledger")
    log = read_log(SyntheticJourneys(n_customers=20, seed=5))
    with pytest.raises(SeqmarketError, match="gate has changed since this run was trained"):
        score_customers(load_trained(shop.run.model_file), log, log.observed_until)


def test_a_run_of_an_earlier_version_recorded_no_gate(
    shop: Shop, changed: Callable[[str], None], tmp_path: Path
) -> None:
    content = torch.load(shop.run.model_file, weights_only=True)
    del content["seqmarket"]["gate"]
    save_atomically(content, tmp_path / "model.ckpt")
    old = shop._replace(run=shop.run._replace(folder=tmp_path))
    (tmp_path / "checkpoints").mkdir()
    save_atomically(content, old.run.model_file)
    old.evaluate()
    changed("consent")
    with pytest.raises(SeqmarketError, match="the log, or what the gate admits of it, has changed"):
        old.evaluate()


def test_the_record_of_a_run_says_what_its_gate_was(shop: Shop) -> None:
    (path,) = shop.run.folder.rglob("artifacts/gate.json")
    text = path.read_text()
    recorded = json.loads(text)
    trained = load_trained(shop.run.model_file).gate
    assert trained is not None
    assert recorded["told_apart_by"] == dict(trained.parts)
    assert set(trained.parts) == set(SAID) - {"ledger"}
    assert recorded["about"]["identity"]["identifiers"] == 100
    assert recorded["about"]["consent"]["customers"] == {"admitted": 100}
    everything = b"".join(
        file.read_bytes() for file in shop.run.folder.rglob("*") if file.is_file()
    )
    assert KEY.encode() not in everything
    assert bytes.fromhex(KEY) not in everything
    assert not any(name in text for name in shop.people)
