"""`train` from the outside: what is run, what is said, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqmarket.cli.compose import config_dir
from seqmarket.errors import SeqmarketError

ROOT = Path(__file__).parents[2]
ANY_MODEL = "seqmarket.models"

MISTAKES = [
    (["model=transfomer"], "there is no model 'transfomer'; did you mean 'transformer'?"),
    (["experiment=bpic21"], "there is no experiment 'bpic21'; did you mean 'bpic12'?"),
    (["training.max_epoch=5"], "did you mean 'training.max_epochs'?"),
    (["trainign.max_epochs=5"], "did you mean 'training.max_epochs'?"),
    (["lr=1"], "did you mean 'training.optimizer.lr'?"),
    (["training.nothing=5"], "known in training: batch_size"),
    (["modle=lstm"], "did you mean 'model'?"),
    (["training.max_epochs=abc"], "training.max_epochs: expected a valid integer, got 'abc'"),
    (["model.d_model=abc"], "model.d_model: expected a valid integer, got 'abc'"),
    (["+model.d_modle=8"], "model.d_modle: no such setting; did you mean 'd_model'?"),
    (["+baselines.markov.ordr=1"], "baselines.markov.ordr: no such setting; did you mean 'order'"),
    (["+training.optimizer.beta=1"], "training.optimizer.beta: no such setting; did you mean"),
    (["data=synthetic", "data.n_customers=-1"], "data.n_customers: expected greater than or equal"),
    (["data=synthetic", "data.path=3"], "known in data: cleaning, days,"),
    (["model._target_=os.system"], "a configuration may not build 'os.system'"),
    (["task.churn.window=28"], "task.churn.window: a duration is a number and one of s, m, h, d"),
    (["+typo=1"], "typo: no such setting"),
    (["+training.max_epoch=1"], "training.max_epoch: no such setting; did you mean 'max_epochs'?"),
    (["data=files"], "data.path has no value"),
    (["model"], "cannot read the override 'model'"),
    (["name=${nothing}"], "Interpolation key 'nothing' not found"),
    (["--config-name=other"], "there is no configuration 'other'"),
    (["task=churn", "~task.churn"], "task: choose at least one of"),
    (["task=custom"], "task.custom.occurrence: say which events count: channel, event_type,"),
    (["task=custom", "task.custom.occurrence.chanel=[app]"], "'task.custom.occurrence.channel'?"),
    (["+task.custom.churn.purchase=true"], "task.custom: churn is a task of its own already"),
    (["+task.custom.a-b.purchase=true"], "task.custom: a task's name is letters, digits and '_'"),
    (["task.churn.positive_weight=3"], "task.churn.positive_weight: a hazard weighs no labels"),
    (["training.point_weights=uniformly"], "training.point_weights: expected 'exposure' or 'unif"),
    (["data=files", "data.path=nothing.csv"], "nothing.csv"),
    (["tracking.uri=nonsense"], "MLflow cannot log to 'nonsense'"),
    (["ckpt_path=last"], "no earlier run with these settings has a last checkpoint"),
    (["ckpt_path=nothing.ckpt"], "there is no such checkpoint"),
    (["model.d_model=-8"], "model.d_model: expected greater than or equal to 1, got -8"),
    (
        ["model=transformer", "model.d_model=62"],
        "d_model must be a multiple of n_heads; got 62 and 4",
    ),
    (["baselines.markov.order=-1"], "baselines.markov.order: expected greater than or equal to 0"),
    (["training.optimizer.lr=-1"], "Invalid learning rate: -1"),
    (["model._target_=torch.nn.Linear"], "neither a journey encoder nor a baseline"),
    (["model=markov", "task=churn"], "markov answers none of the tasks churn"),
    (["trainer.strategy=ddp_spawn"], "trainer.strategy: expected 'auto', 'ddp' or"),
    (["data=synthetic", "data.name=a/b"], "data.name: a name of letters, digits"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistake_gives_one_message_and_exit_code_2(seqmarket, runs, arguments, message) -> None:
    code, _, err = seqmarket(["train", *arguments])
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("error") == 1
    assert "Traceback" not in err
    assert not runs


def test_all_wrong_settings_are_named_at_once(seqmarket, runs) -> None:
    err = seqmarket(["train", "seed=-1", "training.patience=0", "trainer.devices=two"]).err
    assert "3 settings are wrong" in err
    assert "seed: expected greater than or equal to 0, got -1" in err
    assert "trainer.devices: expected a valid integer or 'auto', got 'two'" in err


def test_run_gets_typed_settings_and_its_folder(seqmarket, runs, tmp_path) -> None:
    (tmp_path / "x.csv").touch()
    assert seqmarket(["train", "model=lstm", "+experiment=bpic12", "data.path=x.csv"]).code == 0
    (call,) = runs
    assert call["config"].model.target.startswith("seqmarket.models.lstm.")
    assert call["overrides"] == ["model=lstm", "experiment=bpic12", "data.path=x.csv"]
    assert call["run_dir"].is_relative_to(tmp_path / "outputs" / "runs")
    assert call["run_dir"].is_dir()
    assert "???" not in call["resolved_yaml"]
    assert "${" not in call["resolved_yaml"]
    # Lightning starts further processes with the command line as the user wrote it.
    assert call["argv"] == ["train.py"]


def test_tasks_of_the_users_own_come_from_the_command_line(seqmarket, runs) -> None:
    own = ["task.custom.occurrence.event_type=[redemption]", "+task.custom.big.least_value=50"]
    assert seqmarket(["train", "task=custom", *own]).code == 0
    task = runs[0]["config"].task
    assert set(task.custom) == {"occurrence", "big"}
    assert task.custom["occurrence"].event_type == ("redemption",)
    assert task.custom["big"].least_value == 50
    assert task.purchase is None


def test_two_runs_have_two_folders(seqmarket, runs) -> None:
    assert seqmarket(["train"]).code == 0
    assert seqmarket(["train"]).code == 0
    assert runs[0]["run_dir"] != runs[1]["run_dir"]


def test_own_overlay_from_a_folder(seqmarket, runs, tmp_path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "big.yaml").write_text("# @package _global_\nmodel:\n  d_model: 128\n")
    assert seqmarket(["train", "--config-dir=mine", "experiment=big"]).code == 0
    assert runs[0]["config"].model.options["d_model"] == 128


def test_mistake_of_the_run_is_shown_without_hydra_remarks(seqmarket, runs) -> None:
    runs.failing[ANY_MODEL] = SeqmarketError("row 7 has no customer", where="log.csv, row 7")
    code, _, err = seqmarket(["train"])
    assert code == 2
    assert err == "error: row 7 has no customer\n  where: log.csv, row 7\n"


def test_defect_keeps_its_traceback(seqmarket, runs) -> None:
    runs.failing[ANY_MODEL] = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError, match="a defect") as caught:
        seqmarket(["train"])
    assert any("conftest" in str(entry.path) for entry in caught.traceback)


def test_interruption_tells_how_to_go_on(seqmarket, runs, tmp_path) -> None:
    runs.failing[ANY_MODEL] = KeyboardInterrupt()
    (tmp_path / "best.ckpt").touch()
    code, _, err = seqmarket(["train", "training.patience=3", "ckpt_path=best.ckpt"])
    assert code == 130
    assert err == "interrupted; resume with: python train.py training.patience=3 ckpt_path=last\n"


def test_multirun_runs_every_job_in_its_own_folder(seqmarket, runs) -> None:
    assert seqmarket(["train", "--multirun", "model=lstm,transformer"]).code == 0
    assert [call["config"].model.target.split(".")[2] for call in runs] == ["lstm", "transformer"]
    assert [call["run_dir"].name for call in runs] == ["0", "1"]


def test_flags_may_stand_between_overrides(seqmarket, runs) -> None:
    arguments = ["train", "model=lstm", "--multirun", "seed=1,2", "~model@baselines.gbdt"]
    assert seqmarket(arguments).code == 0
    assert [call["config"].seed for call in runs] == [1, 2]
    assert "gbdt" not in runs[0]["config"].baselines


def test_multirun_goes_on_after_a_failed_job_and_says_so(seqmarket, runs) -> None:
    runs.failing["lstm"] = SeqmarketError("no such file")
    code, _, err = seqmarket(["train", "--multirun", "model=lstm,transformer"])
    assert code == 2
    assert len(runs) == 2
    assert "error: no such file" in err
    assert "error: 1 of 2 jobs failed" in err


def test_multirun_with_a_defect_exits_1_with_its_traceback(seqmarket, runs) -> None:
    runs.failing["lstm"] = ZeroDivisionError("a defect")
    code, _, err = seqmarket(["train", "--multirun", "model=lstm,transformer"])
    assert code == 1
    assert "ZeroDivisionError: a defect" in err
    assert len(runs) == 2


@pytest.mark.parametrize("override", ["trainer=ddp", "trainer.devices=2", "trainer.strategy=ddp"])
def test_multirun_refuses_several_processes(seqmarket, runs, override) -> None:
    code, _, err = seqmarket(["train", "--multirun", "seed=1,2", override])
    assert code == 2
    assert err.count("--multirun cannot run several processes") == 1
    assert "error: 2 of 2 jobs failed" in err
    assert "Error executing job" not in err
    assert not runs


def test_distributed_is_fine_without_multirun(seqmarket, runs) -> None:
    assert seqmarket(["train", "trainer=ddp", "trainer.accelerator=cpu"]).code == 0
    assert runs[0]["config"].trainer.distributed


def test_outputs_that_cannot_be_written(seqmarket, runs, tmp_path) -> None:
    (tmp_path / "file").touch()
    for key in ("output_dir", "cache_dir"):
        code, _, err = seqmarket(["train", f"paths.{key}=file/below"])
        assert code == 2
        assert "cannot write: Not a directory" in err
        assert "file" in err
    assert not runs


def test_an_error_of_the_system_about_another_file_is_a_defect(seqmarket, runs) -> None:
    runs.failing[ANY_MODEL] = PermissionError(13, "Permission denied", "/elsewhere/x")
    with pytest.raises(PermissionError, match="elsewhere"):
        seqmarket(["train"])


def test_a_full_disk_is_no_defect(seqmarket, runs) -> None:
    runs.failing[ANY_MODEL] = OSError(28, "No space left on device")
    code, _, err = seqmarket(["train"])
    assert code == 2
    assert "cannot write: No space left on device" in err


def test_unknown_command(seqmarket) -> None:
    code, _, err = seqmarket(["trian"])
    assert code == 2
    assert "there is no command 'trian'; did you mean 'train'?" in err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_lists_the_commands(seqmarket, arguments) -> None:
    code, out, _ = seqmarket(arguments)
    assert code == 0
    assert all(verb in out for verb in ("train", "prepare", "evaluate", "predict", "sync"))


def test_configuration_is_found_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the directory above happens to hold another `conf`."""
    for folder in (tmp_path / "seqmarket" / "conf", tmp_path / "conf"):
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
    module = tmp_path / "seqmarket" / "cli" / "compose.py"
    monkeypatch.setattr("seqmarket.cli.compose.__file__", str(module))
    assert config_dir() == tmp_path / "seqmarket" / "conf"
    (tmp_path / "seqmarket" / "conf" / "config.yaml").unlink()
    (tmp_path / "conf" / "config.yaml").unlink()
    with pytest.raises(SeqmarketError, match="configuration files of seqmarket are missing"):
        config_dir()


