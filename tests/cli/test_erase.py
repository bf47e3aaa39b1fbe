"""Twenty planted customers, erased from all that a small run leaves; and what forgets one place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from seqmarket.cli.compose import load_plain
from seqmarket.cli.main import main
from seqmarket.data.erasure.scan import scan_for
from seqmarket.data.sealed import state
from seqmarket.training.config import parse_config

PLANTED = [f"planted-{number:04d}-x" for number in range(20)]
THEIRS = [f"gadget-of-{number:04d}" for number in range(20)] + ["carrier-pigeon"]
CHANNELS, DEVICES = ("web", "mail", "store"), ("phone", "desktop")


def planted_log() -> pl.DataFrame:
    """Each planted customer has a device of their own, and the first one a channel."""
    random = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for number, customer in enumerate([*PLANTED, *(f"customer-{n:04d}" for n in range(60))]):
        days = np.append(random.uniform(0, 240, 24), random.uniform(0, 120))
        for event, day in enumerate(days):
            time = datetime(2024, 1, 1) + timedelta(days=float(day))
            channel = CHANNELS[random.integers(3)]
            device = DEVICES[random.integers(2)]
            if customer in PLANTED and event % 3 == 0:
                device = THEIRS[number]
                channel = THEIRS[-1] if number == 0 else channel
            bought = random.random() < 0.3
            value = round(float(random.uniform(1, 99)), 2) if bought else None
            rows.append((customer, time, channel, "purchase" if bought else "touch", value, device))
        if number % 10 == 0:
            rows.append((customer, None, "web", "touch", None, "phone"))  # to be put aside
    names = ["customer_id", "time", "channel", "event_type", "value", "device"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A log, a run on it with MLflow beside, predictions written elsewhere, and a copy of all."""
    import yaml

    from seqmarket.training.run import run

    root = tmp_path_factory.mktemp("shop")
    planted_log().write_parquet(root / "log.parquet")
    (root / "who.txt").write_text("".join(f"{customer}\n" for customer in PLANTED))
    data = [
        "data=files",
        f"data.path={root / 'log.parquet'}",
        "data.categorical=[device]",
        "data.validation.policy=quarantine",
        "data.split.train_fraction=0.6",
        "data.split.validation_fraction=0.2",
        f"data.privacy.ledger={root / 'erasures.jsonl'}",
        f"paths.output_dir={root / 'out'}",
        f"paths.cache_dir={root / 'cache'}",
        f"tracking.root={root}",
    ]
    model = [
        "model=transformer",
        "model.d_model=16",
        "debug=fast",
        "training.threads=1",
        "~model@baselines.gbdt",
        "~model@baselines.markov",
    ]
    plain = load_plain([*data, *model])
    run_dir = root / "out" / "run"
    run(parse_config(plain), run_dir=run_dir, overrides=model, resolved_yaml=yaml.safe_dump(plain))
    scores = root / "elsewhere" / "scores.parquet"
    assert main(["predict", str(run_dir), "--output", str(scores), *data[-3:]]) == 0
    places = ["cache", "out", "mlartifacts", "elsewhere", "mlflow.db"]
    saved = root / "saved"
    saved.mkdir()
    for name in places:
        copy(root / name, saved / name)
    return SimpleNamespace(root=root, data=data, run_dir=run_dir, places=places, saved=saved)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


@pytest.fixture
def place(shop: SimpleNamespace) -> SimpleNamespace:
    """The shop as it was before any erasure."""
    for ledger in shop.root.glob("erasures*"):
        ledger.unlink()
    for name in shop.places:
        if name.endswith(".db"):  # MLflow keeps it open
            with (
                closing(sqlite3.connect(shop.saved / name)) as saved,
                closing(sqlite3.connect(shop.root / name)) as database,
            ):
                saved.backup(database)
        else:
            shutil.rmtree(shop.root / name)
            copy(shop.saved / name, shop.root / name)
    return shop


