"""The tutorial's and the README's commands, one after the other as a reader types them, on tiny data."""

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from tests.compiled_once import compiled_once
from tests.docs.documents import ROOT, Command, commands
from tests.tiny import write_t5_start
from tests.tiny_bert import BERT, SPECIAL, write_encoder, write_wordpieces

pytestmark = pytest.mark.slow

TINY_BILSTM = [
    f"BiLSTMConfig.{s}" for s in ("word_dim=8", "char_dim=4", "char_hidden=4", "hidden=8")
]
SHORT = ["TRAIN_STEPS=1", "EVAL_PERIOD=1", "WARMUP_STEPS=1", "BATCH_SIZE=8"]
LENGTHS = ["TASK_FEATURE_LENGTHS={'inputs': 96, 'targets': 96}"]
SMALLER = {
    "bert_gold.gin": SHORT,
    "finetune.gin": [*SHORT, *LENGTHS],
    "distil.gin": [*SHORT, *TINY_BILSTM],
}
"""What is bound besides, by Gin file: all that keeps a command from taking seconds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reader's folder: labelled sentences, text, and two checkpoints."""
    folder = tmp_path_factory.mktemp("tutorial")
    sentences = {
        split: [s for s in demo_data.generate(split, 400) if 5 <= len(s.words) <= 8]
        for split in ("train", "valid", "test")
    }
    for split, size in (("train", 40), ("valid", 8), ("test", 8)):
        write_conll(folder / f"my_data/intents/{split}.conll", sentences[split][:size])
    texts = [" ".join(sentence.words) for sentence in sentences["train"][40:60]]
    for name in ("my_data/pool.txt", "pool.txt", "new.txt"):
        (folder / name).write_text("\n".join(texts) + "\n")
    (folder / "models").mkdir()
    write_t5_start(folder / "models/t5-base")
    words = Counter(word for sentence in sentences["train"] for word in sentence.words)
    pieces = [word for word, _ in words.most_common(BERT.vocab_size - len(SPECIAL))]
    write_encoder(folder / "models/all-MiniLM-L6-v2")
    write_wordpieces(folder / "models/all-MiniLM-L6-v2", pieces)
    with compiled_once(str(folder / "xla")):
        yield folder
    locations.set_data_dir(None)


def typed(command: Command, folder: Path) -> list[str]:
    """A command's arguments with the reader's checkpoints and tiny sizes."""
    words = [word.replace("/models/", f"{folder}/models/") for word in command.words[1:]]
    for gin_file, bindings in SMALLER.items():
        if f"--gin_file=gin/runs/{gin_file}" in words:
            words += [f"--gin.{binding}" for binding in bindings]
    if words[0] == "fit":
        words += ["--steps=2", "--teacher_steps=2", *(f"--gin.{size}" for size in TINY_BILSTM)]
    return words


def run_all(document: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs its commands in order; the names of those that were run. A server would not end."""
    monkeypatch.chdir(folder)
    text, done = "", []
    for command in commands(ROOT / document):
        if command.words[0] == "echo":
            text = f"{command.words[1]}\n"
        if command.words[0] != "distill-jax" or command.words[1] in ("serve", "demo"):
            continue
        teacher = Path("runs/intents/teacher")
        if f"--gin.MODEL_DIR={teacher}" in command.words and teacher.exists():
            teacher.rename(f"{teacher}-before")  # the other of two ways to one
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert main(typed(command, folder)) == 0, command
        done.append(command.words[1])
    return done


def test_the_tutorial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_all("docs/tutorial.md", folder, monkeypatch)
    both = ["train", "train", "label", "train"]
    assert done == ["inspect", *both, "evaluate", "evaluate", "predict", "export"]
    report = json.loads((folder / "report.json").read_text())
    assert report["sentences"] == 8
    assert "<html" in (folder / "report.html").read_text()
    answers = (folder / "tagged.jsonl").read_text().splitlines()
    assert [json.loads(answer)["words"] for answer in answers] == [
        line.split() for line in (folder / "new.txt").read_text().splitlines()
    ]


def test_the_readme(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder / "readme"
    other.mkdir()
    for name in ("my_data", "pool.txt", "models"):
        (other / name).symlink_to(folder / name)
    assert run_all("README.md", other, monkeypatch) == ["inspect", "fit", "predict"]
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["words"] == ["play", "wow", "by", "jon", "theodore"]
    assert (other / "runs/intents/report.html").is_file()
