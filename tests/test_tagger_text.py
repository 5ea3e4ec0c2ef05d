"""Text in, spans with characters out: the tagger's rule for words, and any number of sentences."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distill_jax.cli.main import main
from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.model_dir.settings import read_tagger_file
from distill_jax.tagger import Tagger
from tests.tiny import save_tiny

TEXT = "to  berlin, on\nmay 4 (x)."
WORDS = ("to", "berlin", ",", "on", "may", "4", "(", "x", ")", ".")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        rule: save_tiny(
            folder / rule,
            "bilstm",
            settings=TaggerSettings(format="word_tags", text_words=rule),
        )
        for rule in ("blanks", "punctuation", "given")
    }


@pytest.fixture(scope="module")
def taggers(models: dict[str, Path]) -> dict[str, Tagger]:
    return {rule: Tagger.load(path, batch_size=4) for rule, path in models.items()}


def test_the_rule_is_kept_in_the_model_directory(models: dict[str, Path]) -> None:
    for rule, path in models.items():
        assert read_tagger_file(path).settings.text_words == rule
        # `blanks` is what older directories mean, which say nothing.
        assert ("text_words" in json.loads((path / "tagger.json").read_text())) == (
            rule != "blanks"
        )
    with pytest.raises(
        UserError, match="text_words is 'words'; use blanks or punctuation or given"
    ):
        TaggerSettings(text_words="words")  # type: ignore[arg-type]


def test_text_is_tagged_as_its_words_are(taggers: dict[str, Tagger]) -> None:
    for rule, words in (("blanks", tuple(TEXT.split())), ("punctuation", WORDS)):
        [found] = taggers[rule].predict([TEXT])
        [alone] = taggers[rule].predict([words])
        assert found.words == alone.words == words and found.tags == alone.tags
        assert found.spans and found.text == TEXT and alone.text is None
        assert found.offsets is not None
        assert tuple(TEXT[start:end] for start, end in found.offsets) == words
        for span, same in zip(found.spans, alone.spans, strict=True):
            assert span[:3] == same[:3] and span.score == same.score
            assert TEXT[span.start_char : span.end_char] == span.text
            assert found.offsets[span.start][0] == span.start_char
            assert same.start_char is None and same.text == " ".join(words[span.start : span.end])


def test_a_model_of_given_words_takes_no_text(taggers: dict[str, Tagger]) -> None:
    assert taggers["given"].predict([["to", "berlin"]])[0].words == ("to", "berlin")
    with pytest.raises(
        UserError, match=r"sentence 1: this model reads words .* give lists of words"
    ):
        taggers["given"].predict([["to"], "to berlin"])


def test_pipe_is_lazy_and_keeps_order(taggers: dict[str, Tagger]) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"to {'x ' * (read % 5)}word{read}"

    found = taggers["blanks"].pipe(endless(), batch_size=3)
    assert read == 0
    for number, one in enumerate(itertools.islice(found, 7), 1):
        assert one.words[-1] == f"word{number}"
        assert read == -(-number // 3) * 3  # so many batches, no more
    sentences = ["to berlin", ["on", "may"], "", "x"]
    piped = list(taggers["blanks"].pipe(iter(sentences)))
    for one, same in zip(piped, taggers["blanks"].predict(sentences), strict=True):
        assert one[:3] == same[:3] and one.text == same.text
        np.testing.assert_array_equal(one.posteriors, same.posteriors)
    assert list(taggers["blanks"].pipe([])) == []


def test_pipe_names_a_sentence_that_fails_after_those_before_it(taggers: dict[str, Tagger]) -> None:
    for wrong, says in (
        (["a", ""], "sentence 4 has the word ''"),
        (None, "sentence 4 is None"),
    ):
        answered = []
        with pytest.raises(UserError, match=says):
            for one in taggers["blanks"].pipe(["a", "b", "c", "d", wrong, "e"], batch_size=3):  # type: ignore[list-item]
                answered.append(one.words)
        assert answered == [("a",), ("b",), ("c",), ("d",)]
    with pytest.raises(TypeError, match="many sentences"):
        taggers["blanks"].pipe("to berlin")
    with pytest.raises(UserError, match="batch_size is 0"):
        taggers["blanks"].pipe(["a"], batch_size=0)


def test_long_texts_say_their_windows(tmp_path: Path) -> None:
    tagger = Tagger.load(save_tiny(tmp_path / "model", "encoder"), batch_size=4)
    short, long = tagger.predict(["to berlin", f"{'x' * 40} " * 20])
    assert (short.windows, long.windows > 1) == (1, True) and len(long.tags) == 20
    assert "windows" not in short.to_json() and long.to_json()["windows"] == long.windows


@pytest.mark.parametrize("name", ["in.txt", "in.jsonl"])
def test_predict_gives_characters_of_the_text(
    models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    texts = ["to  berlin, on may.", "", "x (é\u0301) 👩\u200d💻 on 4"]
    lines = texts if name == "in.txt" else [json.dumps({"text": text}) for text in texts]
    (tmp_path / name).write_text("".join(f"{line}\r\n" for line in lines), "utf-8", newline="")
    output = tmp_path / "out.jsonl"
    arguments = ["--input", str(tmp_path / name), "--output", str(output)]
    assert main(["predict", "--model", str(models["punctuation"]), *arguments]) == 0
    found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [one["words"] for one in found] == [
        ["to", "berlin", ",", "on", "may", "."],
        [],
        ["x", "(", "é\u0301", ")", "👩\u200d💻", "on", "4"],
    ]
    assert any(one["spans"] for one in found)
    for text, one in zip(texts, found, strict=True):
        for span in one["spans"]:
            assert text[span["start_char"] : span["end_char"]] == span["text"]
    rule = ["--text_words", "blanks"]
    assert main(["predict", "--model", str(models["punctuation"]), *arguments, *rule]) == 0
    assert json.loads(output.read_text("utf-8").splitlines()[0])["words"] == texts[0].split()


def test_predict_refuses_text_for_a_model_of_given_words(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("to berlin\n")
    output = tmp_path / "out.jsonl"
    arguments = ["--input", str(tmp_path / "in.txt"), "--output", str(output)]
    assert main(["predict", "--model", str(models["given"]), *arguments]) == 2
    assert "in.txt:1: this model reads words as they are given" in capsys.readouterr().err
    assert not output.exists()
