"""Training steps beside the peers', in one process: real (not padded) events per second.

    make bench-train
    make bench-train ARGS="--only gru --rounds 1 --check-steps 32 --json figures.json"

Every model is of the same size, sees the same journeys (`train_log.py`) and predicts the next
channel at every event, by one linear layer and cross entropy. A step is forward, backward, clipping
and a fused AdamW; batches are made beforehand. The peers (`train_peers.py`) train on random, padded
batches in float32, as they do by default, and on our length buckets in float32 and in bfloat16
autocast; ours on the buckets in both. Rounds are interleaved, medians shown.

- loss: after `--check-steps` steps from the same seed on the same batches, the mean of the last
  third. A bfloat16 figure counts only if its loss is within 2 % of that in float32.
- MFU: the floating point operations that the model needs for the real events (3 times the forward
  pass; attention to the past only; embeddings and head not counted), per second, over those of a
  matrix product of the same precision and threads.
- without counts: ours without the fading counts among its inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import get_class, instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.train_log import N_CHANNELS, SPEC, Batch, deal, make_log, real_share
from benchmarks.train_peers import D_MODEL, MLP_RATIO, N_HEADS, N_LAYERS, PEERS
from seqmarket.data.engine.allocation import tune_for_training
from seqmarket.tensors import JourneyBatch

CONF = Path(__file__).parent.parent / "conf" / "model"
SIZES: dict[str, dict[str, int]] = {
    "transformer": {"n_layers": N_LAYERS, "n_heads": N_HEADS, "mlp_ratio": MLP_RATIO},
    "lstm": {"n_layers": 1},
    "gru": {"n_layers": 1},
}
WARM_UP = 3
"""Untimed rounds: with lengths that vary, memory grows for some, and each new page is cleared."""

TOLERANCE = 0.02
"""Largest deviation of a bfloat16 loss from that in float32, relative, at which it counts."""


@dataclass
class Contestant:
    """A model in one setting, and what was measured of it."""

    name: str
    family: str
    ours: bool
    bucketed: bool
    precision: str
    build: Callable[[], nn.Module]
    seconds: list[float] = field(default_factory=list)
    events_per_second: float = 0.0
    mfu: float = 0.0
    loss: float | None = None
    deviation: float = 0.0

    @property
    def counts(self) -> bool:
        return self.deviation <= TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        left_out = ("build", "seconds")
        plain = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**plain, "counts": self.counts}


class OurStates(nn.Module):
    """One of our encoders, reduced to its states."""

    def __init__(self, path: Path, counts: bool) -> None:
        super().__init__()
        sizes = {"d_model": D_MODEL, **SIZES.get(path.stem, {})}
        self.encoder = instantiate(OmegaConf.load(path), **sizes)(SPEC)
        if not counts:
            self.encoder.embedding.pace = Zero()
            self.encoder.embedding.counts = nn.Identity()

    def forward(self, batch: JourneyBatch) -> Tensor:
        states: Tensor = self.encoder(batch).states
        return states


class Zero(nn.Module):
    def forward(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return x.new_zeros(())


class Training:
    """A model in training."""

    def __init__(self, contestant: Contestant) -> None:
        torch.manual_seed(1)
        self.encoder = contestant.build()
        self.head = nn.Linear(D_MODEL, N_CHANNELS)
        self.parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, fused=True)
        self.bf16 = contestant.precision == "bf16"

    def step(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            states = self.encoder(batch.journeys)  # (B, T, D)
            logits = self.head(states.flatten(0, 1)[batch.rows])  # (N, channels)
            loss = cross_entropy(logits, batch.labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.detach()


def contestants(only: list[str]) -> list[Contestant]:
    """Those with one of the words in their name, family or side ("ours", "peers")."""
    found = []
    for path in sorted(CONF.glob("*.yaml")):
        if not issubclass(get_class(OmegaConf.load(path)["_target_"]), nn.Module):
            continue
        for name, counts in ((path.stem, True), (f"{path.stem}, without counts", False)):
            build = partial(OurStates, path, counts)
            found += [
                Contestant(name, path.stem, True, True, precision, build)
                for precision in ("fp32", "bf16")
            ]
    for name, peer in PEERS.items():
        found += [
            Contestant(name, peer.family, False, bucketed, precision, partial(peer.build, SPEC))
            for bucketed, precision in ((False, "fp32"), (True, "fp32"), (True, "bf16"))
        ]
    if not only:
        return found

    def about(c: Contestant) -> str:
        return f"{c.name} {c.family} {'ours' if c.ours else 'peers'}".lower()

    return [c for c in found if any(word.lower() in about(c) for word in only)]


def matrix_product_peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per second."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(seconds)


def useful_flops(contestant: Contestant, batches: list[Batch]) -> float:
    """Operations of training steps on the real events, whatever is computed beside them."""
    length: NDArray[np.int64] = np.concatenate(
        [b.journeys.mask.sum(dim=1).numpy() for b in batches]
    )
    events = int(length.sum())
    square = D_MODEL**2
    if contestant.family == "lstm":
        forward = 16.0 * square * events
    elif contestant.family == "gru":
        forward = 12.0 * square * events
    elif contestant.family == "transformer":
        pairs = float((length * (length + 1) // 2).sum())
        dense = (8.0 + 4.0 * MLP_RATIO) * square * events
        forward = N_LAYERS * (dense + 4.0 * D_MODEL * pairs)
    else:  # convolutions and the like: what an unpadded event costs
        with FlopCounterMode(display=False) as counter:
            contestant.build()(batches[0].journeys)
        forward = counter.get_total_flops() / batches[0].journeys.mask.numel() * events
    return 3.0 * forward


def final_loss(contestant: Contestant, batches: list[Batch]) -> float:
    """The mean of the last third of the steps, per label."""
    training = Training(contestant)
    losses = torch.stack([training.step(batch) for batch in batches])
    labels = torch.tensor([float(len(batch.labels)) for batch in batches])
    last = slice(len(batches) * 2 // 3, None)
    return float((losses[last] * labels[last]).sum() / labels[last].sum())


def check_losses(found: list[Contestant], batches: list[Batch]) -> None:
    """Compares bfloat16 with float32 wherever both train on the buckets."""
    reference: dict[str, float] = {}
    for contestant in sorted(found, key=lambda c: c.precision != "fp32"):
        if contestant.bucketed:
            say(f"loss of {contestant.name}, {contestant.precision}")
            contestant.loss = final_loss(contestant, batches)
            fp32 = reference.setdefault(contestant.name, contestant.loss)
            contestant.deviation = abs(contestant.loss / fp32 - 1.0)


def measure(
    found: list[Contestant], random: list[Batch], buckets: list[Batch], rounds: int
) -> None:
    trainings = [Training(contestant) for contestant in found]
    for i in range(-WARM_UP, rounds):
        for contestant, training in zip(found, trainings, strict=True):
            if i < -1 and not contestant.bucketed:
                continue
            say(f"round {i + 1} of {rounds}, {contestant.name}, {contestant.precision}")
            batches = buckets if contestant.bucketed else random
            began = time.perf_counter()
            for batch in batches:
                training.step(batch)
            if i >= 0:
                contestant.seconds.append(time.perf_counter() - began)
    peaks = {"fp32": torch.float32, "bf16": torch.bfloat16}
    peak = {name: matrix_product_peak(dtype) for name, dtype in peaks.items()}
    print("matrix product:", ", ".join(f"{n} {p / 1e9:,.0f} GFLOP/s" for n, p in peak.items()))
    for contestant in found:
        seconds = statistics.median(contestant.seconds)
        batches = buckets if contestant.bucketed else random
        contestant.events_per_second = sum(b.events for b in batches) / seconds
        contestant.mfu = useful_flops(contestant, batches) / seconds / peak[contestant.precision]


def say(what: str) -> None:
    """Shows progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{what:<79}", end="", file=sys.stderr, flush=True)


