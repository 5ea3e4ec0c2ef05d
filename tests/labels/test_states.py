"""The store of a teacher's hidden states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data.teacher_readers import SubwordReader
from distill_jax.distill.word_teacher import WordTeacher
from distill_jax.errors import UserError
from distill_jax.inference.states import WordStates, batch_of
from distill_jax.labels.pool import Pool
from distill_jax.labels.states import Layers, TeacherStates, encode_states, write_states
from distill_jax.models.bert import BertTagger
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.tagging import Sentence
from distill_jax.vocab import ByteVocabulary
from tests.tiny import BERT_CONFIG, bert_params, save_tiny

LAYERS = Layers((0, 2), (3, 2), 3)
WORDS = [("to", "rome"), ("on", "may", "4"), ("now",), ("to", "berlin"), ("x",)]


def states_of(sentences: Sequence[Sentence]) -> list[list[np.ndarray]]:
    """Made of the words, so that each sentence has its own."""
    return [
        [
            np.outer([len(word) + ord(word[0]) / 100 for word in sentence.words], np.arange(width))
            for width in LAYERS.widths
        ]
        for sentence in sentences
    ]


def pool() -> Pool:
    return Pool(lambda: [Sentence(words) for words in WORDS])


def write(folder: Path, states: Any = states_of, **more: Any) -> TeacherStates | None:
    options = {"teacher_sha256": "abc", "shard_size": 2, **more}
    return write_states(folder, pool(), LAYERS, states, **options)


def test_states_are_looked_up_by_words(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    assert store is not None and len(store) == len(WORDS)
    assert store.layers == LAYERS
    for words, layers in zip(WORDS, states_of([Sentence(w) for w in WORDS]), strict=True):
        for kept, given in zip(store.states(words), layers, strict=True):
            assert kept.dtype == np.float16
            np.testing.assert_array_equal(kept, given.astype(np.float16))
    assert ("to", "rome") in store and ("to", "Rome") not in store
    store.verify()
    sizes = sum(path.stat().st_size for path in (tmp_path / "s").glob("*.array_record"))
    assert sizes > LAYERS.bytes_of(sum(map(len, WORDS))) == 2 * 5 * 9


def test_no_more_than_a_shard_is_computed_at_a_time_and_a_stopped_job_goes_on(
    tmp_path: Path,
) -> None:
    whole, seen = write(tmp_path / "whole"), []

    def stopping(sentences: Sequence[Sentence]) -> list[list[np.ndarray]]:
        seen.append([sentence.words for sentence in sentences])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return states_of(sentences)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", stopping)
    with pytest.raises(UserError, match=r"manifest\.json"):
        TeacherStates(tmp_path / "s")
    resumed = write(tmp_path / "s", stopping)
    assert seen == [WORDS[:2], WORDS[2:4], WORDS[2:4], WORDS[4:]]
    assert whole is not None and resumed is not None
    assert resumed.content_hash() == whole.content_hash()


def test_processes_share_the_shards(tmp_path: Path) -> None:
    assert write(tmp_path / "s", process=(1, 2)) is None
    store, whole = write(tmp_path / "s", process=(0, 2)), write(tmp_path / "whole")
    assert store is not None and whole is not None
    assert store.content_hash() == whole.content_hash()


def test_bad_stores(tmp_path: Path) -> None:
    write(tmp_path / "s")
    with pytest.raises(
        UserError, match=r"holds states made with other settings \(teacher_sha256\)"
    ):
        write(tmp_path / "s", teacher_sha256="def")
    with pytest.raises(UserError, match="no number that float16"):
        encode_states(Sentence(("a",)), [np.full((1, 3), 1e5), np.zeros((1, 2))], LAYERS.widths)
    with pytest.raises(ValueError, match="instead of"):
        encode_states(Sentence(("a", "b")), [np.zeros((1, 3)), np.zeros((1, 2))], LAYERS.widths)
    [first, *_] = sorted((tmp_path / "s").glob("*.array_record"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(UserError, match="bytes instead of"):
        TeacherStates(tmp_path / "s")


def test_states_are_the_models_whatever_the_batch() -> None:
    config = BERT_CONFIG.replace(max_positions=16)
    params, teacher = (
        bert_params(config),
        WordTeacher(BertTagger(config), ("teacher_tokens", "teacher_first")),
    )
    reader = SubwordReader(SubwordFormat(ByteVocabulary()), 16)
    long = ("aaaa", "bbbb", "cccc", "dddd", "ee")  # of more tokens than are read at once
    sentences = [*WORDS, long]
    computed = WordStates(teacher.states, params, reader, (0, 2), batch_size=2)(sentences)
    assert [[layer.shape for layer in each] for each in computed] == [
        2 * [(len(words), config.d_model)] for words in sentences
    ]
    windows = reader.windows(long)
    assert len(windows) == 2
    parts = [*WORDS, *(long[start:end] for start, end in windows)]
    one = jax.jit(teacher.states)
    alone = [one(params, batch_of(reader, [words], 1)) for words in parts]
    expected = [
        [np.asarray(states[layer][0, : len(words)]) for layer in (0, 2)]
        for words, states in zip(parts, alone, strict=True)
    ]
    joined = [np.concatenate(pair) for pair in zip(*expected[-2:], strict=True)]
    for given, wanted in zip(computed, [*expected[:-2], joined], strict=True):
        for one_layer, other in zip(given, wanted, strict=True):
            np.testing.assert_allclose(one_layer, other, rtol=1e-4, atol=1e-4)


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = save_tiny(tmp_path / "bert", "bert")
    (tmp_path / "text.txt").write_text("to rome\non may 4\n\nto rome\n")
    command = ["label", "--model", str(model), "--input", str(tmp_path / "text.txt"), "--output"]
    out = str(tmp_path / "states")
    assert main([*command, out, "--states", "2", "0"]) == 0
    said = capfd.readouterr().err
    assert "2 sentences of 5 words, 16 float16 numbers a word: 0.0 MB" in said
    assert "states of 2 sentences kept" in said and "1 that occur before" in said
    store = TeacherStates(out)
    assert store.layers == Layers((0, 2), (8, 8), 3)
    assert [layer.shape for layer in store.states(("on", "may", "4"))] == [(3, 8), (3, 8)]
    assert main(["label", "--verify", out]) == 0
    assert "whole; 2 sentences, states of layers 0, 2" in capfd.readouterr().out
    for options, line in (
        (["--states", "3"], "--states 3: the teacher's states are 0 (embeddings) to 2"),
        (["--states", "1", "1"], "a layer is named twice"),
        (["--states", "1", "--top_k", "2"], "--top_k, --decoder and --strict are of labels"),
    ):
        assert main([*command, str(tmp_path / "refused"), *options]) == 2
        assert line in capfd.readouterr().err
    assert not (tmp_path / "refused").exists()
