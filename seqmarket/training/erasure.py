"""An erasure, from the entry in the ledger to the proof; and the runs that it concerns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from seqmarket.data.erasure.caches import logs, stores
from seqmarket.data.erasure.customers import Customers
from seqmarket.data.erasure.logs import erase_from_log
from seqmarket.data.erasure.needles import Needles, is_long
from seqmarket.data.erasure.scan import Finding, scan_for
from seqmarket.data.erasure.stores import Held, erase_from_store, hold
from seqmarket.data.erasure.tables import (
    PARQUET,
    erase_quarantine,
    erase_rows,
    remove_leftovers,
)
from seqmarket.data.gate.ledger import Erasure, Ledger
from seqmarket.data.prepare import QUARANTINE
from seqmarket.errors import SeqmarketError
from seqmarket.training.retraining import MARKER, MARKER_TAG, Marker, as_tags, mark
from seqmarket.training.run_files import (
    PLACEHOLDER,
    Removed,
    Stores,
    erase_from_files,
    rename_in_table,
    run_facts,
)
from seqmarket.training.tracking.connection import is_sqlite
from seqmarket.training.tracking.database import database_file
from seqmarket.training.tracking.local_runs import compact, recorded_runs, redact_profile, tag_run
from seqmarket.training.tracking.record import RunRecord, write_atomic

_RECORD = "run.json"


@dataclass(frozen=True)
class Places:
    """Where to look.

    Attributes:
        cache_dir: Logs, stores, rows that were put aside.
        output_dir: Run folders.
        tracking_uri: A resolved MLflow address.
        also: Files and folders that the user names, such as predictions written elsewhere.
    """

    cache_dir: Path
    output_dir: Path
    tracking_uri: str
    also: tuple[Path, ...] = ()

    def roots(self, uris: Sequence[str], artifacts: Iterable[Path]) -> list[Path]:
        """All files and folders, those of embedded MLflow databases included; none in another."""
        found = {self.cache_dir, self.output_dir, *self.also, *artifacts}
        for uri in uris:
            path = database_file(uri)
            found |= {path.with_name(f"{path.name}{end}") for end in ("", "-wal", "-journal")}
            found.add(path.parent / "mlartifacts")
        absolute = {path.resolve() for path in found}
        return sorted(path for path in absolute if absolute.isdisjoint(path.parents))


@dataclass
class Outcome:
    """What an erasure did.

    Attributes:
        removed: Place -> what was removed there, in numbers; places where nothing was are absent.
        to_be_retrained: Number of models that are marked.
        left: Where something of it is left.
        to_do: What only the user can do, a sentence each.
        is_new: Whether the ledger did not name these customers before.
    """

    removed: dict[str, Counter[str]] = field(default_factory=dict)
    to_be_retrained: int = 0
    left: list[Finding] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)
    is_new: bool = True

    def add(self, place: str, **counts: int) -> None:
        """Adds to the numbers of a place."""
        found = Counter({name.replace("_", " "): n for name, n in counts.items() if n})
        if found:
            self.removed[place] = self.removed.get(place, Counter()) + found


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Attributes:
        folder: Its folder.
        record: The folder of its record; None: it has none.
        fingerprint: Of the data that it was trained on; empty: not known.
        log_name: Name of its log; empty: not known.
    """

    folder: Path
    record: Path | None
    fingerprint: str
    log_name: str


def erase_everywhere(
    customers: Customers, needles: Needles, ledger: Ledger, places: Places, log_name: str
) -> Outcome:
    """Erases customers from everything of ours that is on this machine, then looks for them.

    The ledger comes first: from then on the gate refuses them. Then the logs; the runs, while the
    stores that tell whom they were trained on are still there; the stores; and the rest. Killed
    at any moment, it can be called again.

    Args:
        customers: Who.
        needles: The names under which they may be stored.
        ledger: The ledger.
        places: Where to look.
        log_name: Name of the log that the customers are of.
    """
    outcome = Outcome()
    erasure = ledger.enter(customers.identifiers, customers.number)
    outcome.is_new = erasure.is_new
    erased = ledger.erased()
    for path in logs(places.cache_dir):
        theirs = erase_from_log(path, needles, erased, customers.key_id)
        outcome.add("validated logs", customers=theirs, logs=int(theirs > 0))
    runs = _Runs(Stores(hold(places.cache_dir, needles)), needles, erasure, log_name, outcome)
    for run in find_runs(places.output_dir):
        runs.erase_folder(run)
    uris = {uri for uri in (places.tracking_uri, *runs.mirrors) if is_sqlite(uri)}
    uris = {uri for uri in uris if database_file(uri).is_file()}
    for uri in sorted(uris):
        runs.erase_database(uri)
    _from_tables((places.output_dir, *places.also), needles, runs.texts, outcome)
    for path in stores(places.cache_dir):
        theirs, stays = erase_from_store(path, needles, places.cache_dir)
        if theirs:  # the page of its quality report
            (places.output_dir / "data" / f"{path.name}.html").unlink(missing_ok=True)
        outcome.add("encoded stores", customers=theirs, removed_as_a_whole=int(not stays))
    for path in sorted((places.cache_dir / QUARANTINE).glob("*.parquet")):
        with suppress(pl.exceptions.PolarsError):
            outcome.add("rows put aside", rows=erase_quarantine(path, needles))
    for uri in sorted(uris):
        try:
            compact(uri)
        except SeqmarketError as error:
            outcome.to_do.append(f"{error.what}: {error.fix}")
    outcome.left = scan_for(needles, places.roots(sorted(uris), runs.artifacts))
    texts = [text for text in runs.texts if is_long(text)]
    outcome.left += scan_for(texts, sorted(runs.changed)) if texts else []
    counts = {name: sum(count.values()) for name, count in outcome.removed.items()}
    ledger.conclude(erasure, counts, len(outcome.left))
    return outcome