@pytest.fixture
def erase(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def command(*more: str) -> tuple[int, str]:
        also = ["--also", str(place.root / "elsewhere")]
        customers = [] if more else ["--customers", str(place.root / "who.txt")]
        code = main(["erase", *customers, *also, *place.data, *more])
        return code, capsys.readouterr().out

    return command


def left(place: SimpleNamespace, wanted: list[str]) -> set[str]:
    """Where something is left, by the first folder below the root."""
    roots = [place.root / name for name in place.places]
    found = scan_for(wanted, roots)
    return {item.file.relative_to(place.root).parts[0] for item in found}


def test_before_the_erasure_they_are_everywhere(place: SimpleNamespace) -> None:
    assert left(place, PLANTED) == {"cache", "elsewhere"}
    assert left(place, THEIRS) == {"cache", "elsewhere", "out", "mlartifacts"}


def test_nothing_is_left_and_the_ledger_names_nobody(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    source = (place.root / "log.parquet").read_bytes()
    code, out = erase()
    assert code == 0, out
    assert "scan of every file: nothing found" in out
    assert not any(name in out for name in PLANTED)
    assert left(place, [*PLANTED, *THEIRS]) == set()
    assert (place.root / "log.parquet").read_bytes() == source
    lines = (place.root / "erasures.jsonl").read_text().splitlines()
    assert not any(name in line for name in PLANTED for line in lines)
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


def test_the_others_keep_what_they_had(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    predictions = [
        place.run_dir / "predictions.parquet",
        *(place.root / "mlartifacts").rglob("predictions.parquet"),
    ]
    before = [pl.read_parquet(path) for path in predictions]
    scores = pl.read_parquet(place.root / "elsewhere" / "scores.parquet")
    ids = ids_of(place.root)
    weights = torch.load(place.run_dir / "checkpoints" / "model.ckpt", weights_only=True)
    assert erase()[0] == 0
    are_intact(place)

    kept = ids_of(place.root)
    assert kept == [name for name in ids if name not in PLANTED]
    for path, table in zip(predictions, before, strict=True):
        named = table.with_columns(pl.Series(ids).gather(table["customer"]).alias("who"))
        after = pl.read_parquet(path)
        again = after.with_columns(pl.Series(kept).gather(after["customer"]).alias("who"))
        wanted = named.filter(~pl.col("who").is_in(PLANTED))
        assert again.drop("customer", "predicted").equals(wanted.drop("customer", "predicted"))
    after = pl.read_parquet(place.root / "elsewhere" / "scores.parquet")
    wanted = scores.filter(~pl.col("customer_id").is_in(PLANTED))
    assert after.equals(wanted.drop(f"next_channel_probability_{THEIRS[-1]}"))
    content = torch.load(place.run_dir / "checkpoints" / "model.ckpt", weights_only=True)
    for name, tensor in weights["state_dict"].items():
        assert torch.equal(content["state_dict"][name], tensor)
    for name in ("channel", "event_type"):
        old, new = (item["seqmarket"]["spec"][name]["categories"] for item in (weights, content))
        assert len(set(new)) == len(old)
        assert all(a == b or a in THEIRS for a, b in zip(old, new, strict=True))


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


def ids_of(root: Path) -> list[str]:
    from seqmarket.data.store import open_store

    (path,) = (root / "cache" / "stores").glob("[!.]*")
    return open_store(path).customer_ids().to_list()


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
    assert left(place, [*PLANTED, *THEIRS]) == set()


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
    kept = ids_of(place.root)
    assert not set(kept) & {*more, *PLANTED}
    table = pl.read_parquet(place.run_dir / "predictions.parquet")
    saved = pl.read_parquet(place.saved / "out" / "run" / "predictions.parquet")
    old = [name for name in ids_of(place.saved) if name not in {*more, *PLANTED}]
    assert old == kept
    named = saved.with_columns(
        pl.Series(ids_of(place.saved)).gather(saved["customer"]).alias("who")
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
    assert not any(name in out for name in PLANTED)


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
    assert left(place, THEIRS) >= {"out", "mlartifacts"}


def test_pages_that_sqlite_has_freed_are_found_and_written_anew(
    place: SimpleNamespace,
    erase: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sqlite3.connect(place.root / "mlflow.db") as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE notes (text TEXT)")
        database.executemany("INSERT INTO notes VALUES (?)", [(f"{PLANTED[0]} called",)] * 500)
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
    assert left(place, [*PLANTED, *THEIRS]) == set()
    marker = json.loads((place.run_dir / "to_be_retrained.json").read_text())
    assert (marker["customers"], marker["earlier"]) == (20, 0)
    rows = pl.read_parquet(place.run_dir / "predictions.parquet")
    artifact = place.run_dir / "tracking" / "artifacts" / "results" / "predictions.parquet"
    assert rows.equals(pl.read_parquet(artifact))
    hidden = [item.name for item in place.root.rglob(".*")]
    assert not [name for name in hidden if "building" in name or "erasing" in name]


def test_what_only_the_user_can_do_is_said(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    mirrors = place.run_dir / "tracking" / "mirrors.json"
    known = json.loads(mirrors.read_text())
    mirrors.write_text(json.dumps({**known, "http://127.0.0.1:9": {"run_id": "abc"}}))
    with sqlite3.connect(place.root / "mlflow.db") as database:
        database.execute("UPDATE runs SET artifact_uri = 's3://bucket/artifacts'")
    code, out = erase()
    assert code == 1
    assert "seqmarket sync" in out
    assert "s3://bucket/artifacts" in out


def held_of(place: SimpleNamespace, customer: str) -> dict[str, Any]:
    """What `inspect` writes."""
    output = place.root / "held.json"
    assert main(["inspect", "--customer", customer, "--output", str(output), *place.data]) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    output.unlink()
    return found


def check_artifacts_are_shown(place: SimpleNamespace) -> None:
    artifacts = sorted((place.root / "mlartifacts").rglob("predictions.parquet"))
    assert artifacts
    shown = {item["place"]: item["rows"] for item in held_of(place, PLANTED[0])["predictions"]}
    number = ids_of(place.root).index(PLANTED[0])
    for path in artifacts:
        theirs = pl.read_parquet(path).filter(customer=number)
        assert len(shown[str(path)]) == len(theirs) > 0


def test_the_artifacts_in_mlflow_are_inspected(
    place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_of(place, PLANTED[0])
    assert held["not_looked_at"] == []
    models = [item["run"] for item in held["models_trained_on_them"]]
    assert str(place.run_dir) in models
    assert any(run.startswith(str(place.root / "mlartifacts")) for run in models)
    check_artifacts_are_shown(place)
    # They are there, too, when the run's own folder is not.
    place.run_dir.rename(place.root / "elsewhere" / "run")
    check_artifacts_are_shown(place)
    # A mutant that looks below the run folders only.
    monkeypatch.setattr("seqmarket.training.access.recorded_runs", lambda _: [])
    with pytest.raises(KeyError):
        check_artifacts_are_shown(place)


def test_after_an_erasure_the_artifacts_show_nothing(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    assert erase()[0] == 0
    held = held_of(place, PLANTED[0])
    assert held["predictions"] == held["models_trained_on_them"] == []


def test_what_cannot_be_inspected_from_here_is_said(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    mirrors = place.run_dir / "tracking" / "mirrors.json"
    known = json.loads(mirrors.read_text())
    mirrors.write_text(json.dumps({**known, "http://who:secret@127.0.0.1:9": {"run_id": "abc"}}))
    with sqlite3.connect(place.root / "mlflow.db") as database:
        database.execute("UPDATE runs SET artifact_uri = 's3://bucket/artifacts'")
    server, artifacts = held_of(place, PLANTED[0])["not_looked_at"]
    assert server == "the MLflow server at http://127.0.0.1:9"
    assert artifacts.endswith("s3://bucket/artifacts")
    out = capsys.readouterr().out
    assert "not looked at, as it is not on this machine: the MLflow server" in out
    # Of somebody whom the store is known not to hold, only the server is not known.
    assert held_of(place, "nobody-at-all")["not_looked_at"] == [server]
