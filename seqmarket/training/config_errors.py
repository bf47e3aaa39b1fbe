"""Says in the user's words which settings are wrong, from what pydantic found."""

from __future__ import annotations

import re
import reprlib
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from typing_extensions import is_typeddict

from seqmarket.errors import SeqmarketError, did_you_mean

_BLAMED = "wrong_setting"
_NO_TAG, _WRONG_TAG = "union_tag_not_found", "union_tag_invalid"


def wrong(key: str, reason: str) -> PydanticCustomError:
    """What a check of several settings raises, so that the message names the one to blame.

    Args:
        key: Its dotted key below the settings that are checked.
        reason: What is wrong.
    """
    return PydanticCustomError(_BLAMED, "{reason}", {"key": key, "reason": reason})


def explain(error: ValidationError, shape: Any = None, prefix: str = "") -> SeqmarketError:
    """Turns a failed validation into one message that names every wrong setting.

    Args:
        error: What pydantic raised.
        shape: The pydantic model or `TypedDict` that was validated; names the known keys.
        prefix: Put before every key, as in ``data.``.

    Returns:
        The error to raise: per setting its dotted key, what was expected and what was found.
    """
    reasons: dict[str, list[str]] = {}
    expected: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for item in error.errors(include_url=False):
        path, known = _locate(shape, item["loc"])
        if item["type"] == _BLAMED:
            path += item["ctx"]["key"].split(".")
        elif item["type"] in (_NO_TAG, _WRONG_TAG):
            path.append(item["ctx"]["discriminator"].strip("'"))
        key = ".".join([*filter(None, [prefix.rstrip(".")]), *path])
        if item["type"] == _BLAMED:
            reasons[key] = [item["msg"]]
        elif item["type"] == "extra_forbidden":
            hint = f"; {did_you_mean(path[-1], known)}" if known else ""
            reasons[key] = [f"no such setting{hint}"]
        elif item["type"] == _WRONG_TAG:
            tags = re.findall(r"'(.+?)'", item["ctx"]["expected_tags"])
            reasons[key] = [f"no such {path[-1]}; {did_you_mean(item['ctx']['tag'], tags)}"]
        elif item["type"] in ("missing", "missing_argument", _NO_TAG):
            reasons[key] = ["is missing"]
        elif item["type"] in ("value_error", "assertion_error"):
            reasons[key] = [item["msg"].partition(", ")[2]]
        else:
            expected.setdefault(key, []).append(_expectation(item["msg"]))
            got[key] = reprlib.repr(item["input"])
    for key, wanted in expected.items():
        text = " or ".join(dict.fromkeys(wanted))
        reasons.setdefault(key, []).append(f"expected {text}, got {got[key]}")
    lines = [f"{key}: {'; '.join(why)}" if key else "; ".join(why) for key, why in reasons.items()]
    if len(lines) == 1:
        return SeqmarketError(lines[0])
    return SeqmarketError(f"{len(lines)} settings are wrong:\n  " + "\n  ".join(lines))


def _locate(shape: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The dotted path of a location, without pydantic's union tags, and the names known there."""
    path: list[str] = []
    known: list[str] = []
    for part in location:
        tagged = _tagged(shape)
        if part in tagged:
            shape = tagged[part]
            continue
        inner = _unwrap(shape)
        fields = _fields(inner)
        if fields is not None:
            known = list(fields)
            path.append(str(part))
            shape = fields.get(str(part))
        elif get_origin(inner) is dict:
            path.append(str(part))
            shape = get_args(inner)[1]
        elif isinstance(part, int):
            path.append(f"{path.pop() if path else ''}[{part}]")
            shape = (get_args(inner) or (None,))[0]
        elif inner is None:
            path.append(part)
        else:
            break
    return path, known


def _tagged(shape: Any) -> dict[int | str, Any]:
    """The arms of a union with a discriminator by their tags; of anything else, nothing."""
    if get_origin(shape) is not Annotated:
        return {}
    union, *notes = get_args(shape)
    names = [note.discriminator for note in notes if isinstance(note, FieldInfo)]
    return {
        tag: arm
        for name in names
        if isinstance(name, str)
        for arm in get_args(union)
        for tag in get_args(arm.model_fields[name].annotation)
    }


def _fields(shape: Any) -> dict[str, Any] | None:
    """The settings of a model or `TypedDict` by the name that the user writes."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return {
            # Pydantic keeps the discriminator of a union apart from its annotation.
            field.alias or name: Annotated[field.annotation, field]
            if field.discriminator
            else field.annotation
            for name, field in shape.model_fields.items()
        }
    if is_typeddict(shape):
        return dict(shape.__annotations__)
    return None


def _unwrap(shape: Any) -> Any:
    """Looks inside ``Annotated[X, ...]``, ``Required[X]`` and ``X | None``."""
    if get_origin(shape) in (Union, UnionType):
        inner = [_unwrap(arm) for arm in get_args(shape) if arm is not type(None)]
        nested = [arm for arm in inner if _fields(arm) is not None or get_origin(arm) is dict]
        return nested[0] if nested else inner[0]
    if get_origin(shape) is Annotated or str(get_origin(shape)).endswith("Required"):
        return _unwrap(get_args(shape)[0])
    return shape


def _expectation(message: str) -> str:
    """Pydantic's message without its framing, as in ``Input should be a valid integer, ...``."""
    text = message.removeprefix("Input should be ").partition(", unable to")[0]
    text = text.partition(" or object to extract")[0].replace("valid tuple", "list")
    return text[:1].lower() + text[1:]
