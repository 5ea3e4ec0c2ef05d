"""The command as a process: signals, ports, what it refuses."""

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill_jax.cli import main
from distill_jax.export import graph
from distill_jax.export.directory import export_onnx
from tests.tiny import save_tiny

TOKEN = {"authorization": "Bearer s3cret"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that needs no JAX: the process starts quickly."""
    folder = tmp_path_factory.mktemp("models")
    export_onnx(save_tiny(folder / "src", "bilstm"), folder / "tiny")
    return folder / "tiny"


class Served:
    """`distill-jax serve` of some models on a free port; its log as it comes."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "distill_jax", "serve", *arguments, "--port", "0"]
        environment = os.environ | {"DISTILL_JAX_TOKEN": "s3cret"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.records: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        url = self.event("listening")["url"]
        self.event("ready")
        self.port = int(url.rstrip("/").rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.records.append(json.loads(line))
                self._changed.notify_all()

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """A record of the log, waited for."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": name, **fields}
            return next((r for r in self.records if wanted.items() <= r.items()), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, 60), self.records
            record = found()
            assert record is not None
            return record

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ends(self, code: int) -> None:
        assert self.process.wait(30) == code, self.records
        self._reader.join(10)


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    served = Served(*arguments)
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()


def test_from_the_first_request_to_sigterm(exported: Path) -> None:
    """SIGHUP looks at the models again; after SIGTERM a request that has begun is answered, and code 0."""
    with serving("--model", str(exported), "--drain", "0.2") as served:
        idle, begun = served.connect(), served.connect()
        idle.request("POST", "/predict", json.dumps({"inputs": "to berlin"}), TOKEN)
        answer = idle.getresponse()
        assert answer.status == 200 and isinstance(json.loads(answer.read()), list)
        served.process.send_signal(signal.SIGHUP)
        served.event("reload", model="tiny", result="unchanged")
        body = json.dumps({"inputs": ["to berlin"] * 50}).encode()
        begun.putrequest("POST", "/predict")
        begun.putheader("content-length", str(len(body)))
        begun.putheader("authorization", "Bearer s3cret")
        begun.endheaders(body[:10])
        served.process.send_signal(signal.SIGTERM)
        served.event("ending", signal="SIGTERM")
        late = served.connect()
        late.request("GET", "/v2/health/ready")
        refused = late.getresponse()
        assert refused.status == 503 and refused.headers["connection"] == "close"
        begun.send(body[10:])
        answer = begun.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())) == 50
        assert answer.headers["connection"] == "close"
        served.ends(0)
        assert served.records[-1]["event"] == "ended"
        with pytest.raises(ConnectionRefusedError):
            served.connect().request("GET", "/")


def test_an_export_may_be_overwritten_while_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_LARGE", 64)  # its tables get a file of their own
    export_onnx(save_tiny(tmp_path / "src", "bilstm"), tmp_path / "tiny")
    tables = tmp_path / "tiny" / "model.onnx.data"
    with serving("--model", str(tmp_path / "tiny"), "--drain", "0") as served:
        answers = []
        for content in (tables.read_bytes(), bytes(tables.stat().st_size)):
            tables.write_bytes(content)
            client = served.connect()
            body = {"inputs": "to berlin", "parameters": {"posteriors": True}}
            client.request("POST", "/predict", json.dumps(body), TOKEN)
            answers.append(json.loads(client.getresponse().read()))
        assert answers[0] == answers[1]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which the command ends, code 2."""
    assert main(["serve", *arguments]) == 2
    output = capsys.readouterr()
    [line] = output.err.splitlines()
    assert line.startswith("distill-jax: error: ") and output.out == ""
    return line


def test_what_it_refuses(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(exported)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: in use by another" in refused([*model, "--port", port], capsys)
    assert "--port is 70000" in refused([*model, "--port", "70000"], capsys)
    assert "no address of this machine" in refused([*model, "--host", "203.0.113.7"], capsys)
    assert "--queue 1 is smaller" in refused([*model, "--queue", "1"], capsys)
    assert "--window_ms is negative" in refused([*model, "--window_ms", "-1"], capsys)
    assert "--timeout is 0.0" in refused([*model, "--timeout", "0"], capsys)
    absent = ["--model", str(tmp_path / "none"), "--port", "0"]
    assert "none: cannot be read" in refused(absent, capsys)
    (tmp_path / "empty").mkdir()
    empty = ["--model", str(tmp_path / "empty"), "--port", "0"]
    assert "empty: not a model directory" in refused(empty, capsys)
    token = tmp_path / "token"
    assert "token: cannot be read" in refused([*model, "--token_file", str(token)], capsys)
    for content in ("", "two words", "ü"):
        token.write_text(content, "utf-8")
        assert "holds no token" in refused([*model, "--token_file", str(token)], capsys)


def test_without_the_extra(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "uvicorn" else find(n))
    line = refused(["--model", str(exported)], capsys)
    assert "needs uvicorn" in line and "pip install 'distill_jax[serve]'" in line
