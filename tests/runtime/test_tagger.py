"""The runtime tags as the model does that was exported: the same tags, spans and posteriors."""

import dataclasses
import json
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax import Tagger
from distill_jax.cli.main import main
from distill_jax.export.directory import export_onnx
from distill_jax.inference.settings import TaggerSettings
from distill_jax.runtime import Tagger as RuntimeTagger
from distill_jax.runtime import UserError
from distill_jax_runtime import graphs
from distill_jax_runtime.graphs import Words, open_graph
from distill_jax_runtime.word_ids import WordLookup
from tests import tiny

SENTENCES: Sequence[Any] = (
    *tiny.SENTENCES,
    ("to", "berlin") * 60,
    ("unbelievably" * 5, "BERLIN", "Ünïcode", "4" * 20, "4" * 21),
    ["on"],
    "  to berlin on\tmay 4 ",
    "",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = TaggerSettings(
        format="word_tags", temperature=1.7, thresholds={"city": 0.3}, max_chars=9
    )
    directory = tmp_path_factory.mktemp("runtime") / "model"
    return tiny.save_tiny(directory, "bilstm", settings=settings)


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    export_onnx(model, model.parent / "onnx")
    return model.parent / "onnx"


@pytest.fixture(scope="module")
def runtime(exported: Path) -> RuntimeTagger:
    return RuntimeTagger.load(exported, batch_size=4)


def check_same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.words == other.words and one.tags == other.tags and one.labels == other.labels
        assert (one.text, one.offsets) == (other.text, other.offsets)
        assert one.posteriors.dtype == np.float32 == one.log_likelihoods.dtype
        assert one.posteriors.shape == other.posteriors.shape
        np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-4)
        np.testing.assert_allclose(one.log_likelihoods, other.log_likelihoods, atol=1e-3)
        assert [span._replace(score=None) for span in one.spans] == [
            span._replace(score=None) for span in other.spans
        ]
        for span, same in zip(one.spans, other.spans, strict=True):
            assert span.score == pytest.approx(same.score, abs=1e-4)


def test_tags_spans_and_posteriors_are_the_model_s(model: Path, runtime: RuntimeTagger) -> None:
    expected = Tagger.load(model).predict(SENTENCES)
    assert sum(len(one.spans) for one in expected) > 5
    check_same(runtime.predict(SENTENCES), expected)


