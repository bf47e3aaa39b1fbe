"""What the commands about single customers have in common: who is meant, and where to look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmarket.training.config import RunConfig

if TYPE_CHECKING:
    from seqmarket.data.erasure.needles import Needles
    from seqmarket.data.gate.gate import Gate
    from seqmarket.training.erasure import Places

ALSO: Mapping[str, Any] = {
    "type": Path,
    "action": "append",
    "default": [],
    "metavar": "PATH",
    "help": "a further file or folder to look into, such as predictions; may be repeated",
}


def who_gate(config: RunConfig) -> Gate:
    """The gate as far as it says who somebody is: identities, pseudonyms, erasures.

    Raises:
        SeqmarketError: A table or the key is missing or cannot be used.
    """
    from seqmarket.data.gate.gate import make_gate
    from seqmarket.data.gate.settings import ConsentSettings
    from seqmarket.training.instantiate import build

    source = build(config.data.source, prefix="data.")
    privacy = config.data.privacy.model_copy(update={"consent": ConsentSettings()})
    csv = getattr(source, "csv", None)
    return make_gate(config.data.identity, privacy, "training", csv=csv)


def needles_for(config: RunConfig, ids: list[str]) -> Needles:
    """What is looked for: identifiers, in columns of the names that the user's files have too."""
    from seqmarket.data.erasure.needles import Needles

    columns = config.data.options.get("columns") or {}
    own = [columns.get("customer_id"), config.data.options.get("customers_id_column")]
    identity = config.data.identity
    if identity.path is not None:
        own += [identity.columns.identifier, identity.columns.customer_id]
    return Needles(ids, [name for name in own if name])


def places_of(config: RunConfig, also: list[Path]) -> Places:
    """Where anything of ours lies.

    Raises:
        SeqmarketError: The tracking address is none, or a path of `also` does not exist.
    """
    from seqmarket.errors import SeqmarketError
    from seqmarket.training.erasure import Places
    from seqmarket.training.tracking.database import resolve_uri

    for path in also:
        if not path.exists():
            raise SeqmarketError("there is no such file or folder", where=f"--also {path}")
    return Places(
        cache_dir=config.paths.cache_dir,
        output_dir=config.paths.output_dir,
        tracking_uri=resolve_uri(config.tracking.uri, Path(config.tracking.root)),
        also=tuple(also),
    )


def log_name(config: RunConfig) -> str:
    """The name of the configured log."""
    from seqmarket.training.instantiate import build

    return str(build(config.data.source, prefix="data.").name)


def under_other_keys(cache_dir: Path, config: RunConfig) -> list[str]:
    """What is left to do about logs and stores whose pseudonyms this command cannot make."""
    from seqmarket.data.erasure.caches import key_id, logs, stores
    from seqmarket.data.gate.pseudonyms import Pseudonyms

    settings = config.data.privacy.pseudonyms
    own = Pseudonyms(settings).key_id if settings.enabled else None
    cached = (*logs(cache_dir), *stores(cache_dir))
    found = {key for path in cached if (key := key_id(path)) is not None}
    return [
        f"what the cache holds under the key {key} of pseudonyms, which is not this command's: "
        "run it again with data.privacy.pseudonyms.enabled=true and that key, or delete "
        + ", ".join(str(path) for path in cached if key_id(path) == key)
        for key in sorted(found - {own})
    ]
