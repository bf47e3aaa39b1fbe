"""`prepare`, `evaluate` and `predict` from the outside: what is said and written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from seqmarket.cli.predict import _data_config
from seqmarket.training.checkpoint import load_trained

FEATURES = [
    "data.categorical=[device]",
    "data.numeric=[pages]",
    "data.static_categorical=[segment]",
]


@pytest.fixture(scope="module")
def log(gru_run, read_log) -> pl.DataFrame:
    """The log of the run as a table that a user might have, the segment in every row."""
    from seqmarket.training.checkpoint import load_trained
    from seqmarket.training.instantiate import build

    read = read_log(build(load_trained(gru_run.model_file).config.data.source))
    return read.frame.collect().join(read.static.collect(), on="customer_id", how="left")


@pytest.fixture
def csv_file(log: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    log.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    return path


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return [f"paths.output_dir={tmp_path / 'out'}", f"paths.cache_dir={tmp_path / 'cache'}"]


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path: Path) -> Iterator[None]:
    """No command leaves a hidden or half-written file, but for the cache and its locks."""
    yield
    left = [
        path
        for path in below(tmp_path)
        if any(part.startswith(".") or ".writing" in part for part in path.parts)
    ]
    assert left == []


def below(folder: Path) -> list[Path]:
    """All that is there, but for locks; below the default cache, relative to that."""
    cache = folder / ".cache" / "seqmarket"
    return [
        path.relative_to(cache if path.is_relative_to(cache) else folder)
        for path in sorted(folder.rglob("*"))
        if path.suffix != ".lock" and not cache.is_relative_to(path)
    ]


def cells(line: str) -> tuple[str, str]:
    """The two columns of a line of the report."""
    _, *columns = map(str.strip, line.split("│"))
    return (columns[0], columns[1]) if len(columns) == 3 else ("", "")


def test_prepare_says_what_is_in_the_log(seqmarket, log, csv_file, places, tmp_path) -> None:
    report = tmp_path / "new" / "report.json"
    arguments = ["prepare", "data=files", f"data.path={csv_file}", *FEATURES, *places]
    code, out, err = seqmarket([*arguments, "--report", str(report)])
    assert code == 0, err
    written = json.loads(report.read_text())
    assert written["rows_in"] == written["kept"] == len(log)
    assert f"{len(log):,}" in out
    shown = {key: text for key, text in map(cells, out.splitlines()) if key}
    counts = {labels["task"]: labels["counts"] for labels in written["labels"]}
    assert set(counts) == {"next_channel", "time_to_next", "purchase", "churn", "value"}
    for task, of_task in counts.items():
        for fold in ("train", "validation", "test"):
            rows = sum(count["rows"] for count in of_task if count["fold"] == fold)
            assert rows > 0
            assert shown[f"{task}, {fold}"].startswith(f"{rows:,} rows")
            by_window = task in ("purchase", "churn", "value")
            assert ("positive" in shown[f"{task}, {fold}"]) == by_window
    page = Path(out.rpartition("report: ")[2].splitlines()[0])
    assert page.parent == tmp_path / "out" / "data"
    assert page.read_text().startswith("<!doctype html>")
    store = Path(out.rpartition("encoded store: ")[2].strip())
    assert store.parent == tmp_path / "cache" / "stores"
    assert (store / "manifest.json").is_file()


def test_prepare_counts_no_rows_where_a_period_is_too_short(seqmarket, places) -> None:
    arguments = ["prepare", "data=synthetic", "data.n_customers=20", "data.days=60", *places]
    code, out, _ = seqmarket(arguments)
    assert code == 0
    shown = dict(map(cells, out.splitlines()))
    assert shown["churn, test"].startswith("0 rows at 0 cutoffs")


def with_a_fault(csv_file: Path) -> Path:
    """Line 7 of the file loses its customer."""
    lines = csv_file.read_text().splitlines(keepends=True)
    _, _, rest = lines[6].partition(",")
    lines[6] = f",{rest}"
    csv_file.write_text("".join(lines))
    return csv_file


@pytest.mark.parametrize("verb", ["prepare", "predict", "train"])
def test_a_row_without_a_customer_is_named(
    seqmarket, gru_run, csv_file, places, tmp_path, verb
) -> None:
    with_a_fault(csv_file)
    before = csv_file.read_bytes()
    own = {
        "prepare": ["--report", "report.json"],
        "predict": [str(gru_run.folder), "--output", "scores.parquet"],
        "train": ["tracking=off", "training.threads=1"],
    }[verb]
    code, _, err = seqmarket([verb, *own, "data=files", f"data.path={csv_file}", *places])
    assert code == 2
    assert "'customer_id' is missing" in err
    assert f"{csv_file}, line 7, column 'customer_id'" in err
    assert "data.validation.policy=quarantine" in err
    assert "Traceback" not in err
    assert csv_file.read_bytes() == before
    if verb != "train":  # which keeps a record of the failed run
        files = [path for path in below(tmp_path) if (tmp_path / path).is_file()]
        assert files == [Path(csv_file.name)]


def test_the_row_can_be_set_aside(seqmarket, log, csv_file, places, tmp_path) -> None:
    with_a_fault(csv_file)
    arguments = ["prepare", "data=files", f"data.path={csv_file}", *places]
    code, _, _ = seqmarket(
        [*arguments, "data.validation.policy=quarantine", "--report", "report.json"]
    )
    assert code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["quarantined"], report["kept"]) == (1, len(log) - 1)
    assert Path(report["quarantine_path"]).is_file()


def test_evaluate_repeats_the_metrics_of_the_run(seqmarket, gru_run, tmp_path) -> None:
    output = tmp_path / "new" / "metrics.json"
    code, out, _ = seqmarket(["evaluate", str(gru_run.folder), "--output", str(output)])
    assert code == 0
    recorded = gru_run.folder / "tracking" / "artifacts" / "results" / "metrics.json"
    assert json.loads(output.read_text()) == json.loads(recorded.read_text())
    assert "next_channel" in out
    assert "rfm_logistic" in out


def test_evaluate_on_another_fold(seqmarket, gru_run, tmp_path) -> None:
    rows = {}
    for fold in ("test", "validation"):
        file = tmp_path / f"{fold}.json"
        arguments = ["evaluate", str(gru_run.folder), "--fold", fold, "--no-baselines"]
        assert seqmarket([*arguments, "--output", str(file)]).code == 0
        rows[fold] = json.loads(file.read_text())
    assert {row["model"] for row in rows["validation"]} == {"gru"}
    assert len(rows["test"]) == len(rows["validation"])
    assert rows["test"] != rows["validation"]


def test_a_run_is_found_by_folder_file_or_as_the_last(seqmarket, gru_run, tmp_path) -> None:
    found = []
    for run, more in (
        (str(gru_run.folder), []),
        (str(gru_run.folder / "checkpoints"), []),
        (str(gru_run.model_file), []),
        ("last", gru_run.places),
    ):
        file = tmp_path / "metrics.json"
        code, _, err = seqmarket(["evaluate", run, *more, "--no-baselines", "--output", str(file)])
        assert code == 0, err
        found.append(file.read_text())
    assert len(set(found)) == 1


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("0123456789abcdef", "no run '0123456789abcdef'"),
        ("outputs/nothing", "there is no such file or run folder"),
        ("nothing.ckpt", "there is no such file or run folder"),
        ("last", "no run has finished yet"),
        ("empty", "this run has no model yet"),
        ("notes.txt", "this is not a checkpoint of seqmarket"),
    ],
)
def test_an_unknown_run_is_a_clear_mistake(seqmarket, tmp_path, verb, run, said) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing to load")
    before = sorted(tmp_path.rglob("*"))
    own = ["--output", "scores.parquet"] if verb == "predict" else []
    code, _, err = seqmarket([verb, run, *own])
    assert code == 2
    assert said in err
    assert "fix:" in err
    assert "Traceback" not in err
    # Looking for a run makes no database.
    assert sorted(tmp_path.rglob("*")) == before


def predict(seqmarket, run, output: Path, *more: str) -> pl.DataFrame:
    code, out, err = seqmarket(["predict", str(run.folder), "--output", str(output), *more])
    assert code == 0, err
    table = pl.read_parquet(output)
    assert out.startswith(f"{len(table)} customers scored as of ")
    return table


def test_predict_scores_every_customer(seqmarket, gru_run, log, tmp_path) -> None:
    table = predict(seqmarket, gru_run, tmp_path / "new" / "scores.parquet")
    assert table["customer_id"].to_list() == log["customer_id"].unique().sort().to_list()
    assert table["last_event_time"].max() == log["time"].max()
    assert {"churn_probability", "purchase_asked", "next_channel"} <= set(table.columns)
    assert {"time_to_next_days_50", "value_expected", "value_median"} <= set(table.columns)


def test_predict_as_of_a_day_says_whom_it_left_out(seqmarket, gru_run, log, tmp_path) -> None:
    arguments = ["predict", str(gru_run.folder), "--output", "a.parquet", "--as-of", "2024-03-01"]
    code, out, _ = seqmarket(arguments)
    assert code == 0
    everybody = log["customer_id"].n_unique()
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert "as of 2024-03-01 00:00 UTC" in out
    assert f"{everybody - len(table)} left out who have no event by then" in out
    assert 0 < len(table) < everybody


def test_predict_on_files_equals_predict_on_the_own_log(
    seqmarket, gru_run, log, csv_file, places, tmp_path
) -> None:
    as_of = ("--as-of", "2024-05-01T06:30:00")
    own = predict(seqmarket, gru_run, tmp_path / "own.parquet", *as_of)
    parquet = tmp_path / "log.parquet"
    log.write_parquet(parquet)
    for file in (csv_file, parquet):
        others = ["data=files", f"data.path={file}", *FEATURES, *places]
        table = predict(seqmarket, gru_run, tmp_path / "other.parquet", *as_of, *others)
        assert_frame_equal(table, own, check_exact=True)


def test_predict_changes_a_key_of_the_own_log(seqmarket, gru_run, tmp_path) -> None:
    few = predict(seqmarket, gru_run, tmp_path / "few.parquet", "data.n_customers=7")
    assert len(few) == 7


def test_predict_names_an_unknown_key_of_the_log(seqmarket, gru_run) -> None:
    arguments = ["predict", str(gru_run.folder), "--output", "a.parquet"]
    code, _, err = seqmarket([*arguments, "+data.foo=5"])
    assert code == 2
    assert "data.foo: no such setting" in err
    code, _, err = seqmarket([*arguments, "~data.days"])
    assert code == 2
    assert "'~data.days': nothing can be taken away" in err


@pytest.mark.parametrize("output", ["file/below/x", "folder"])
@pytest.mark.parametrize(
    "verb",
    [["prepare", "data=synthetic", "--report"], ["evaluate", "--output"], ["predict", "--output"]],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    seqmarket, gru_run, monkeypatch, tmp_path, verb, output
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for work in ("training.scoring.evaluate_run", "training.scoring.score_customers"):
        monkeypatch.delattr(f"seqmarket.{work}")
    monkeypatch.delattr("seqmarket.training.run.open_data")
    run = [] if verb[0] == "prepare" else [str(gru_run.folder)]
    code, _, err = seqmarket([*verb, output, *run])
    assert code == 2
    assert "cannot write: " in err
    assert output.partition("/")[0] in err


def test_a_cache_that_cannot_be_written(seqmarket, tmp_path) -> None:
    (tmp_path / "file").touch()
    code, _, err = seqmarket(["prepare", "data=synthetic", "paths.cache_dir=file"])
    assert code == 2
    assert "cannot write: " in err


@pytest.mark.parametrize("left_out", FEATURES)
def test_predict_names_a_feature_that_is_not_there(
    seqmarket, gru_run, csv_file, places, tmp_path, left_out
) -> None:
    declared = [item for item in FEATURES if item != left_out]
    arguments = ["predict", str(gru_run.folder), "--output", "scores.parquet", *places]
    code, _, err = seqmarket([*arguments, "data=files", f"data.path={csv_file}", *declared])
    assert code == 2
    key, _, feature = left_out.partition("=")
    assert f"the model reads the feature '{feature.strip('[]')}'" in err
    assert key in err
    assert sorted(tmp_path.iterdir()) == [tmp_path / "cache", csv_file]


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("yesterday", "'yesterday' is not a date or time"),
        ("1999-01-01", "no customer has an event at or before 1999-01-01"),
    ],
)
def test_predict_as_of_no_such_moment(seqmarket, gru_run, tmp_path, moment, said) -> None:
    (tmp_path / "scores.parquet").write_bytes(b"yesterday's")
    code, _, err = seqmarket(
        ["predict", str(gru_run.folder), "--output", "scores.parquet", "--as-of", moment]
    )
    assert code == 2
    assert said in err
    assert "--as-of" in err
    assert (tmp_path / "scores.parquet").read_bytes() == b"yesterday's"


def test_a_failed_write_leaves_yesterdays_scores(seqmarket, gru_run, tmp_path, monkeypatch) -> None:
    def half(frame: pl.DataFrame, file: Path) -> None:
        file.write_bytes(b"PAR1 half of")
        raise OSError(28, "No space left on device")

    (tmp_path / "scores.parquet").write_bytes(b"yesterday's")
    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    code, _, err = seqmarket(["predict", str(gru_run.folder), "--output", "scores.parquet"])
    assert code == 2
    assert "cannot write: No space left on device" in err
    assert (tmp_path / "scores.parquet").read_bytes() == b"yesterday's"


def test_a_run_whose_own_model_is_a_baseline(seqmarket, logistic_run, tmp_path) -> None:
    file = tmp_path / "metrics.json"
    arguments = ["evaluate", str(logistic_run.folder), "--output", str(file)]
    assert seqmarket(arguments).code == 0
    recorded = logistic_run.folder / "tracking" / "artifacts" / "results" / "metrics.json"
    assert json.loads(file.read_text()) == json.loads(recorded.read_text())
    table = predict(seqmarket, logistic_run, tmp_path / "scores.parquet")
    assert table["churn_probability"].is_between(0, 1).all()
    assert not any(name.startswith("next_channel") for name in table.columns)


def test_identifiers_are_in_the_scores_only(seqmarket, gru_run, log, tmp_path, caplog) -> None:
    with caplog.at_level("DEBUG", logger="seqmarket"):
        _, out, err = seqmarket(
            ["predict", str(gru_run.folder), "--output", "scores.parquet", "--as-of", "2024-05-01"]
        )
    who = log["customer_id"][0]
    assert who in pl.read_parquet(tmp_path / "scores.parquet")["customer_id"]
    assert who not in out + err + caplog.text


@pytest.mark.parametrize("verb", ["prepare", "evaluate", "predict"])
def test_every_verb_explains_itself(seqmarket, capsys, verb) -> None:
    with pytest.raises(SystemExit) as leaving:
        seqmarket([verb, "--help"])
    assert leaving.value.code == 0
    assert f"seqmarket {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["prepare", "evaluate", "predict"])
def test_arguments_that_mean_nothing_are_refused(seqmarket, verb) -> None:
    own = {"prepare": [], "evaluate": ["last"], "predict": ["last", "--output", "a"]}[verb]
    code, _, err = seqmarket([verb, *own, "--fast"])
    assert code == 2
    assert f"'--fast' is neither an option of {verb} nor an override" in err


def test_predict_on_another_log_keeps_who_may_be_used(gru_run) -> None:
    plain = copy.deepcopy(dict(load_trained(gru_run.model_file).plain_config))
    plain["data"]["privacy"]["retention"]["keep"] = "30d"
    plain["data"]["identity"]["path"] = "identities.csv"
    other = ["data=files", "data.path=other.csv"]
    kept = _data_config(plain, other)
    assert kept.options["path"] == "other.csv"
    assert kept.privacy.retention.keep == timedelta(days=30)
    assert kept.identity.path == "identities.csv"
    said = _data_config(plain, [*other, "data.privacy.retention.keep=60d"])
    assert said.privacy.retention.keep == timedelta(days=60)
    assert said.identity.path == "identities.csv"