def test_thresholds_drop_spans(exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    fields = json.loads((copy / "tagger.json").read_text())

    def cities(threshold: float) -> list[float]:
        changed = {**fields, "thresholds": {"city": threshold}}
        (copy / "tagger.json").write_text(json.dumps(changed))
        tagged = RuntimeTagger.load(copy).predict(SENTENCES)
        for one in tagged:
            assert sum(tag[0] == "B" for tag in one.tags) == len(one.spans)
        return [span.score for one in tagged for span in one.spans if span.label == "city"]

    scores = cities(0.0)
    middle = sorted(scores)[len(scores) // 2]
    assert min(scores) < middle
    assert cities(middle) == [score for score in scores if score >= middle]


def test_pipe_is_lazy_and_in_order(runtime: RuntimeTagger) -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield SENTENCES[read % len(SENTENCES)]

    tagged = runtime.pipe(endless(), batch_size=2)
    assert read == 0
    first = [next(tagged) for _ in range(20)]
    assert read == 20
    expected = runtime.predict([SENTENCES[n % len(SENTENCES)] for n in range(1, 21)])
    check_same(first, expected)


def test_threads_share_one(runtime: RuntimeTagger) -> None:
    expected = runtime.predict(SENTENCES)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: runtime.predict(SENTENCES), range(24)):
            check_same(found, expected)


def test_a_pickled_one_is_loaded_again(runtime: RuntimeTagger) -> None:
    other = pickle.loads(pickle.dumps(runtime))
    check_same(other.predict(SENTENCES), runtime.predict(SENTENCES))


def test_spellings_are_forgotten_when_there_are_too_many(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = WordLookup.load(exported)
    graph = open_graph(exported / "spelling.onnx")
    words = Words(vocabulary, graph, 9, kept=4)
    many = Words(vocabulary, graph, 9)
    for sentence in (["to", "berlin"], ["on", "may", "rome"], ["x"] * 3, list("abcdefgh")):
        for got, expected in zip(words.read(sentence), many.read(sentence), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-6)
    monkeypatch.setattr(graphs, "_KEPT_CHARACTERS", 10)
    long = Words(vocabulary, graph, 9)
    for sentence in (["to", "berlin"], ["a" * 30], ["to", "rome"]):
        for got, expected in zip(long.read(sentence), many.read(sentence), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-6)
        assert set(long._rows) <= {"to", "berlin"} or set(long._rows) == set(sentence)
    monkeypatch.undo()
    # More than the arrays begin with.
    numbers = [str(number) for number in range(1000)]
    ids, vectors = many.read(numbers)
    again, same = many.read(numbers[::-1])
    assert (ids[::-1] == again).all() and (vectors[::-1] == same).all()


def test_the_command_line_uses_it_without_jax(
    model: Path,
    exported: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = tmp_path / "in.txt"
    text.write_text("to berlin on may 4\non monday\n")
    outputs = []
    for directory in (model, exported):
        if directory == exported:
            # Whatever asks for JAX's tagger from here on has not understood.
            monkeypatch.setattr("distill_jax.tagger.Tagger.load", None)
            monkeypatch.setattr(sys.modules["distill_jax.cli.main"], "use_compilation_cache", None)
        command = ["predict", "--model", str(directory), "--input", str(text), "--output", "-"]
        assert main([*command, "--top_k", "2"]) == 0
        outputs.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    for one, other in zip(*outputs, strict=True):
        assert one.keys() == other.keys()
        assert one["tags"] == other["tags"] and one["words"] == other["words"]
        np.testing.assert_allclose(one["tail"], other["tail"], atol=1e-4)


@pytest.mark.parametrize("option", ["--decoder=greedy", "--dtype=bfloat16", "--model_parallel=2"])
def test_options_that_an_export_has_not(
    exported: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", "--model", str(exported), "--input", "-", "--output", "-", option]
    assert main(command) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def damage(directory: Path, how: str) -> None:
    tagger = directory / "tagger.json"
    fields = json.loads(tagger.read_text())
    if how == "cut":
        graph = directory / "model.onnx"
        graph.write_bytes(graph.read_bytes()[:-100])
    elif how == "missing":
        (directory / "spelling.onnx").unlink()
    elif how == "vocabulary":
        (directory / "word_vocabulary.json").write_text("{}")
    elif how == "no JSON":
        tagger.write_text("{")
    elif how == "no export":
        tagger.write_text(json.dumps({**fields, "onnx": None}))
    elif how == "unknown graph":
        (directory / "model.onnx").write_bytes(b"no graph")
        del fields["onnx"]["files"]["model.onnx"]
        tagger.write_text(json.dumps(fields))
    elif how == "tags":
        tagger.write_text(json.dumps({**fields, "tags": [*fields["tags"], "more"]}))
    else:
        tagger.write_text(json.dumps({**fields, how: -1}))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "model.onnx: damaged"),
        ("missing", "spelling.onnx: cannot be read"),
        ("vocabulary", "word_vocabulary.json: damaged"),
        ("no JSON", "tagger.json:1: not valid JSON"),
        ("no export", "not exported"),
        ("unknown graph", "onnxruntime .* cannot load it"),
        ("tags", "of different models"),
        ("temperature", "`temperature` is missing or malformed"),
        ("max_chars", "`max_chars` is missing or malformed"),
        ("thresholds", "`thresholds` is missing or malformed"),
        ("text_words", "`text_words` is missing or malformed"),
    ],
)
def test_damaged_directories_are_one_line(
    exported: Path, tmp_path: Path, how: str, said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    damage(copy, how)
    with pytest.raises(UserError, match=said) as error:
        RuntimeTagger.load(copy)
    assert "\n" not in str(error.value)


def test_bad_arguments(runtime: RuntimeTagger, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not empty"):
        runtime.predict([("to", "")])
    with pytest.raises(TypeError, match="a list of sentences"):
        runtime.predict("to berlin")
    with pytest.raises(UserError, match="batch_size"):
        RuntimeTagger.load(exported, batch_size=0)
    with pytest.raises(UserError, match="not an exported model"):
        RuntimeTagger.load(tmp_path)


def test_the_command_line_imports_no_more_than_it_needs(exported: Path) -> None:
    """Each of these takes longer to import than a sentence to tag."""
    program = (
        "import sys; from distill_jax.cli.main import main; code = main(sys.argv[1:]);"
        "print(code, *sorted({'jax', 'rich', 'filelock', 'onnx', 'safetensors', 'sentencepiece',"
        " 'tokenizers', 'distill_jax.vocab'} & {*sys.modules}), file=sys.stderr)"
    )
    options = ["--model", str(exported), "--input", "-", "--output", "-"]
    command = [sys.executable, "-c", program, "predict", *options]
    done = subprocess.run(command, input="to berlin\n", capture_output=True, text=True, check=True)
    assert done.stderr == "0\n" and json.loads(done.stdout)["words"] == ["to", "berlin"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["blanks", "punctuation"])
def test_spans_of_100_000_random_texts_are_slices_of_them(exported: Path, rule: str) -> None:
    """Code points of all planes but surrogates, blanks, joiners and marks among them."""
    tagger = RuntimeTagger.load(exported, batch_size=256)
    tagger.settings = dataclasses.replace(tagger.settings, text_words=rule, thresholds={})
    dice, blanks = random.Random(0), " \t\u00a0\u2003\u3000\u200d\u0301\u200b\ufe0f.,"
    planes = [(0x20, 0x7F), (0xA0, 0x2FF), (0x300, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]

    def character() -> str:
        return (
            dice.choice(blanks) if dice.random() < 0.2 else chr(dice.randint(*dice.choice(planes)))
        )

    texts = ["".join(character() for _ in range(dice.randrange(40))) for _ in range(100_000)]
    spans = 0
    for text, found in zip(texts, tagger.pipe(texts, 4096), strict=True):
        assert found.text == text and found.offsets is not None
        assert [text[start:end] for start, end in found.offsets] == list(found.words)
        for span in found.spans:
            assert text[span.start_char : span.end_char] == span.text
            spans += 1
    assert spans > 10_000