def print_figures(found: list[Contestant]) -> None:
    print(f"\n{'':<40}{'batches':<9}{'':<6}{'events/s':>9}{'MFU':>7}{'loss':>8}{'to fp32':>9}")
    for c in sorted(found, key=lambda c: (c.family, not c.ours)):
        name = f"seqmarket {c.name}" if c.ours else c.name
        loss = "" if c.loss is None else f"{c.loss:.4f}"
        deviation = f"{c.deviation:.2%}" if c.precision == "bf16" and c.loss else ""
        print(
            f"{name:<40}{'buckets' if c.bucketed else 'random':<9}{c.precision:<6}"
            f"{c.events_per_second:>9,.0f}{c.mfu:>7.1%}{loss:>8}{deviation:>9}"
            f"{'' if c.counts else '  not counted'}"
        )


def compare(found: list[Contestant]) -> list[dict[str, Any]]:
    """Our model over each peer: at the best that counts, and at equal precision."""

    def rate(name: str, bucketed: bool, *precisions: str) -> float:
        rates = [
            c.events_per_second
            for c in found
            if (c.name, c.bucketed) == (name, bucketed) and c.precision in precisions and c.counts
        ]
        return max(rates, default=float("nan"))

    both = ("fp32", "bf16")
    ours = {c.family for c in found if c.ours}
    peers = dict.fromkeys((c.name, c.family) for c in found if not c.ours and c.family in ours)
    rows = []
    for peer, family in peers:
        rows.append(
            {
                "peer": peer,
                "ours": family,
                "best to random": rate(family, True, *both) / rate(peer, False, "fp32"),
                "best to bucketed fp32": rate(family, True, *both) / rate(peer, True, "fp32"),
                "best to bucketed best": rate(family, True, *both) / rate(peer, True, *both),
                "fp32 to bucketed": rate(family, True, "fp32") / rate(peer, True, "fp32"),
                "bf16 to bucketed": rate(family, True, "bf16") / rate(peer, True, "bf16"),
            }
        )
    return rows


