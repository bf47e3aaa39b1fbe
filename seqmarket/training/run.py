"""One run, from a configuration to a trained, evaluated and recorded model."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.loader_settings import LoaderSettings
from seqmarket.data.store import SequenceStore
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.training.askable import check_rows, tasks_without_rows
from seqmarket.training.checkpoint import check_resumable, provenance, save_trained
from seqmarket.training.config import RunConfig
from seqmarket.training.data import open_data
from seqmarket.training.evaluation import evaluate
from seqmarket.training.fit import Fitted
from seqmarket.training.members import fit_members
from seqmarket.training.models import fit_baseline, is_deep, model_name, refuse_unanswerable
from seqmarket.training.objectives import make_objectives
from seqmarket.training.predictors import (
    CalibratedPredictor,
    DeepPredictor,
    Predictor,
    among_scored,
    calibrations_of,
)
from seqmarket.training.report import RunFacts, report_run
from seqmarket.training.resume import CHECKPOINTS, StartingPoint, remember, starting_point
from seqmarket.training.summary import print_summary
from seqmarket.training.tasks import Task, make_tasks
from seqmarket.training.tracking.environment import environment_tags
from seqmarket.training.tracking.tracked_run import TrackedRun, open_run

log = logging.getLogger(__name__)


def run(
    config: RunConfig, *, run_dir: Path, overrides: Sequence[str], resolved_yaml: str
) -> dict[str, float]:
    """Trains the configured model, evaluates it beside its baselines, and records all of it.

    Args:
        config: The checked configuration.
        run_dir: Folder of this run; `ckpt_path=last` goes on in the folder of the earlier start.
        overrides: What the user changed on the command line.
        resolved_yaml: The whole configuration as text.

    Returns:
        The final test metrics, by ``test/<task>/<metric>``; none in the helper processes of a
        distributed run.

    Raises:
        SeqmarketError: For a mistake in the configuration or the log.
    """
    resolved_yaml = _without_credentials(resolved_yaml)
    overrides = [_without_credentials(item) for item in overrides]
    plain = yaml.safe_load(resolved_yaml)
    threads = set_threads(config.training.threads)
    if is_deep(config.model):
        log.info(
            "training on %s with %d thread%s, %s (training.threads, trainer.precision)",
            config.trainer.accelerator,
            threads,
            "s" if threads > 1 else "",
            config.trainer.precision,
        )
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        # The first process of a distributed run speaks for all.
        logging.getLogger("seqmarket").setLevel(logging.WARNING)
    # Whatever the user may have got wrong comes before anything is recorded.
    start = starting_point(config, plain, run_dir)
    store = open_data(config)
    tasks = make_tasks(config.task)
    data = make_datamodule(config, store, tasks)
    check_rows(data, tasks_without_rows(config, tasks))
    if start.checkpoint is not None:
        check_resumable(start.checkpoint, plain, store)
    remember(start, plain)
    facts = provenance(plain, store)
    own = model_name(config.model)
    name = config.name or f"{own}-{store.name}"
    about = f"{own} on {store.name}: {', '.join(tasks)}"
    with open_run(
        config.tracking, start.run_dir, name=name, description=about, resume=start.continued
    ) as tracked:
        _record_origin(tracked, plain, overrides, resolved_yaml, config.seed, threads)
        tracked.log_dataset(
            store.name, store.fingerprint, store.path.name, store.report, "training"
        )
        tracked.set_tags(
            {
                "seqmarket.data_fingerprint": store.fingerprint,
                "seqmarket.log": store.name,
                "seqmarket.model": own,
                "seqmarket.tasks": ", ".join(tasks),
            }
        )
        tracked.log_text(_gate_of(store), "gate.json")
        started = time.monotonic()
        fitted = _fit_deep(config, tasks, data, start, facts, tracked)
        if fitted is not None and not fitted.is_global_zero:
            return {}
        models: dict[str, Predictor] = {
            own: fit_baseline(config.model, data, "model.")
            if fitted is None
            else deep_predictor(fitted.model, tasks, data, config, fitted.device)
        }
        seconds = time.monotonic() - started
        alone = None
        if fitted is not None and fitted.alone is not None:
            alone = f"{own}_alone"
            models[alone] = deep_predictor(fitted.alone, tasks, data, config, fitted.device)
        seconds_of_baselines: dict[str, float] = {}
        for other, component in config.baselines.items():
            if other != own:
                log.info("fitting the baseline %s", other)
                started = time.monotonic()
                models[other] = fit_baseline(component, data, f"baselines.{other}.")
                seconds_of_baselines[other] = time.monotonic() - started

        method = config.training.calibration
        if method != "none":
            rows = data.tables("validation")
            models = {
                model: CalibratedPredictor.fit(predictor, rows, store.spec, method)
                for model, predictor in models.items()
            }
        model_file = start.run_dir / CHECKPOINTS / "model.ckpt"
        facts |= {"calibrations": calibrations_of(models[own])}
        save_trained(model_file, None if fitted is None else fitted.model, facts)

        log.info("evaluating %s on the test period", ", ".join(models))
        tables = data.tables("test")
        predictions = {
            model: among_scored(predictor.predict(tables), tables, store.spec)
            for model, predictor in models.items()
        }
        results = evaluate(
            predictions,
            tables,
            n_resamples=config.training.resamples,
            seed=config.seed,
            alone=alone,
        )
        metrics = report_run(
            tracked,
            RunFacts(
                name=name,
                config=config,
                data=data,
                tasks=tasks,
                tables=tables,
                predictions=predictions,
                results=results,
                predictor=models[own],
                fitted=fitted,
                seconds=seconds,
                seconds_of_baselines=seconds_of_baselines,
                overrides=tuple(overrides),
                threads=threads,
                model_file=model_file,
                history=_learning_history(tracked),
            ),
        )
    print_summary(results)
    log.info("run: %s", tracked.address)
    return metrics


def _fit_deep(
    config: RunConfig,
    tasks: Mapping[str, Task],
    data: JourneyDataModule,
    start: StartingPoint,
    facts: Mapping[str, Any],
    tracked: TrackedRun,
) -> Fitted | None:
    """Fits the own model if it is a network; a baseline is fitted like those beside it."""
    if not is_deep(config.model):
        refuse_unanswerable(config.model, tasks)
        return None
    return fit_members(
        config,
        tasks,
        data,
        start,
        provenance=facts,
        report=lambda metrics, epoch: tracked.log_metrics(metrics, step=epoch),
    )


def _gate_of(store: SequenceStore) -> str:
    """What the log was admitted by: in numbers, and what tells it from another gate."""
    parts = {} if store.gate is None else dict(store.gate.parts)
    return json.dumps({"told_apart_by": parts, "about": store.report.get("gate")}, indent=1)


def _learning_history(tracked: TrackedRun) -> dict[str, list[tuple[int, float]]]:
    return {
        name: list(values.items())
        for name, values in tracked.record.history().items()
        if name.startswith(("train/", "validation/"))
    }


def make_datamodule(
    config: RunConfig, store: SequenceStore, tasks: Mapping[str, Task]
) -> JourneyDataModule:
    """The store's journeys, as the configured tasks ask about them."""
    return JourneyDataModule(
        store,
        {name: task.rule for name, task in tasks.items()},
        {
            name: objective.points
            for name, objective in make_objectives(tasks, config.training).items()
        },
        seed=config.seed,
        history=config.data.encoding.history,
        **{name: getattr(config.training, name) for name in LoaderSettings.model_fields},
    )


