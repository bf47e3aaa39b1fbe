"""A migrated database to copy, since making one takes seconds, and a small MLflow server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import seqmarket
from seqmarket.training.tracking.connection import load_mlflow
from seqmarket.training.tracking.database import prepare_database
from seqmarket.training.tracking.settings import TrackingSettings


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def settings(template_database: Path, tmp_path: Path) -> TrackingSettings:
    root = tmp_path / "root"
    root.mkdir()
    shutil.copyfile(template_database, root / "mlflow.db")
    return TrackingSettings(root=str(root))


@pytest.fixture
def client(settings: TrackingSettings) -> Any:
    load_mlflow(database=True)
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{settings.root}/mlflow.db")


@pytest.fixture
def start_script(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python code in a process of its own; whatever still runs at the end is killed."""
    started = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=Path(seqmarket.__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class StubServer:
    """As much of an MLflow server as a run needs; it can die, hang, and come back.

    Attributes:
        calls: Method and path of every request, in order.
        bodies: The JSON bodies that came with them.
        run: The one run, as last updated.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.run: dict[str, Any] | None = None
        self.answering = threading.Event()
        self.answering.set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._respond({})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self._respond(json.loads(self.rfile.read(length) or b"{}"))

            def _respond(self, body: dict[str, Any]) -> None:
                stub.answering.wait(30)
                content = json.dumps(stub.answer(self.path.partition("?")[0], body)).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:  # the client has given up
                    return

            def log_message(self, *_: Any) -> None:
                return

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.answering.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        name = path.removeprefix("/api/2.0/mlflow/")
        self.calls.append(name)
        self.bodies.append(body)
        if name == "experiments/get-by-name":
            return {"experiment": {"experiment_id": "7", "name": "x", "lifecycle_stage": "active"}}
        if name == "runs/create":
            info = {
                "run_id": "0123abcd",
                "run_uuid": "0123abcd",
                "experiment_id": "7",
                "status": "RUNNING",
                "lifecycle_stage": "active",
                "artifact_uri": "/nowhere",
            }
            self.run = {"info": info, "data": {"tags": body.get("tags", [])}}
        if name == "runs/update" and self.run is not None:
            self.run["info"]["status"] = body["status"]
        if name == "runs/update":
            return {"run_info": self.run["info"]} if self.run else {}
        if name == "runs/search":
            return {"runs": [self.run]} if self.run else {}
        return {"run": self.run} if name.startswith(("runs/create", "runs/get")) else {}


@pytest.fixture
def server() -> Iterator[StubServer]:
    stub = StubServer()
    yield stub
    stub.stop()
