"""A BERT as a kind: its model directory, prediction in windows, labels, and import with its head."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.export.directory import subwords_of
from distill_jax.interop.hf.bert import BertCheckpoint
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources, settings_with
from distill_jax.jobs.targets import student_targets
from distill_jax.kinds.base import Lesson, Model
from distill_jax.kinds.bert import BertStudent
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.model_dir.import_hf import import_hf
from distill_jax.models.bert import BertTagger
from distill_jax.safetensors_io import TensorSource, read_entries, read_tensor, write_safetensors
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.tagger import Tagger
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.optimizers import AdamW, Constant
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import ByteVocabulary, load_vocabulary
from tests.tiny import LABELS, WORDS, bert_params, save_tiny
from tests.tiny_bert import BERT, write_encoder, write_wordpieces

pytest.importorskip("tokenizers")
PIECES = ("to", "berlin", "on", "may", "4", "rome", "##s")
CONFIG = BERT.replace(architecture="roberta", num_tags=LABELS.num_tags, pad_id=0, max_positions=12)
SENTENCE = ("to", "berlins", "on", "may", "4") * 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with WordPiece and twelve positions, eleven of them for tokens."""
    directory = tmp_path_factory.mktemp("bert")
    write_wordpieces(directory / "vocabulary", PIECES)
    vocabulary = load_vocabulary(directory / "vocabulary")
    save_model(directory / "m", Model(CONFIG, bert_params(CONFIG), vocabulary, LABELS))
    return directory / "m"


def test_a_model_directory_is_a_token_classifier(model: Path) -> None:
    loaded = load_model(model)
    assert loaded.config == CONFIG and loaded.labels == LABELS
    jax.tree.map(np.testing.assert_array_equal, loaded.params, bert_params(CONFIG))
    fields = json.loads((model / "config.json").read_text())
    assert fields["architectures"] == ["RobertaForTokenClassification"]
    assert fields["id2label"] == {"0": "O", "1": "I", "2": "city", "3": "date_time"}
    names = set(read_entries(model / "model.safetensors"))
    assert {"classifier.weight", "roberta.encoder.layer.2.output.dense.bias"} <= names
    assert (model / "tokenizer.json").is_file()
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == CONFIG.max_tokens == 11
    assert (tokenizer["cls_token"], tokenizer["pad_token"]) == ("[CLS]", "[PAD]")
    assert "roberta (3 layers, 8 wide)" in (model / "README.md").read_text()


def test_long_sentences_are_tagged_in_windows(model: Path) -> None:
    tagger = Tagger.load(model)
    [found, short] = tagger.predict([list(SENTENCE), ["to", "rome"]])
    assert found.posteriors.shape == (15, LABELS.num_tags)  # type: ignore[union-attr]
    vocabulary = load_model(model).vocabulary
    tokens, first = SubwordFormat(vocabulary).encode(SENTENCE[:7])
    assert len(tokens) <= CONFIG.max_tokens < len(SubwordFormat(vocabulary).encode(SENTENCE)[0])
    alone = jax.jit(BertTagger(CONFIG).apply)(
        {"params": bert_params(CONFIG)}, tokens[None], first[None]
    )
    np.testing.assert_allclose(
        found.log_likelihoods[0], jax.nn.log_softmax(alone[0, 0]), rtol=1e-3, atol=1e-5
    )
    assert len(short.tags) == 2


def test_windows_are_those_of_training(model: Path, tmp_path: Path) -> None:
    lesson = Lesson(
        LABELS,
        student_targets([Sentence(SENTENCE, ("O",) * len(SENTENCE))], LABELS, None),
        DistillationWeights(0.0, 1.0),
        Training(
            model_dir="nowhere",
            batch_size=1,
            optimizer=AdamW(Constant(0.05)),
            schedule=Schedule(1, eval_period=1),
        ),
        RunResources(Sources("nowhere"), "t"),
    )
    student = BertStudent(initial_checkpoint_path=str(model), max_input_tokens=7)
    learner = student.learner(lesson)
    loaded = load_model(model)
    settings = settings_with(learner, "blanks")
    save_model(tmp_path / "m", dataclasses.replace(loaded, settings=settings))
    again = load_model(tmp_path / "m")
    assert again.settings is not None and again.settings.max_input_tokens == 7
    words = ["to", "berlin"] * 4  # 8 tokens and two around them
    assert not Tagger.load(model).needs_windows(words)
    assert Tagger.load(tmp_path / "m").needs_windows(words)
    subwords = subwords_of(again)
    assert subwords is not None and subwords["max_tokens"] == 7


