"""What changed between runs, and what each of them cost."""

from __future__ import annotations

from collections.abc import Sequence

from seqmarket.comparison.contenders import OF_A_NETWORK, Contender

_CODE = {
    "seqmarket.git_commit": "commit",
    "seqmarket.git_dirty": "uncommitted changes",
    "seqmarket.version": "version of seqmarket",
    "seqmarket.lock": "lock of all versions",
    "seqmarket.data_fingerprint": "encoded data",
}
_ENVIRONMENT = {
    "seqmarket.python": "Python",
    "seqmarket.torch": "torch",
    "seqmarket.pytorch-lightning": "pytorch-lightning",
    "seqmarket.polars": "polars",
    "seqmarket.numpy": "numpy",
    "seqmarket.mlflow": "mlflow",
    "seqmarket.platform": "platform",
    "seqmarket.cpus": "CPUs",
    "seqmarket.threads": "threads",
}
_SHORT = 12


def changes(contenders: Sequence[Contender]) -> list[tuple[str, str, list[str]]]:
    """Group, key, and the value of each contender, of everything that is not the same in all.

    Groups are `configuration`, `code and data`, and `environment`; ``-`` stands for no value. How
    networks are trained is compared among networks.
    """
    found = []
    configs = [contender.settings for contender in contenders]
    keys = dict.fromkeys(key for config in configs for key in config)
    for key in keys:
        values = [config.get(key, "-") for config in configs]
        compared = [
            value
            for contender, value in zip(contenders, values, strict=True)
            if contender.is_network or not key.startswith(OF_A_NETWORK)
        ]
        if len(set(compared)) > 1:
            found.append(("configuration", key, values))
    for group, names in (("code and data", _CODE), ("environment", _ENVIRONMENT)):
        for tag, name in names.items():
            values = [_of_runs(contender, tag) for contender in contenders]
            if len(set(values)) > 1:
                found.append((group, name, values))
    return found


def _of_runs(contender: Contender, tag: str) -> str:
    texts = dict.fromkeys(run.tags.get(tag, "-") for run in contender.runs)
    return ", ".join(text[:_SHORT] if len(text) in (40, 64) else text for text in texts)


COSTS = ("wall time of the fit", "events per second", "parameters", "peak memory")


def costs(contender: Contender) -> list[str]:
    """What it cost to have it, in the order of `COSTS`; the mean over its seeds."""
    if not contender.is_own:
        seconds = _mean(contender, f"baseline/{contender.model}/cost/fit_seconds")
        return [_seconds(seconds), "-", "-", "-"]
    speed = _mean(contender, "cost/events_per_second")
    size = _mean(contender, "cost/parameters")
    memory = _mean(contender, "cost/peak_memory_mib")
    return [
        _seconds(_mean(contender, "cost/fit_seconds")),
        "-" if speed is None else f"{speed:,.0f}",
        "-" if size is None else f"{size:,.0f}",
        "-" if memory is None else f"{memory:,.0f} MiB",
    ]


def _mean(contender: Contender, metric: str) -> float | None:
    values = [run.metrics[metric] for run in contender.runs if metric in run.metrics]
    return sum(values) / len(values) if values else None


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes:,} min {seconds:02d} s"
