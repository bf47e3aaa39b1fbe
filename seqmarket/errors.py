"""The one exception that is meant for the user's eyes.

Everything a user can get wrong (a path, a column, a config key, a bad row) is raised as a
`SeqmarketError`; the command line prints it without a traceback and exits with a non-zero code.
Any other exception is a defect of seqmarket and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SeqmarketError(Exception):
    """A mistake that the user can mend.

    Args:
        what: What is wrong, in one sentence.
        where: The file, row, column or config key that is to blame.
        fix: The command or setting that mends it.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.fix is not None:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ``"did you mean 'x'?"`` for the nearest known name, else the list of known names."""
    choices = sorted(set(known))
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return "known: " + ", ".join(choices)
