"""How a run ends: told from the exception that ended it, and from SIGTERM."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from seqmarket.training.tracking.record import RunStatus


class RunKilled(SystemExit):
    """Raised in the main thread when the process is asked to end (SIGTERM).

    Like `KeyboardInterrupt` it passes by ``except Exception``; unhandled, it ends the process
    without a traceback, with the exit code that a shell gives to the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class TerminationHandler:
    """Turns SIGTERM into `RunKilled`, once, for as long as a run is open."""

    def __init__(self) -> None:
        self._previous: Any = None
        self._is_installed = False
        self._is_ignoring = False

    def install(self) -> None:
        """Takes over SIGTERM; does nothing outside the main thread, which alone gets signals."""
        try:
            self._previous = signal.signal(signal.SIGTERM, self._handle)
        except ValueError:
            return
        self._is_installed = True

    def ignore(self) -> None:
        """From now on SIGTERM does nothing: the run is being closed already."""
        self._is_ignoring = True

    def restore(self) -> None:
        """Gives SIGTERM back to whoever had it before."""
        if self._is_installed:
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)
            self._is_installed = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._is_ignoring:
            self._is_ignoring = True  # the cleaning up must not be broken off in turn
            raise RunKilled(signum)


def status_after(error: BaseException | None) -> RunStatus:
    """The final status of a run that this exception ended; None: it came to its end."""
    if error is None:
        return "FINISHED"
    if isinstance(error, (KeyboardInterrupt, RunKilled)):
        return "KILLED"
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, KeyboardInterrupt):
            return "KILLED"  # Lightning answers Ctrl-C with an exit of its own
        return "FINISHED" if error.code in {None, 0} else "FAILED"
    return "FAILED"
