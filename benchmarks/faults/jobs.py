"""The jobs that faults are injected into: how each is started, and what must be true of what it left."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common.tagger import save_random_bilstm
from distill_jax.errors import UserError
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import model_hash
from distill_jax.tagging import LabelSet

SENTENCES, SHARD = 400, 10
START = """
import resource, sys
if (size := sys.argv.pop(1)) != "None":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
from distill_jax.__main__ import run
sys.exit(run())
"""
"""The console script, under a limit on the size of files. (A limit set between fork and exec would have
this process fork while JAX's threads run.)"""
TRAIN = (
    *("train", "--gin_file=gin/runs/distil_gold.gin", "--gin.MIXTURE_OR_TASK_NAME='demo'"),
    *("--gin.TRAIN_SPLIT='train'", "--gin.EVAL_SPLIT='valid'", "--gin.BATCH_SIZE=8"),
    *("--gin.BiLSTMConfig.word_dim=8", "--gin.BiLSTMConfig.char_dim=4"),
    *("--gin.BiLSTMConfig.char_hidden=4", "--gin.BiLSTMConfig.hidden=8"),
    *("--gin.TRAIN_STEPS=12", "--gin.EVAL_PERIOD=3", "--gin.CHECKPOINT_PERIOD=2"),
)


class Job:
    """A command that writes below a folder.

    Attributes:
        name: of the command.
        output: what it writes, below its folder.
    """

    name: str
    output: str

    def __init__(self, files: Path) -> None:
        self.files = files

    def command(self, folder: Path) -> list[str]:
        """Its arguments."""
        raise NotImplementedError

    def finished(self, folder: Path) -> object | None:
        """What the finished output is, to be compared; None if it does not look whole.

        Raises `UserError` if it looks whole and is not.
        """
        raise NotImplementedError

    def start(self, folder: Path, *, no_file_above: int | None = None) -> "subprocess.Popen[str]":
        """Starts it; `no_file_above` bytes no file of it can grow."""
        folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", START, str(no_file_above), *self.command(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": "--xla_backend_optimization_level=0",  # quick to compile
                # Compiled once, by the run without faults; none is written under a full disk.
                "JAX_COMPILATION_CACHE_DIR": str(self.files / "xla"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
            },
        )


class Predict(Job):
    """`predict`: one file, there when all is."""

    name, output = "predict", "out.jsonl"

    def command(self, folder: Path) -> list[str]:
        """See `Job`."""
        inputs = ["--model", f"{self.files}/model", "--input", f"{self.files}/pool.txt"]
        return ["predict", *inputs, "--output", f"{folder}/{self.output}", "--posteriors"]

    def finished(self, folder: Path) -> object | None:
        """See `Job`."""
        path = folder / self.output
        return path.read_bytes() if path.exists() else None


class Label(Job):
    """`label`: a store, whole when its manifest is there."""

    name, output = "label", "store"

    def command(self, folder: Path) -> list[str]:
        """See `Job`."""
        inputs = ["--model", f"{self.files}/model", "--input", f"{self.files}/pool.txt"]
        layout = ["--shard_size", str(SHARD), "--output", f"{folder}/{self.output}"]
        return ["label", *inputs, *layout]

    def finished(self, folder: Path) -> object | None:
        """See `Job`."""
        store = folder / self.output
        if not (store / "manifest.json").exists():
            return None
        TeacherLabels(store).verify()
        return {p.name: p.read_bytes() for p in store.iterdir() if not p.name.startswith(".")}


class Train(Job):
    """A tiny `train`: checkpoints, and a model directory when it has trained to the end."""

    name, output = "train", "model"

    def command(self, folder: Path) -> list[str]:
        """See `Job`."""
        return [*TRAIN, f"--gin.MODEL_DIR={str(folder)!r}"]

    def finished(self, folder: Path) -> object | None:
        """See `Job`."""
        model = folder / self.output
        return model_hash(model) if model.exists() else None


JOBS: tuple[Callable[[Path], Job], ...] = (Predict, Label, Train)


def make_files(folder: Path, seed: int) -> None:
    """A random tagger and a pool of random sentences."""
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(50)]
    pool = [[words[i] for i in rng.integers(0, 50, 6)] + [f"n{n}"] for n in range(SENTENCES)]
    folder.mkdir(parents=True)
    (folder / "pool.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in pool))
    save_random_bilstm(folder / "model", pool, LabelSet(("day", "city")), dim=2, seed=seed)


def sizes(folder: Path) -> list[int]:
    """Sizes below that of the largest file which a job has left: of the others, and parts of it."""
    of_files = {path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = max(of_files)
    return sorted(of_files - {largest} | {largest * part // 4 for part in range(4)})


def temporary_files(folder: Path) -> list[str]:
    """Hidden names that a command that tidies up does not leave."""
    return [str(path) for path in folder.rglob(".*.tmp-*")]


def wrong(job: Job, folder: Path, whole: object) -> str | None:
    """What is wrong with what a job left: something that looks whole and is not. None: nothing."""
    try:
        found = job.finished(folder)
    except UserError as error:
        return str(error)
    return None if found in (None, whole) else "finished, but not with the bytes of one run"


def removed(folder: Path) -> Path:
    """The folder, removed."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
