"""How a command ends: its exit code, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Callable

from seqmarket.errors import SeqmarketError

MISTAKE = 2
"""Exit code after a mistake that the user can mend."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""


def guarded(command: Callable[[], int | None], *, resume: str | None = None) -> int:
    """Runs a command; a defect of seqmarket passes through, with its traceback.

    Args:
        command: Returns its exit code, or None for success.
        resume: The command line that goes on after an interruption.
    """
    try:
        return command() or 0
    except SeqmarketError as mistake:
        report(mistake)
        return MISTAKE
    except KeyboardInterrupt:
        say("interrupted" + (f"; resume with: {resume}" if resume else ""), label=None)
        return INTERRUPTED


def report(mistake: SeqmarketError) -> None:
    """Prints a mistake to the standard error stream, in colour on a terminal."""
    say(str(mistake), label="error:")


def say(text: str, *, label: str | None) -> None:
    """Prints a message to the standard error stream after an optional, coloured label."""
    from rich.console import Console
    from rich.text import Text

    message = Text.assemble((f"{label} ", "bold red"), text) if label else Text(text)
    Console(stderr=True, highlight=False, soft_wrap=True).print(message)