def test_padding_is_the_tokenizers_where_positions_do_not_depend_on_it() -> None:
    # Multilingual MiniLM: a BERT with XLM-R's tokenizer, and pad_token_id 0 as every BERT.
    bert = CONFIG.replace(architecture="bert")
    assert bert.padded_with(1).pad_id == 1
    assert CONFIG.padded_with(1).pad_id == 0


def test_it_labels(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("to berlin on may 4\nto rome\n")
    command = ["label", "--model", str(model), "--input", str(tmp_path / "in.txt")]
    assert main([*command, "--output", str(tmp_path / "labels")]) == 0
    store = TeacherLabels(tmp_path / "labels")
    tagger = Tagger.load(model)
    for label in store:
        [expected] = tagger.predict([list(label.words)])
        assert tuple(LABELS.decode_iob2(label.tag_ids)) == expected.tags
        np.testing.assert_allclose(np.exp(label.log_posteriors).sum(-1), 1, rtol=1e-3)
        assert (np.exp(label.log_posteriors) > 0.01).sum() > len(label.words)  # not one tag alone


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a BERT cannot use a vocabulary of words"):
        save_tiny(tmp_path / "m", "bert", vocabulary=WORDS)
    with pytest.raises(UserError, match="predicts 4 tags, the label set has 3"):
        save_tiny(tmp_path / "m", "bert", labels=LabelSet(("city",)))
    vocabulary = ByteVocabulary()
    vocabulary.pad_id = 3
    with pytest.raises(
        UserError, match="padding has id 3 in the vocabulary, and the model needs 0"
    ):
        save_tiny(tmp_path / "m", "bert", vocabulary=vocabulary)
    assert not (tmp_path / "m").exists()


def test_a_classifier_of_the_same_tags_is_imported_in_their_order(
    model: Path, tmp_path: Path
) -> None:
    """What `distill-jax import` makes of a classifier with other numbers for the tags."""
    src = tmp_path / "src"
    src.mkdir()
    fields = json.loads((model / "config.json").read_text())
    order = [2, 0, 3, 1]
    fields["id2label"] = {str(n): LABELS.tags[tag] for n, tag in enumerate(order)}
    (src / "config.json").write_text(json.dumps(fields))
    (src / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    entries = read_entries(model / "model.safetensors")
    tensors = {name: read_tensor(entry) for name, entry in entries.items()}
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][order]
    tensors["roberta.pooler.dense.bias"] = np.ones(8, np.float32)
    write_safetensors(
        src / "model.safetensors",
        [TensorSource(name, value.shape, lambda v=value: v) for name, value in tensors.items()],
    )
    LABELS.save(tmp_path / "labels.txt")
    unused = import_hf(src, tmp_path / "dst", LABELS)
    assert set(unused) == {"roberta.pooler.dense.bias"}
    loaded = load_model(tmp_path / "dst")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, bert_params(CONFIG))
    with pytest.raises(UserError, match=r"predicts city, O, date_time, I, and not O, I and the 1"):
        import_hf(src, tmp_path / "other", LabelSet(("city",)))


def test_a_bare_encoder_is_not_imported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_encoder(tmp_path / "src")
    write_wordpieces(tmp_path / "src", PIECES)
    LABELS.save(tmp_path / "labels.txt")
    command = ["import", "--from", "hf", "--labels", str(tmp_path / "labels.txt")]
    assert main([*command, str(tmp_path / "src"), str(tmp_path / "dst")]) == 2
    assert "this BERT has no tag classifier, so it has to be trained" in capfd.readouterr().err
    assert not (tmp_path / "dst").exists()
    assert BertCheckpoint(tmp_path / "src").tags == ()
