"""What the peers of `attribution_peers.py` say of a table of journeys: one method, in their Python.

    PYTHON -m benchmarks.attribution_credit TABLE "ChannelAttribution markov 3"

Knows nothing of seqmarket. The table has one row per journey: `journey`; `path`, its channels;
`hours`, from each touch to the end; `converted`, `total_conversions` and `total_null`, 0 or 1. The
answer is that of `attribution_measure.py`, its credit on the scale that the package documents.

Options stay as each package has them, but where they could only make it slower: messages are
off, and times are not made up where none are used.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.attribution_measure import measure

SEPARATOR = ">"

Credit = dict[str, float]


def pandas_table(path: Path, *columns: str) -> Any:
    return import_module("pandas").read_parquet(path, columns=list(columns))


def polars_table(path: Path, *columns: str) -> Any:
    return import_module("polars").read_parquet(path, columns=list(columns))


class Peer:
    """A package: how it takes the table in, and what it then says by each of its methods.

    Attributes:
        package: As it is imported.
    """

    package: str

    def read(self, path: Path) -> Any:
        raise NotImplementedError

    def methods(self) -> dict[str, Callable[[Any], Credit]]:
        raise NotImplementedError


class ChannelAttribution(Peer):
    """Compiled. Chains are simulated, until the effects vary by less than 5 %."""

    package = "ChannelAttribution"
    columns = ("path", "total_conversions", "total_null")

    def read(self, path: Path) -> Any:
        return pandas_table(path, *self.columns)

    def methods(self) -> dict[str, Callable[[Any], Credit]]:
        rules = ("first_touch", "last_touch", "linear_touch")
        chains = {f"markov {k}": lambda table, k=k: self.markov(table, k) for k in (1, 2, 3)}
        return {name: lambda table, name=name: self.rule(table, name) for name in rules} | chains

    def rule(self, table: Any, name: str) -> Credit:
        peer = import_module(self.package)
        found = peer.heuristic_models(table, *self.columns[:2], sep=SEPARATOR, flg_pro=False)
        return dict(zip(found["channel_name"], found[name], strict=True))

    def markov(self, table: Any, order: int) -> Credit:
        found = import_module(self.package).markov_model(
            table,
            *self.columns[:2],
            var_null=self.columns[2],
            order=order,
            sep=SEPARATOR,
            verbose=False,
            flg_pro=False,
        )
        return dict(zip(found["channel_name"], found["total_conversions"], strict=True))


class MarketingAttributionModels(Peer):
    """On Polars."""

    package = "mam"

    def read(self, path: Path) -> Any:
        return polars_table(path, "journey", "path", "hours", "converted")

    def methods(self) -> dict[str, Callable[[Any], Credit]]:
        names = ("first_click", "last_click", "linear", "position_based", "time_decay", "markov")
        ways: dict[str, dict[str, Any]] = {name: {} for name in (*names, "shapley")}
        ways["markov with loops"] = {"transition_to_same_state": True}
        return {
            name: lambda table, name=name, options=options: self.credit(
                table, name.split()[0], options
            )
            for name, options in ways.items()
        }

    def credit(self, table: Any, method: str, options: dict[str, Any]) -> Credit:
        models = import_module(self.package).MAM(
            table,
            format_type="journey",
            channels_colname="path",
            journey_with_conv_colname="converted",
            user_id_colname="journey",
            time_till_conv_colname="hours",
            path_separator=SEPARATOR,
        )
        found = getattr(models, f"run_{method}")(**options).to_polars()
        return dict(zip(found["channels"].cast(str), found["attribution"], strict=True))


class Mta(Peer):
    """Plain Python. Repeats of a channel are dropped, equal paths counted together."""

    package = "mta"

    def read(self, path: Path) -> Any:
        return pandas_table(path, "path", "total_conversions", "total_null")

    def methods(self) -> dict[str, Callable[[Any], Credit]]:
        rules = ("first_touch", "last_touch", "linear", "position_based", "time_decay")
        learnt = ("markov", "shapley", "shao", "logistic_regression", "additive_hazard")
        return {
            name: lambda table, name=name: self.credit(table, name) for name in (*rules, *learnt)
        }

    def credit(self, table: Any, method: str) -> Credit:
        timed = method == "additive_hazard"
        models = import_module(self.package).MTA(table, sep=SEPARATOR, add_timepoints=timed)
        getattr(models, method)()
        (found,) = models.attribution.values()
        return dict(found)


class ShapleyAttribution(Peer):
    """Plain Python, with scikit-learn's gradient boosting for what a set is worth."""

    package = "shapley_attribution"
    ways: ClassVar = {
        "first": "FirstTouchAttribution",
        "last": "LastTouchAttribution",
        "linear": "LinearAttribution",
        "time decay": "TimeDecayAttribution",
        "position": "PositionBasedAttribution",
        "simplified": "SimplifiedShapleyAttribution",
        "ordered": "OrderedShapleyAttribution",
        "monte carlo": "MonteCarloShapleyAttribution",
        "path": "PathShapleyAttribution",
    }

    def read(self, path: Path) -> Any:
        table = pandas_table(path, "path", "total_conversions")
        return [p.split(SEPARATOR) for p in table["path"]], table["total_conversions"].to_numpy()

    def methods(self) -> dict[str, Callable[[Any], Credit]]:
        return {
            name: lambda table, kind=kind: self.credit(table, kind)
            for name, kind in self.ways.items()
        }

    def credit(self, table: Any, kind: str) -> Credit:
        model = getattr(import_module(self.package), kind)()
        if "random_state" in model.get_params():
            model.set_params(random_state=1)
        paths, converted = table
        if kind == "OrderedShapleyAttribution":  # takes every path for one that converts
            paths = [path for path, one in zip(paths, converted, strict=True) if one]
            converted = None
        return model.fit(paths, converted).get_attribution()


