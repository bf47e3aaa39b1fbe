"""Who is compared: models of runs, each with the runs that differ from it by the seed only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seqmarket.comparison.recorded import RecordedRun, find_recorded
from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.training.config import PathsConfig
from seqmarket.training.tracking.lookup import EXPERIMENT, REGISTERED
from seqmarket.training.tracking.names import flatten
from seqmarket.training.tracking.settings import TrackingSettings

_NOT_OF_A_MODEL = (
    *("seed", "name", "ckpt_path", "hydra", "paths", "tracking", "baselines", "debug"),
    *("hparams_search", "cv"),
)
OF_A_NETWORK = ("training", "trainer", "pretrain", "ensemble")
"""Parts of the configuration that say how networks are trained."""

_SHOWN = 2


@dataclass(frozen=True)
class Contender:
    """A model that takes part.

    Attributes:
        name: As it is called in the comparison.
        model: Its name in the tables of its runs.
        runs: One per seed.
        kin: All runs that are known to differ by the seed only.
    """

    name: str
    model: str
    runs: tuple[RecordedRun, ...]
    kin: tuple[RecordedRun, ...]

    @property
    def is_own(self) -> bool:
        """Whether it is what its runs trained, not a baseline beside that."""
        return self.model == self.runs[0].models[0]

    @property
    def is_network(self) -> bool:
        """Whether it is a neural network, whose seed moves what it says."""
        return self.is_own and "cost/parameters" in self.runs[0].metrics

    @property
    def settings(self) -> dict[str, str]:
        """See `settings_of`."""
        return settings_of(self.runs[0], self.model)


def settings_of(run: RecordedRun, model: str) -> dict[str, str]:
    """The configuration that made a model what it is, by dotted key; not the seed.

    A baseline stands in the place of the run's own model, and how networks are trained is left out
    of what is no network.
    """
    plain = run.config
    is_own = model == run.models[0]
    left_out = {*_NOT_OF_A_MODEL}
    if not is_own:
        baselines = plain.get("baselines") or {}
        plain = {**plain, "model": baselines.get(model, {"_target_": model})}
    if not is_own or "cost/parameters" not in run.metrics:
        left_out |= {*OF_A_NETWORK}
    flat = flatten({key: value for key, value in plain.items() if key not in left_out})
    flat.pop("model._partial_", None)
    return flat


def contenders(
    wanted: Sequence[str], paths: PathsConfig, tracking: TrackingSettings
) -> list[Contender]:
    """Whom the user's words mean.

    Runs that differ by the seed only become one contender, unless there is no other: then each
    stands for itself. A single run is compared with its own baselines.

    Args:
        wanted: Runs, each as ``RUN`` (its own model) or ``RUN:MODEL`` (a baseline of it).
        paths: Where runs are written.
        tracking: Where MLflow runs are recorded.

    Raises:
        SeqmarketError: There is no such run or model, or nothing to compare with.
    """
    asked = [_split(item) for item in wanted]
    found = find_recorded([run for run, _ in asked], paths, tracking)
    pairs = [
        (run, _model(run, model))
        for runs, (_, model) in zip(found, asked, strict=True)
        for run in runs
    ]
    pairs = list({(run.key, model): (run, model) for run, model in pairs}.values())
    if len(pairs) == 1:
        run = pairs[0][0]
        pairs = [(run, model) for model in run.models]
    if len(pairs) == 1:
        raise SeqmarketError(
            "there is nothing to compare with: one run, without baselines",
            where=" ".join(wanted),
            fix="name a second run",
        )
    return named(grouped(pairs))


def _split(item: str) -> tuple[str, str | None]:
    """``RUN:MODEL``; a colon of a folder, an experiment or a registered model is not meant."""
    if Path(item).exists():
        return item, None
    prefix = next((text for text in (EXPERIMENT, REGISTERED) if item.startswith(text)), "")
    run, colon, model = item.removeprefix(prefix).rpartition(":")
    return (prefix + run, model) if colon else (item, None)


def _model(run: RecordedRun, model: str | None) -> str:
    if model is None:
        return run.models[0]
    if model not in run.models:
        raise SeqmarketError(
            f"the run {run.name} has no predictions of a model '{model}'",
            where=f"RUN:{model}",
            fix=did_you_mean(model, run.models),
        )
    return model


def grouped(pairs: Sequence[tuple[RecordedRun, str]]) -> list[Contender]:
    """Runs and models of theirs, those that differ by the seed only as one."""
    groups: dict[tuple[object, ...], list[RecordedRun]] = {}
    for run, model in pairs:
        key = (*run.code, *settings_of(run, model).items(), model)
        groups.setdefault(key, []).append(run)
    members = [(str(key[-1]), tuple(runs)) for key, runs in groups.items()]
    if len(members) == 1:
        model, runs = members[0]
        return [Contender(model, model, (run,), runs) for run in runs]
    return [Contender(model, model, runs, runs) for model, runs in members]


def named(found: Sequence[Contender]) -> list[Contender]:
    """By model; where that says too little, by what tells them apart."""
    names = [contender.name for contender in found]
    details: tuple[Callable[[Contender, Sequence[Contender]], str], ...] = (
        lambda contender, _: contender.runs[0].name,
        _settings_apart,
        lambda contender, _: f"commit {contender.runs[0].code[0][:7]}",
        lambda contender, _: f"seed {contender.runs[0].seed}" if len(contender.runs) == 1 else "",
        lambda contender, _: f"run {contender.runs[0].key[:6]}",
    )
    for detail in details:
        before = list(names)
        for name in {name for name in before if before.count(name) > 1}:
            places = [place for place, other in enumerate(before) if other == name]
            alike = [found[place] for place in places]
            texts = [detail(contender, alike) for contender in alike]
            if len(set(texts)) > 1:
                for place, text in zip(places, texts, strict=True):
                    names[place] = f"{name}, {text}" if text else name
    return [replace(c, name=name) for c, name in zip(found, names, strict=True)]


def _settings_apart(contender: Contender, alike: Sequence[Contender]) -> str:
    """The first few settings in which contenders of the same name differ."""
    all_settings = [other.settings for other in alike]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    differ = [key for key in keys if len({settings.get(key) for settings in all_settings}) > 1]
    own = contender.settings
    return " ".join(f"{key.rpartition('.')[2]}={own.get(key, '-')}" for key in differ[:_SHOWN])
