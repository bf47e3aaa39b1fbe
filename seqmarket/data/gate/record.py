"""What a log was admitted by, to be held against what would admit it later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seqmarket.data.gate.gate import Gate


@dataclass(frozen=True)
class GateRecord:
    """A source and a gate, by digests: no identifier and no key.

    Attributes:
        source: Fingerprint of the source.
        parts: Part of the gate that is on -> what tells it apart: a digest, the id of a key, or a
            moment. See `Gate.parts`.
    """

    source: str
    parts: Mapping[str, str]

    @classmethod
    def of(cls, source: str, gate: Gate) -> GateRecord:
        """Records the gate that a source is read through."""
        return cls(source, gate.parts())

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> GateRecord:
        """The inverse of `to_dict`."""
        return cls(**plain)

    def changes(self, now: GateRecord) -> dict[str, tuple[str | None, str | None]]:
        """Part of the gate -> what it was and what it is now, where that differs."""
        then = self.parts
        return {
            part: (then.get(part), now.parts.get(part))
            for part in dict.fromkeys((*then, *now.parts))
            if then.get(part) != now.parts.get(part)
        }
