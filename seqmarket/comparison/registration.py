"""Puts the model of a run into the registry, as a challenger or in the champion's place."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqmarket.comparison.promotion import (
    Entrant,
    KeptComparison,
    check_promotion,
    evidence,
    read_comparisons,
)
from seqmarket.comparison.recorded import WITHOUT_ROWS, RecordedRun, find_recorded
from seqmarket.comparison.report import ABOUT
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import PathsConfig
from seqmarket.training.locate import MODEL_FILE
from seqmarket.training.resume import CHECKPOINTS
from seqmarket.training.tracking.connection import without_credentials
from seqmarket.training.tracking.database import resolve_uri
from seqmarket.training.tracking.lookup import REGISTERED, Lookup
from seqmarket.training.tracking.mirror import RECORD_TAG
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.registry import ModelVersion, Registry
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.sync import sync
from seqmarket.training.tracking.tracked_run import RECORD_FOLDER

CHALLENGER, CHAMPION, FORMER = "challenger", "champion", "former"
"""Aliases: who wants the place, who has it, and who had it before."""

MODEL_ARTIFACT = CHECKPOINTS
"""What of a run is registered: the folder of its final checkpoint."""

_NAME = re.compile(r"[\w.-]+")
_LOG, _MODEL, _TASKS = "seqmarket.log", "seqmarket.model", "seqmarket.tasks"
_COPIED = ("seqmarket.data_fingerprint", "seqmarket.git_commit", "seqmarket.git_dirty")
_VERDICT, _REPORT = "seqmarket.verdict", "seqmarket.comparison"
_WITHOUT, _OVER = "seqmarket.without_comparison", "seqmarket.promoted_over"


@dataclass(frozen=True)
class Registration:
    """What came of it.

    Attributes:
        version: The version in the registry.
        said: For the user, line by line.
    """

    version: ModelVersion
    said: Sequence[str]


def register(
    wanted: str,
    paths: PathsConfig,
    tracking: TrackingSettings,
    *,
    name: str | None = None,
    alias: str = CHALLENGER,
    without_comparison: str | None = None,
) -> Registration:
    """Registers the model of a run, or moves the alias if the run has a version already.

    The champion's place is given to a run that was compared with the present champion, see
    `check_promotion`; the champion becomes the former one. The first champion needs none.

    Args:
        wanted: One run, as `find_recorded` understands it.
        paths: Where runs are written.
        tracking: Where MLflow is.
        name: Of the registered model; None: after the log.
        alias: `CHALLENGER` or `CHAMPION`.
        without_comparison: Why it may be the champion without a comparison.

    Raises:
        SeqmarketError: There is no such run, MLflow does not know it, or it may not be promoted.
    """
    _check_asked(tracking, name, alias, without_comparison)
    run = _one_run(wanted, paths, tracking)
    settings, run_id = _in_mlflow(run, tracking)
    lookup = Lookup(settings)
    _check_run(lookup, run_id)
    registry = Registry(lookup)
    name = name or re.sub(r"[^\w.-]+", "_", f"seqmarket-{run.terms['log']['name']}")
    champion = registry.under(name, CHAMPION)
    if champion is not None and champion.run_id == run_id:
        return Registration(champion, [f"{champion} is this run, and the champion already"])
    tasks = tuple(dict.fromkeys(r["task"] for r in run.results if r["model"] == run.models[0]))
    candidate = Entrant(run.called, run.key, run.models[0], tasks)
    kept = _comparisons(lookup, run_id)
    found: KeptComparison | None = None
    if champion is not None:
        holder = _entrant(champion, lookup)
        if alias == CHAMPION and without_comparison is None:
            command = ["seqmarket", "compare", f"{REGISTERED}{name}@{CHAMPION}", wanted]
            if settings.uri != resolve_uri(tracking.uri, Path(tracking.root)):
                command.append(f"tracking.uri={without_credentials(str(settings.uri))}")
            found = check_promotion(candidate, holder, kept, shlex.join(command))
        else:
            found = evidence(candidate, holder, kept)
    known = registry.of_run(name, run_id)
    version = known or registry.add(name, run_id, MODEL_ARTIFACT)
    said = [f"{version}{', registered before' if known else ''}: {run.called}"]
    facts = {
        "seqmarket.run": run_id,
        RECORD_TAG: run.key,
        _LOG: str(run.terms["log"]["name"]),
        _MODEL: candidate.model,
        _TASKS: ", ".join(tasks),
        **{tag: run.tags.get(tag) for tag in _COPIED},
        _VERDICT: None if found is None else found.verdict,
        _REPORT: None if found is None else f"runs:/{run_id}/{found.page}",
        _WITHOUT: without_comparison,
        _OVER: None,
    }
    if alias == CHAMPION:
        facts[_OVER] = "nobody" if champion is None else champion.number
    registry.describe(version, facts, _description(run, facts, champion))
    if run.tags.get("seqmarket.git_dirty") == "true":
        said.append("the run's code had uncommitted changes: its commit is not all of it")
    if found is not None:
        said += [f"compared with the champion: {found.verdict}", f"report: {facts[_REPORT]}"]
    if alias == CHAMPION:
        said += _promote(registry, version, champion, without_comparison)
    else:
        registry.point(version, CHALLENGER)
        said.append(f"{CHALLENGER}: {REGISTERED}{name}@{CHALLENGER}")
    return Registration(version, said)


def _promote(
    registry: Registry, version: ModelVersion, champion: ModelVersion | None, reason: str | None
) -> list[str]:
    present = registry.under(version.name, CHAMPION)
    if present != champion:
        raise SeqmarketError(
            f"the champion has changed meanwhile: it is {present}",
            where=version.name,
            fix="compare with that one, and promote again",
        )
    said = []
    if champion is None:
        said.append("the first champion of this name: there was nobody to compare it with")
    else:
        # In this order: broken off in between, the champion is still there.
        registry.point(champion, FORMER)
        said.append(f"{FORMER} champion: {champion}")
    registry.point(version, CHAMPION)
    registry.release(version, CHALLENGER)
    if reason is not None and champion is not None:
        said.append(f"promoted WITHOUT a comparison that allows it: {reason}")
    said.append(f"{CHAMPION}: {REGISTERED}{version.name}@{CHAMPION}")
    return said


def _check_asked(
    tracking: TrackingSettings, name: str | None, alias: str, reason: str | None
) -> None:
    if not tracking.enabled:
        raise SeqmarketError(
            "the model registry is in MLflow, and tracking is off",
            where="tracking=off",
            fix="leave it out; a run that was trained so is sent there by: seqmarket sync FOLDER",
        )
    if name is not None and not _NAME.fullmatch(name):
        raise SeqmarketError(
            f"'{name}' cannot name a registered model",
            where="--name",
            fix="take letters, digits, dots, dashes and underscores",
        )
    if alias not in (CHALLENGER, CHAMPION):
        raise SeqmarketError(
            f"there is no alias '{alias}'", where="--alias", fix=f"{CHALLENGER} or {CHAMPION}"
        )
    if reason is not None and (alias != CHAMPION or not reason.strip()):
        raise SeqmarketError(
            "a reason is needed to promote a model, and for nothing else",
            where="--without-comparison",
            fix=f'--alias {CHAMPION} --without-comparison "REASON"',
        )


def _one_run(wanted: str, paths: PathsConfig, tracking: TrackingSettings) -> RecordedRun:
    runs = find_recorded([wanted], paths, tracking, WITHOUT_ROWS)[0]
    if len(runs) > 1:
        raise SeqmarketError(
            f"'{wanted}' means {len(runs)} runs, and one is registered at a time",
            where="RUN",
            fix=f"name one by its id, such as {runs[-1].mlflow_id}",
        )
    return runs[0]


def _in_mlflow(run: RecordedRun, tracking: TrackingSettings) -> tuple[TrackingSettings, str]:
    """Where the run is in MLflow, with all that its record has."""
    if run.mlflow_id is not None:
        uri = resolve_uri(tracking.uri, Path(tracking.root))
        return tracking.model_copy(update={"uri": uri}), run.mlflow_id
    assert run.run_dir is not None  # it is here or there
    record = RunRecord(run.run_dir / RECORD_FOLDER)
    given = record.about["uri"] if tracking.uri is None else tracking.uri
    uri = resolve_uri(given, Path(tracking.root))
    settings = tracking.model_copy(update={"uri": uri})
    run_id: str | None = record.mirror(without_credentials(uri)).get("run_id")
    if run_id is None:
        raise SeqmarketError(
            "MLflow does not know this run, so its model cannot be registered",
            where=str(run.run_dir),
            fix=f"seqmarket sync {shlex.quote(str(run.run_dir))}"
            + (f" --uri {without_credentials(uri)}" if tracking.uri is not None else ""),
        )
    _check_run(Lookup(settings), run_id, run.run_dir)
    # A comparison may have been added to the record while MLflow did not answer.
    return settings, sync(run.run_dir, uri, timeout=tracking.connect_timeout)


def _check_run(lookup: Lookup, run_id: str, run_dir: Path | None = None) -> None:
    """It is there, it has finished, and its model is among its artifacts."""
    status = lookup.runs(run_id)[0].status
    if status != "FINISHED":
        where = run_id if run_dir is None else str(run_dir)
        mend = "" if run_dir is None else f", or send it anew: seqmarket sync {shlex.quote(where)}"
        raise SeqmarketError(
            f"the run is {status} in MLflow, and only a finished one is registered",
            where=where,
            fix=f"register another{mend}",
        )
    model = f"{MODEL_ARTIFACT}/{MODEL_FILE}"
    if run_dir is None and model not in lookup.artifacts(run_id, MODEL_ARTIFACT):
        raise SeqmarketError(
            f"the run has no {model} among its artifacts in MLflow",
            where=run_id,
            fix="send the run again from its folder: seqmarket sync FOLDER",
        )


def _entrant(champion: ModelVersion, lookup: Lookup) -> Entrant:
    """The champion as its version says it; one that was not registered here, as its run does."""
    tags = champion.tags
    if RECORD_TAG not in tags:
        tags = {**lookup.runs(champion.run_id)[0].tags, **tags}
    record = tags.get(RECORD_TAG, champion.run_id)
    tasks = tuple(task for task in tags.get(_TASKS, "").split(", ") if task)
    return Entrant(str(champion), record, tags.get(_MODEL, ""), tasks)


def _comparisons(lookup: Lookup, run_id: str) -> list[KeptComparison]:
    places = lookup.artifacts(run_id, "comparisons")
    with tempfile.TemporaryDirectory(prefix="seqmarket-") as folder:
        lookup.fetch(run_id, [f"{place}/{ABOUT}" for place in places], Path(folder))
        return read_comparisons(Path(folder))


def _description(
    run: RecordedRun, facts: dict[str, str | None], champion: ModelVersion | None
) -> str:
    lines = [f"**{facts[_MODEL]}** on {facts[_LOG]}: {facts[_TASKS]}. Run {run.called}."]
    if facts[_VERDICT] is not None:
        lines.append(f"Compared with {champion}: {facts[_VERDICT]} Report: `{facts[_REPORT]}`.")
    if facts[_WITHOUT] is not None:
        lines.append(f"Promoted without a comparison that allows it: {facts[_WITHOUT]}")
    return "\n\n".join(lines)
