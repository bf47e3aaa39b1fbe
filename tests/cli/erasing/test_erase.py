"""Twenty planted customers, erased from all that a small run leaves; and what forgets one place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from seqmarket.cli.main import main
from seqmarket.data.erasure.scan import scan_for
from seqmarket.data.sealed import state
from seqmarket.training.checkpoint import save_atomically
from seqmarket.training.embedding import Embeddings, write_embeddings
from seqmarket.training.pretraining import PRETRAINED


def left(place: SimpleNamespace, wanted: list[str]) -> set[str]:
    """Where something is left, by the first folder below the root."""
    roots = [place.root / name for name in place.places]
    found = scan_for(wanted, roots)
    return {item.file.relative_to(place.root).parts[0] for item in found}


def test_before_the_erasure_they_are_everywhere(place: SimpleNamespace) -> None:
    assert left(place, place.planted) == {"cache", "elsewhere"}
    assert left(place, place.theirs) == {"cache", "elsewhere", "out", "mlartifacts"}


def test_nothing_is_left_and_the_ledger_names_nobody(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    source = (place.root / "log.parquet").read_bytes()
    code, out = erase()
    assert code == 0, out
    assert "scan of every file: nothing found" in out
    assert not any(name in out for name in place.planted)
    assert left(place, [*place.planted, *place.theirs]) == set()
    assert (place.root / "log.parquet").read_bytes() == source
    lines = (place.root / "erasures.jsonl").read_text().splitlines()
    assert not any(name in line for name in place.planted for line in lines)
    assert json.loads(lines[1])["customers"] == 20
    assert json.loads(lines[2])["left"] == 0

    marker = json.loads((place.run_dir / "to_be_retrained.json").read_text())
    assert (marker["customers"], marker["earlier"]) == (20, 0)
    with sqlite3.connect(place.root / "mlflow.db") as database:
        tags = dict(database.execute("SELECT key, value FROM tags"))
    assert tags["seqmarket.to_be_retrained"].endswith("20 of its customers erased")

    code, out = erase()
    assert (code, "nothing had to be removed" in out) == (0, True)
    assert json.loads((place.run_dir / "to_be_retrained.json").read_text()) == marker


def test_pretrained_encoders_and_embeddings_are_cleaned(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    facts = torch.load(place.run_dir / "checkpoints" / "model.ckpt", weights_only=True)["seqmarket"]
    encoder = place.run_dir / "checkpoints" / PRETRAINED
    save_atomically({"seqmarket": facts, "encoder": {}, "until": 7}, encoder)
    states = place.root / "elsewhere" / "states.parquet"
    ids = place.ids(place.root)
    table = pl.DataFrame({"customer_id": ids, "e0": range(len(ids))})
    write_embeddings(Embeddings(table, 0), states)
    assert any(text.encode() in encoder.read_bytes() for text in place.theirs)
    assert erase()[0] == 0
    assert left(place, [*place.planted, *place.theirs]) == set()
    content = torch.load(encoder, weights_only=True)
    assert (content["until"], content["seqmarket"] == facts) == (7, False)
    kept = table.filter(~pl.col("customer_id").is_in(place.planted))
    assert pl.read_parquet(states).equals(kept)


def test_the_others_keep_what_they_had(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    predictions = [
        place.run_dir / "predictions.parquet",
        *(place.root / "mlartifacts").rglob("predictions.parquet"),
    ]
    before = [pl.read_parquet(path) for path in predictions]
    scores = pl.read_parquet(place.root / "elsewhere" / "scores.parquet")
    ids = place.ids(place.root)
    weights = torch.load(place.run_dir / "checkpoints" / "model.ckpt", weights_only=True)
    assert erase()[0] == 0
    are_intact(place)

    kept = place.ids(place.root)
    assert kept == [name for name in ids if name not in place.planted]
    for path, table in zip(predictions, before, strict=True):
        named = table.with_columns(pl.Series(ids).gather(table["customer"]).alias("who"))
        after = pl.read_parquet(path)
        again = after.with_columns(pl.Series(kept).gather(after["customer"]).alias("who"))
        wanted = named.filter(~pl.col("who").is_in(place.planted))
        assert again.drop("customer", "predicted").equals(wanted.drop("customer", "predicted"))
    after = pl.read_parquet(place.root / "elsewhere" / "scores.parquet")
    wanted = scores.filter(~pl.col("customer_id").is_in(place.planted))
    assert after.equals(wanted.drop(f"next_channel_probability_{place.theirs[-1]}"))
    content = torch.load(place.run_dir / "checkpoints" / "model.ckpt", weights_only=True)
    for name, tensor in weights["state_dict"].items():
        assert torch.equal(content["state_dict"][name], tensor)
    for name in ("channel", "event_type"):
        old, new = (item["seqmarket"]["spec"][name]["categories"] for item in (weights, content))
        assert len(set(new)) == len(old)
        assert all(a == b or a in place.theirs for a, b in zip(old, new, strict=True))


def are_intact(place: SimpleNamespace) -> None:
    """Every file has its digest: that of what is left, and of nothing before."""
    for folder, file in (
        (place.run_dir, "predictions.parquet"),
        (place.run_dir / "checkpoints", "model.ckpt"),
        (place.run_dir / "tracking" / "artifacts", "results/predictions.parquet"),
        (place.run_dir / "tracking" / "artifacts", "checkpoints/model.ckpt"),
        (place.root / "elsewhere", "scores.parquet"),
    ):
        assert state(folder / file) == "intact"
    digests = [
        path
        for name in ("out", "elsewhere", "mlartifacts")
        for path in (place.root / name).rglob("*.sha256")
    ]
    assert len(digests) >= 7
    for path in digests:
        assert state(path.with_suffix("")) == "intact"
        assert len(path.read_text().splitlines()) == 1


def test_reading_the_source_again_does_not_bring_them_back(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    assert erase()[0] == 0
    cache = place.root / "cache"
    (erased,) = (cache / "stores").glob("[!.]*")
    digests = content_digests(cache)
    assert main(["prepare", *place.data]) == 0
    assert [path.name for path in (cache / "stores").glob("[!.]*")] == [erased.name]
    shutil.rmtree(cache)
    assert main(["prepare", *place.data]) == 0
    # The log and the store without them are, to the bit, what the source gives now.
    assert content_digests(cache) == digests
    assert left(place, [*place.planted, *place.theirs]) == set()


def content_digests(cache: Path) -> dict[str, str]:
    found = {}
    for manifest in cache.rglob("manifest.json"):
        for name, digest in json.loads(manifest.read_text())["files"].items():
            is_log = manifest.parent.parent.name == "logs"
            content = (".shard", ".npz") if is_log else (".npy", "about.json")
            if name.endswith(content):
                found[f"{manifest.parent.name}/{name}"] = digest
    assert len(found) > 10
    return found


@pytest.mark.slow
def test_a_second_erasure_counts_in_what_the_first_one_left(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    assert erase()[0] == 0
    more = ["customer-0003", "customer-0004"]
    code, out = erase("--customer", *more)
    assert code == 0, out
    marker = json.loads((place.run_dir / "to_be_retrained.json").read_text())
    assert (marker["customers"], marker["earlier"]) == (2, 20)
    kept = place.ids(place.root)
    assert not set(kept) & {*more, *place.planted}
    table = pl.read_parquet(place.run_dir / "predictions.parquet")
    saved = pl.read_parquet(place.saved / "out" / "run" / "predictions.parquet")
    old = [name for name in place.ids(place.saved) if name not in {*more, *place.planted}]
    assert old == kept
    named = saved.with_columns(
        pl.Series(place.ids(place.saved)).gather(saved["customer"]).alias("who")
    )
    wanted = named.filter(pl.col("who").is_in(kept))["who"].to_list()
    assert pl.Series(kept).gather(table["customer"]).to_list() == wanted


FORGETFUL = {
    "logs": ("seqmarket.training.erasure.logs", lambda _: []),
    "stores": ("seqmarket.training.erasure.stores", lambda _: []),
    "rows put aside": ("seqmarket.training.erasure.erase_quarantine", lambda *_: 0),
    "other tables": ("seqmarket.training.erasure.erase_rows", lambda *_: 0),
}


@pytest.mark.parametrize("forgotten", FORGETFUL)
def test_a_place_that_is_forgotten_is_found(
    place: SimpleNamespace,
    erase: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    forgotten: str,
) -> None:
    """Mutants: the same command without one of its steps."""
    monkeypatch.setattr(*FORGETFUL[forgotten])
    if forgotten == "other tables":
        monkeypatch.setattr("seqmarket.training.run_files.erase_rows", lambda *_: 0)
    code, out = erase()
    assert code == 1
    assert "found in" in out
    assert not any(name in out for name in place.planted)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["_erase_categories", "_rename_in_text"])
def test_a_category_that_is_forgotten_in_a_run_is_found(
    place: SimpleNamespace,
    erase: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    monkeypatch.setattr(f"seqmarket.training.run_files.{step}", lambda *_: 0)
    assert erase()[0] == 1
    assert left(place, place.theirs) >= {"out", "mlartifacts"}


def test_pages_that_sqlite_has_freed_are_found_and_written_anew(
    place: SimpleNamespace,
    erase: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sqlite3.connect(place.root / "mlflow.db") as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE notes (text TEXT)")
        database.executemany(
            "INSERT INTO notes VALUES (?)", [(f"{place.planted[0]} called",)] * 500
        )
        database.commit()
        database.execute("DELETE FROM notes")
        database.commit()
    with monkeypatch.context() as mutant:
        mutant.setattr("seqmarket.training.erasure.compact", lambda _: None)
        code, out = erase()
        assert (code, "mlflow.db" in out) == (1, True)
    assert erase()[0] == 0


class Killed(BaseException):
    pass


KILLS = [
    "erasure.hold",
    "erasure.erase_from_store",
    "erasure.erase_quarantine",
    "erasure.tag_run",
    "erasure.write_atomic",
    "erasure.scan_for",
    "run_files.write_checkpoint",
    "run_files.write_table",
]


@pytest.mark.slow
@pytest.mark.parametrize("step", KILLS)
def test_killed_in_the_middle_it_goes_on(
    place: SimpleNamespace,
    erase: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Killed before its second call of a step, or its first where there is one only."""
    target = f"seqmarket.training.{step}"
    module = __import__(target.rpartition(".")[0], fromlist=["it"])
    original, calls = getattr(module, step.partition(".")[2]), []

    def dies(*arguments: Any, **more: Any) -> Any:
        calls.append(step)
        if len(calls) == 2 or step.startswith("erasure"):
            raise Killed
        return original(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(target, dies)
        with pytest.raises(Killed):
            erase()
    code, out = erase()
    assert code == 0, out
    are_intact(place)
    assert left(place, [*place.planted, *place.theirs]) == set()
    marker = json.loads((place.run_dir / "to_be_retrained.json").read_text())
    assert (marker["customers"], marker["earlier"]) == (20, 0)
    rows = pl.read_parquet(place.run_dir / "predictions.parquet")
    artifact = place.run_dir / "tracking" / "artifacts" / "results" / "predictions.parquet"
    assert rows.equals(pl.read_parquet(artifact))
    hidden = [item.name for item in place.root.rglob(".*")]
    assert not [name for name in hidden if "building" in name or "erasing" in name]


def test_what_only_the_user_can_do_is_said(
    place: SimpleNamespace,
    copies_elsewhere: Callable[[SimpleNamespace], None],
    erase: Callable[..., tuple[int, str]],
) -> None:
    copies_elsewhere(place)
    code, out = erase()
    assert code == 1
    assert "seqmarket sync" in out
    assert "s3://bucket/artifacts" in out
