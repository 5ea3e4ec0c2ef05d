"""From texts with spans in characters to a model that finds them in text."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_jax.cli import main
from distill_jax.data import locations
from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.jobs.sources import Sources
from distill_jax.tagger import Tagger
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.text import TEXT_WORDS

NAMES = ("mara", "jon", "wow", "ana")


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "_data_dir", None, raising=False)


def write_task(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split in ("train", "valid"):
        with (folder / f"{split}.jsonl").open("w") as file:
            for number in range(16):
                name = NAMES[number % len(NAMES)]
                text = f"call {name}, on friday."
                record = {"text": text, "label": [[5, 5 + len(name), "who"]]}
                file.write(json.dumps(record) + "\n")


def train(work: Path, task: str, **values: Any) -> int:
    settings = {
        **{"MIXTURE_OR_TASK_NAME": task, "MODEL_DIR": str(work / f"run_{task}")},
        **{"DATA_DIR": str(work / "data"), "TRAIN_SPLIT": "train", "EVAL_SPLIT": "valid"},
        **{"TRAIN_STEPS": 40, "EVAL_PERIOD": 40, "BATCH_SIZE": 8, "WARMUP_STEPS": 1},
        **{"LEARNING_RATE": 0.05, "BiLSTMConfig.word_dim": 8, "BiLSTMConfig.char_dim": 4},
        **{"BiLSTMConfig.char_hidden": 4, "BiLSTMConfig.hidden": 8},
        **values,
    }
    options = [f"--gin.{name}={value!r}" for name, value in settings.items()]
    return main(["train", "--gin_file=gin/runs/distil_gold.gin", *options])


@pytest.mark.slow
def test_a_model_of_texts_with_spans_finds_them_in_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path / "data" / "calls")
    assert train(tmp_path, "calls", TEXT_WORDS="blanks") == 2
    message = capsys.readouterr().err
    assert "by the rule 'punctuation', and the model's is to be 'blanks'" in message
    assert '{"text_words": "blanks"} into reading.json' in message
    assert train(tmp_path, "calls", TEXT_WORDS="words") == 2
    assert "TEXT_WORDS is 'words'; use one of" in capsys.readouterr().err

    assert train(tmp_path, "calls") == 0
    model = tmp_path / "run_calls" / "model"
    prepared = PreparedDataset.open(tmp_path / "run_calls" / "prepared" / "calls" / "train")
    assert prepared.text_words == {"punctuation"}
    assert json.loads((model / "tagger.json").read_text())["text_words"] == "punctuation"
    text = "call mara, on friday."
    [found] = Tagger.load(model).predict([text])
    [span] = found.spans
    assert (span.text, span.label, span.start_char, span.end_char) == ("mara", "who", 5, 9)

    # A teacher of another rule than the task's is refused; `reading.json` settles it.
    (tmp_path / "data" / "calls" / "reading.json").write_text('{"text_words": "blanks"}')
    arguments = ["--model", str(model), "--output", str(tmp_path / "labels")]
    task = ["--task", "calls", "--split", "train", "--data_dir", str(tmp_path / "data")]
    assert main(["label", *arguments, *task]) == 2
    assert "calls (train): its texts became words by the rule 'blanks'" in capsys.readouterr().err
    files = ["--input", str(tmp_path / "data" / "calls" / "train.jsonl")]
    assert main(["label", *arguments, *files]) == 0


def prepared(folder: Path, *sentences: Sentence) -> PreparedDataset:
    labels = LabelSet(("who",))
    return PreparedDataset.write(folder, sentences, labels, task="calls", split=folder.name)


def test_words_that_came_as_words_leave_the_rule_to_the_run(tmp_path: Path) -> None:
    columns = prepared(tmp_path / "columns", Sentence(("call", "mara"), ("O", "B-who")))
    texts = prepared(tmp_path / "texts", Sentence.of_text("call mara, now", "punctuation"))
    lines = prepared(tmp_path / "lines", Sentence.of_text("call mara, now", "blanks"))
    assert Sources("run").rule_for_words(columns) == "blanks"
    for rule in TEXT_WORDS:
        assert Sources("run", text_words=rule).rule_for_words(columns) == rule
    assert Sources("run").rule_for_words(columns, texts) == "punctuation"
    with pytest.raises(UserError, match=r"calls \(lines\) became words by the rule 'blanks'"):
        Sources("run").rule_for_words(texts, lines)