def print_ratios(rows: list[dict[str, Any]]) -> None:
    """Peers stay in float32 unless told otherwise: the first two columns are their defaults."""
    columns = {
        "best to random": "random",
        "best to bucketed fp32": "buckets",
        "best to bucketed best": "best of each",
        "fp32 to bucketed": "both fp32",
        "bf16 to bucketed": "both bf16",
    }
    titles = "".join(f"{title:>13}" for title in columns.values())
    print(f"\n{'ours: times as fast as':<40}{titles}")
    for row in rows:
        print(f"{row['peer']:<40}" + "".join(f"{row[name]:>13.2f}" for name in columns))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16, help="per round")
    parser.add_argument("--check-steps", type=int, default=150, help="0: no loss is compared")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="words: gru, ours, GPT-2, ...")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tune_for_training()  # for the peers, too
    events = make_log()
    random, buckets = deal(events, options.steps)
    shares = real_share(random), real_share(buckets)
    print(
        f"{events.n_events:,} events of {events.n_customers:,} customers; real positions: "
        f"{shares[0]:.0%} in random batches, {shares[1]:.0%} in buckets; threads: {options.threads}"
    )
    found = contestants(options.only)
    if options.check_steps:
        check_losses(found, deal(events, options.check_steps, seed=2)[1])
    measure(found, random, buckets, options.rounds)
    say("")
    print_figures(found)
    if rows := compare(found):
        print_ratios(rows)
    if options.json:
        settings = {"rounds": options.rounds, "steps": options.steps, "threads": options.threads}
        machine = {
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        }
        figures = [contestant.to_dict() for contestant in found]
        report = {**settings, "machine": machine, "figures": figures, "ratios": rows}
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
