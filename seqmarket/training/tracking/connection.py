"""How MLflow is loaded and called: quietly, and never for longer than agreed."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")
_REASON_LENGTH = 200


def is_sqlite(uri: str) -> bool:
    """Whether the address is a sqlite database."""
    return uri.startswith("sqlite")


def is_remote(uri: str) -> bool:
    """Whether somebody else has to answer, who may not."""
    return not is_sqlite(uri)


def without_credentials(uri: str) -> str:
    """The address without a user name and password, fit to be shown and stored."""
    return _CREDENTIALS.sub("", uri)


def load_mlflow(*, database: bool) -> None:
    """Imports MLflow quietly: 1.3 s, and 0.7 s more for its database part."""
    # Telemetry would look for the network at import. Who wants it can still switch it on.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow and its libraries warn about one another
        import mlflow

        if database:
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    for name, level in (("mlflow", "WARNING"), ("mlflow.store.db.utils", "CRITICAL")):
        logging.getLogger(name).setLevel(level)  # its errors reach us as exceptions


@contextmanager
def short_patience(seconds: float) -> Iterator[None]:
    """Makes MLflow's calls to a server give up after so many seconds, without retries."""
    # A little later than `bounded`, so that the same one of the two speaks each time.
    wanted = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(seconds) + 1),
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def bounded(call: Callable[[], T], seconds: float) -> T:
    """Calls, and waits for the answer only so long; a late answer is thrown away.

    Time limits of sockets are not enough: looking up a name has none, and a server that sends a
    byte now and then never reaches one.

    Raises:
        TimeoutError: If there is no answer in time.
        Exception: Whatever the call raises.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    # A daemon: a call that hangs must not keep the process from ending.
    thread = threading.Thread(target=work, name="mlflow", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:.3g} s")
    return answers[0]


def reason(error: BaseException, uri: str) -> str:
    """The root of an error in one short line, without credentials."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = str(error).strip().splitlines() or [""]
    text = lines[0].replace(uri, without_credentials(uri))[:_REASON_LENGTH]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
