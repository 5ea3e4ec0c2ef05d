"""`distill-jax label` killed again and again ends with the bytes of a job that ran through."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn

from distill_jax.distill.objectives import DistillationWeights, TaggerDistillation
from distill_jax.distill.store import TeacherLabels
from distill_jax.interop.model_dir import save_model
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.tagging import LabelSet
from distill_jax.word_vocab import WordVocabulary

KILLS = 20
SHARDS = 300  # writing them takes about as long as starting Python does


def make_teacher(directory: Path, pool: list[list[str]]) -> None:
    labels = LabelSet(("day", "city"))
    vocabulary = WordVocabulary.build(pool)
    config = BiLSTMConfig(
        num_words=vocabulary.num_words,
        num_chars=vocabulary.num_chars,
        num_tags=labels.num_tags,
        word_dim=4,
        char_dim=4,
        char_hidden=4,
        hidden=4,
    )
    objective = TaggerDistillation(BiLSTMTagger(config), DistillationWeights())
    params = nn.unbox(objective.init(jax.random.key(0)))
    save_model(directory, config=config, params=params, vocabulary=vocabulary, labels=labels)


def content(directory: Path) -> dict[str, bytes]:
    # What a kill leaves aside has a name that begins with a dot; it is never read.
    return {p.name: p.read_bytes() for p in directory.iterdir() if not p.name.startswith(".")}


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(50)]
    pool = [[words[i] for i in rng.integers(0, 50, 6)] + [f"n{n}"] for n in range(2 * SHARDS)]
    (tmp_path / "pool.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in pool))
    make_teacher(tmp_path / "model", pool)

    def start(store: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distill_jax", "label", "--shard_size", "2"]
        command += ["--model", str(tmp_path / "model"), "--input", str(tmp_path / "pool.txt")]
        return subprocess.Popen([*command, "--output", str(store)], stderr=subprocess.DEVNULL)

    begin = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole_seconds = time.monotonic() - begin
    whole = content(tmp_path / "whole")

    moments = random.Random(0)
    store, killed, working = tmp_path / "store", 0, 0
    for _ in range(KILLS):
        job = start(store)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Python and JAX start in about half of the time.
            job.wait(timeout=moments.uniform(0.4, 0.7) * whole_seconds)
        job.send_signal(signal.SIGKILL)
        killed += job.wait() == -signal.SIGKILL
        shards = len(list(store.glob("*.array_record"))) if store.exists() else 0
        working += 0 < shards < SHARDS
        if shards >= SHARDS - 5:  # begin again: kills in the middle are what is wanted
            assert start(store).wait() == 0
            assert content(store) == whole
            store = tmp_path / f"store{moments.random()}"
    assert killed > KILLS // 2 and working > 2
    assert start(store).wait() == 0
    assert content(store) == whole
    TeacherLabels(store).verify()