def deep_predictor(
    model: JourneyModel | JourneyEnsemble,
    tasks: Mapping[str, Task],
    data: JourneyDataModule,
    config: RunConfig,
    device: torch.device | str = "cpu",
) -> DeepPredictor:
    """A trained network, to be asked about the journeys of a store."""
    tokens = config.training.eval_tokens
    store = data.store
    return DeepPredictor(model, tasks, store.events, store.spec, tokens=tokens, device=device)


def _without_credentials(text: str) -> str:
    """The same text without the user names and passwords of addresses such as `tracking.uri`."""
    return re.sub(r"(?<=://)[^/@\s'\"]+@", "", text)


def set_threads(wanted: int) -> int:
    """Results repeat bitwise only with the same number of threads, so it is set and logged."""
    torch.set_num_threads(wanted)
    return torch.get_num_threads()


def _record_origin(
    tracked: TrackedRun,
    plain: Mapping[str, Any],
    overrides: Sequence[str],
    resolved_yaml: str,
    seed: int,
    threads: int,
) -> None:
    tracked.log_params(plain)
    tracked.log_text(resolved_yaml, "config.yaml")
    tracked.log_text(yaml.safe_dump(list(overrides)), "overrides.yaml")
    tags = environment_tags()
    tracked.set_tags({**tags, "seqmarket.threads": str(threads), "seqmarket.seed": str(seed)})