class DoAttribution(Peer):
    """Plain Python; chains are fitted anew for each channel that is taken away."""

    package = "do_attribution"

    def read(self, path: Path) -> Any:
        return pandas_table(path, "path", "total_conversions")

    def methods(self) -> dict[str, Callable[[Any], Credit]]:
        chains = {f"markov {k}": ("MarkovAttribution", {"order": k}) for k in (1, 2, 3)}
        redirected = {"order": 1, "removal_strategy": "redirect_to_null"}
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            **chains,
            "markov 1, redirect": ("MarkovAttribution", redirected),
            "shapley": ("ShapleyAttribution", {}),
        }
        return {
            name: lambda table, kind=kind, options=options: self.credit(table, kind, options)
            for name, (kind, options) in ways.items()
        }

    def credit(self, table: Any, kind: str, options: dict[str, Any]) -> Credit:
        model = getattr(import_module(self.package), kind)(separator=SEPARATOR, **options)
        found = model.fit(table["path"], table["total_conversions"])
        if found["attribution"] is None:
            raise ValueError(f"no shares: {found['normalization_reason']}")
        return found["attribution"]


PEERS = {
    "ChannelAttribution": ChannelAttribution(),
    "marketing-attribution-models": MarketingAttributionModels(),
    "mta": Mta(),
    "shapley-attribution": ShapleyAttribution(),
    "do-attribution": DoAttribution(),
}
METHODS = {
    f"{name} {method}": (peer, run)
    for name, peer in PEERS.items()
    for method, run in peer.methods().items()
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, nargs="?")
    parser.add_argument("method", choices=METHODS, nargs="?")
    parser.add_argument("--list", action="store_true", help="name the methods")
    options = parser.parse_args()
    if options.list:
        print(*METHODS, sep="\n")
        return
    peer, credit = METHODS[options.method]
    import_module(peer.package)
    measure(lambda: peer.read(options.table), credit)


if __name__ == "__main__":
    main()
