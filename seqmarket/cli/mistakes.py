"""Says in the user's words what is wrong with an override."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seqmarket.errors import SeqmarketError, did_you_mean

_UNKNOWN_KEY = re.compile(r"Could not override '([^'@]+)'")


def explain_composition(
    error: HydraException | OmegaConfBaseException,
    known_keys: Callable[[], Sequence[str]],
    look: str,
) -> SeqmarketError:
    """Turns an error of Hydra's composition into one clear message.

    Args:
        error: What Hydra or OmegaConf raised.
        known_keys: Gives every dotted key of the configuration; asked only where it helps.
        look: Where the user finds every key.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error.missing_cfg_file, error.options or [])
    if isinstance(error, OverrideParseException):
        reason = error.message.splitlines()[1:2]
        return SeqmarketError(
            f"cannot read the override '{error.override}'"
            + (f": {reason[0].strip()}" if reason else ""),
            fix="write group=option or key.below=value; quote a value with special characters, "
            "as in 'name=\"a, b\"'",
        )
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or str(error).splitlines()[0].rpartition(": ")[2]
        return SeqmarketError(f"{key} has no value", where=key, fix=f"add {key}=... to the command")
    unknown = _UNKNOWN_KEY.match(str(error))
    if unknown:
        known = known_keys()
        hint = f"; {_nearest(unknown[1], known)}" if known else ""
        return SeqmarketError(f"there is no setting '{unknown[1]}'{hint}", fix=look)
    cause = f": {_first_line(error.__cause__)}" if error.__cause__ is not None else ""
    return SeqmarketError(f"{_first_line(error)}{cause}", fix=look)


def _missing_option(path: str, options: Sequence[str]) -> SeqmarketError:
    group, _, option = path.removesuffix(".yaml").rpartition("/")
    if not group:
        return SeqmarketError(
            f"there is no configuration '{option}'", fix="leave out --config-name"
        )
    options = sorted(name for name in options if not name.startswith("_"))
    near = difflib.get_close_matches(option, options, n=1)
    return SeqmarketError(
        f"there is no {group} '{option}'" + (f"; did you mean '{near[0]}'?" if near else ""),
        where=f"{group}={option}",
        fix=f"choose one of {', '.join(options)}"
        if options
        else f"put {path}.yaml into a directory and name that with --config-dir",
    )


def _nearest(key: str, known: Sequence[str]) -> str:
    """The same name elsewhere, else the nearest name beside it, else the nearest full key."""
    parent, _, name = key.rpartition(".")
    elsewhere = [full for full in known if full.rpartition(".")[2] == name]
    beside = {full.rpartition(".")[2]: full for full in known if full.rpartition(".")[0] == parent}
    # Where it was sought, a name that several sections have, such as path, means none of them.
    if elsewhere and (len(elsewhere) == 1 or not parent or not beside):
        return f"did you mean '{min(elsewhere, key=len)}'?"
    near = difflib.get_close_matches(name, beside, n=1)
    if near:
        return f"did you mean '{beside[near[0]]}'?"
    if beside:
        return f"known in {parent or 'the configuration'}: {', '.join(sorted(beside))}"
    if parent in known or difflib.get_close_matches(key, known, n=1):
        return did_you_mean(key, known)
    return _nearest(parent, known)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
