"""`distill-jax serve` as a process to be measured, and the models it serves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class Server:
    """A process that serves; its log is read, and what it says of faults kept."""

    def __init__(self, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "distill_jax", "serve", *arguments]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--no_request_log"], stderr=subprocess.PIPE, text=True
        )
        self.faults: list[str] = []
        self._port = 0
        self._known = threading.Event()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def port(self) -> int:
        """Where it listens; waits until it is ready."""
        while not self._ready.wait(0.5):
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.faults}")
        return self._port

    def memory(self) -> int:
        """Bytes in memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return 1024 * int(line.split()[1])
        raise RuntimeError(f"process {self.pid} has ended")

    def terminate(self) -> None:
        """Sends SIGTERM, and returns at once."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code."""
        code = self._process.wait(seconds)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                record: dict[str, Any] = json.loads(line)
            except ValueError:
                self.faults.append(line.strip())
                continue
            if record["event"] == "listening":
                self._port = int(record["url"].rstrip("/").rpartition(":")[2])
            elif record["event"] == "ready":
                self._ready.set()
            elif record["event"] == "error":
                self.faults.append(record.get("traceback", record["error"]))


@contextlib.contextmanager
def serving(model: Path, *arguments: str) -> Iterator[Server]:
    """A server of one model, called `m`."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    server = Server(["--model", f"m={model}", *arguments])
    try:
        yield server
    finally:
        server.kill()


def make_model(folder: Path, name: str, *, seed: int, dim: int, onnx: bool) -> Path:
    """A BiLSTM of random weights for the embedded data's words, exported if `onnx`."""
    from benchmarks.common.tagger import save_random_bilstm
    from distill_jax.data import demo

    words = [sentence.words for sentence in demo.generate("train", 500)]
    source = folder / f"{name}-source"
    save_random_bilstm(source, words, demo.LABELS, dim=dim, seed=seed)
    if not onnx:
        return source
    from distill_jax.export.directory import export_onnx

    export_onnx(source, folder / name)
    return folder / name


def expected(model: Path, texts: Sequence[str]) -> dict[str, list[Any]]:
    """What the model says of each text without a server: its spans, without scores."""
    from distill_jax_runtime.directory import is_exported

    if is_exported(model):
        from distill_jax_runtime import Tagger
    else:
        from distill_jax import Tagger  # type: ignore[assignment]
    found: dict[str, list[Any]] = {}
    for text, tagged in zip(texts, Tagger.load(model).predict(texts), strict=True):
        spans = [span.label for span in tagged.spans]
        places = [(span.start, span.end) for span in tagged.spans]
        found[text] = list(zip(spans, places, strict=True))
    return found