HEAVY = ("torch", "pytorch_lightning", "polars", "mlflow", "lightgbm", "matplotlib")

CHECK = f"""
import sys
from seqmarket.cli.main import main
sys.argv = ["train.py"]
try:
    code = main(["train", *{{arguments}}])
except SystemExit as leaving:
    code = leaving.code or 0
loaded = [name for name in {HEAVY} if name in sys.modules]
print("CODE", code, "LOADED", loaded)
"""


def in_a_process(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.replace("{arguments}", repr(arguments))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["--cfg", "job"], 0), (["model=transfomer"], 2)]
)
def test_answers_without_loading_heavy_libraries(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    assert f"CODE {code} LOADED []" in in_a_process(arguments, tmp_path)


@pytest.mark.parametrize("mistake", ["tracking.uri=nonsense", "ckpt_path=last", "ckpt_path=x.ckpt"])
def test_what_needs_no_library_is_checked_without_one(mistake: str, tmp_path: Path) -> None:
    assert "CODE 2 LOADED []" in in_a_process([mistake], tmp_path)


def test_a_missing_log_is_noticed_before_the_heaviest_libraries(tmp_path: Path) -> None:
    said = in_a_process(["data=files", "data.path=x.csv"], tmp_path)
    assert "CODE 2" in said
    assert not any(name in said for name in ("pytorch_lightning", "mlflow", "lightgbm"))


def test_a_wrong_hyperparameter_is_noticed_before_lightning_and_mlflow(tmp_path: Path) -> None:
    said = in_a_process(["data=synthetic", "model=transformer", "model.d_model=62"], tmp_path)
    assert "CODE 2" in said
    assert not any(name in said for name in ("pytorch_lightning", "mlflow", "lightgbm"))


def test_python_train_py_help(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "python train.py --multirun model=lstm,transformer" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_heavy_import_check_catches_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(
        globals(), "CHECK", CHECK.replace("import sys\n", "import sys, polars\n", 1)
    )
    assert "LOADED ['polars']" in in_a_process(["--help"], tmp_path)
