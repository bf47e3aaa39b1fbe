"""`seqmarket embed`: the state of every customer of a log as of a moment, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from seqmarket.cli.outputs import writing
from seqmarket.cli.predict import open_question


def main(arguments: Sequence[str]) -> None:
    """Runs `embed RUN --output FILE [--as-of TIME] [data=files data.path=... overrides]`.

    Raises:
        SeqmarketError: There is no such run, it is of a baseline, the log breaks a rule, or lacks
            a feature.
    """
    asked = open_question(
        "embed",
        "Embeds every customer of a log as of a moment. Without data overrides, the run's own log.",
        arguments,
    )
    from seqmarket.training.embedding import embed_customers, write_embeddings

    embeddings = embed_customers(asked.trained, asked.event_log, asked.as_of)
    with writing(asked.output):
        write_embeddings(embeddings, asked.output)
    table = embeddings.table
    message = (
        f"{len(table):,} customers embedded in {len(table.columns) - 2} dimensions "
        f"as of {asked.as_of:%Y-%m-%d %H:%M} UTC"
    )
    if embeddings.n_skipped:
        message += f", {embeddings.n_skipped:,} left out who have no event by then"
    print(f"{message}: {asked.output}")
