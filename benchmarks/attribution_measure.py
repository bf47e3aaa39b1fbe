"""What one method says and costs, in a process of its own: a line of JSON.

Knows nothing of seqmarket and of no package besides, so that their memory is their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

Read = TypeVar("Read")


def measure(read: Callable[[], Read], credit: Callable[[Read], Mapping[str, float]]) -> None:
    """Prints credit by channel, the processor's seconds of both steps, and memory in MiB.

    Args:
        read: Takes the journeys in.
        credit: What the method says of them.
    """
    imports, began = _peak_memory(), time.process_time()
    journeys = read()
    taken_in = time.process_time()
    found = credit(journeys)
    done = time.process_time()
    answer = {
        "credit": {name: float(value) for name, value in found.items()},
        "read": taken_in - began,
        "seconds": done - taken_in,
        "MiB": _peak_memory(),
        "imports": imports,
    }
    print(json.dumps(answer))


def _peak_memory() -> float:
    """Peak resident memory in MiB; a child's getrusage would begin with the peak of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