def find_runs(output_dir: Path) -> Iterator[RunFolder]:
    """Every run below a folder: those with a record, and those of which a checkpoint is left."""
    found: set[Path] = set()
    for about in sorted(output_dir.rglob(f"tracking*/{_RECORD}")):
        folder = about.parent.parent
        record = RunRecord(about.parent)
        fingerprint = record.tags.get("seqmarket.data_fingerprint", "")
        name = record.datasets[0]["name"] if record.datasets else ""
        if folder not in found:
            found.add(folder)
            yield RunFolder(folder, about.parent, fingerprint, name)
    for checkpoint in sorted(output_dir.rglob("*.ckpt")):
        if not found.isdisjoint(checkpoint.parents):
            continue
        folder = checkpoint.parent
        found.add(folder)
        facts = run_facts(folder)
        name = facts["config"]["data"].get("name", "") if facts else ""
        yield RunFolder(folder, None, facts.get("store_fingerprint", ""), name)


@dataclass
class _Runs:
    """The part of an erasure that concerns runs, on disk and in MLflow.

    Attributes:
        stores: The stores as they were, to find out whom a run was trained on.
        texts: Categories that only erased customers had.
        changed: Folders that these were removed from.
        mirrors: Addresses of MLflow that runs were sent to.
        artifacts: Folders of artifacts in MLflow.
    """

    stores: Stores
    needles: Needles
    erasure: Erasure
    log_name: str
    outcome: Outcome
    texts: set[str] = field(default_factory=set)
    changed: set[Path] = field(default_factory=set)
    mirrors: set[str] = field(default_factory=set)
    artifacts: set[Path] = field(default_factory=set)

    def erase_folder(self, run: RunFolder) -> None:
        """Erases from a run on disk; its marker comes last, with the record's tags."""
        path = run.folder / MARKER
        before = json.loads(path.read_text()) if path.is_file() else {}
        held, orphan = self._held(run.fingerprint, run.log_name, before)
        removed = self._erase("runs", run.folder, held, orphan=orphan)
        record = None if run.record is None else RunRecord(run.record)
        sent = [] if run.record is None else mirrors_of(run.record)
        self.mirrors |= set(sent)
        marker = mark(before, held, self.erasure, orphan=orphan)
        if marker is None:
            return
        self.outcome.to_be_retrained += 1
        for uri in sent:
            if not is_sqlite(uri):
                self.outcome.to_do.append(_send_again(run.folder, uri, removed))
        if record is not None:
            if record.status == "RUNNING":
                self.outcome.to_do.append(
                    f"the run in {run.folder} is still going on, and will write what it has "
                    "read: run this command again when it has ended"
                )
            record.add_tags(as_tags(marker))
        write_atomic(path, json.dumps(marker, indent=1).encode())

    def erase_database(self, uri: str) -> None:
        """Erases from the artifacts of all runs of an embedded database, deleted ones too."""
        for run in recorded_runs(uri):
            before = json.loads(run.tags.get(MARKER_TAG, "{}"))
            held, orphan = self._held(run.fingerprint, run.log_name, before)
            marker = mark(before, held, self.erasure, orphan=orphan)
            if run.artifacts is None:
                if marker is not None:
                    self.outcome.to_do.append(
                        f"the artifacts of the MLflow run {run.run_id} are at {run.artifact_uri}, "
                        "not on this machine: delete them there, or log them again"
                    )
                continue
            self.artifacts.add(run.artifacts)
            removed = self._erase("MLflow", run.artifacts, held, orphan=orphan)
            if removed.texts:
                redact_profile(uri, run.fingerprint, removed.texts, PLACEHOLDER)
            if marker is not None and run.active:
                tag_run(uri, run.run_id, as_tags(marker))

    def _held(self, fingerprint: str, log_name: str, marker: Marker) -> tuple[Held | None, bool]:
        """The store that a run was trained on, and whether it is gone and may be of this log."""
        held = self.stores.of(fingerprint, marker.get("remaining", ""))
        return held, held is None and log_name == self.log_name

    def _erase(self, place: str, folder: Path, held: Held | None, *, orphan: bool) -> Removed:
        removed = erase_from_files(folder, held, self.stores, self.needles, orphan=orphan)
        self.outcome.add(place, **{key.replace(" ", "_"): n for key, n in removed.counts.items()})
        if removed.texts:
            self.texts |= removed.texts
            self.changed.add(folder)
        return removed


def _from_tables(
    roots: Sequence[Path], needles: Needles, texts: set[str], outcome: Outcome
) -> None:
    """Tables with identifiers, wherever they lie; in those of predictions, categories too."""
    for root in roots:
        if root.is_dir():
            remove_leftovers(root)
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file():
                # What is damaged stays, and the scan says so.
                with suppress(SeqmarketError, pl.exceptions.PolarsError):
                    outcome.add("other tables", rows=erase_rows(path, needles))
                    if path.suffix in PARQUET and "prediction_time" in pl.read_parquet_schema(path):
                        rename_in_table(path, texts)


def mirrors_of(record: Path) -> list[str]:
    """The addresses of MLflow that a record was sent to."""
    path = record / "mirrors.json"
    return list(json.loads(path.read_bytes())) if path.is_file() else []


def _send_again(folder: Path, uri: str, removed: Removed) -> str:
    pictures = " and delete the removed pictures there" if removed.counts["pictures"] else ""
    return (
        f"the run in {folder} is also on {uri}: `seqmarket sync {folder}` replaces its files "
        f"there;{pictures or ' look whether the server keeps older versions'}"
    )
