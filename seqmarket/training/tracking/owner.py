"""Which process a run belongs to, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from typing import Any

import psutil

_CLOCK_TOLERANCE = 2.0
"""Seconds by which the start time of one and the same process may be reported differently."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one that was given the same number.

    Attributes:
        host: Name of the machine.
        pid: Process number on that machine.
        started: When the process started, in seconds since 1970-01-01 UTC.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, float(psutil.Process(pid).create_time()))

    def is_gone(self) -> bool:
        """True only if the process ran on this machine and certainly runs no more."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return bool(abs(process.create_time() - self.started) > _CLOCK_TOLERANCE)
        except psutil.NoSuchProcess:
            return True

    def is_other(self) -> bool:
        """True if the process is not this one and, as far as can be told, still runs."""
        return self != Owner.current() and not self.is_gone()

    def to_dict(self) -> dict[str, Any]:
        """Plain containers only."""
        return asdict(self)
