"""`export --to hf`: what transformers loads, with the model's own logits and the tokenizer's own ids."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.cli.main import main
from distill_jax.interop.hf.bert import BertCheckpoint
from distill_jax.kinds.registry import kind_of
from distill_jax.model_dir.directory import load_model
from distill_jax.model_dir.export_hf import export_hf
from distill_jax.model_dir.import_hf import import_hf
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import HuggingFaceVocabulary, train_sentencepiece
from distill_jax.vocab.wordpiece import wordpiece_tokenizer
from tests import tiny, tiny_bert

WORDS = ("to", "Berlin", "on", "may", "4")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model directory of each kind, with the vocabularies that such a model has."""
    folder = tmp_path_factory.mktemp("models")
    pieces = [
        *(f"##{letter}" for letter in "abcdefghilmnorty"),
        *"abcdefghilmnorty4",
        "to",
        "ber",
        "##lin",
    ]
    tiny_bert.write_wordpieces(folder / "wordpieces", pieces)
    wordpieces = HuggingFaceVocabulary(
        folder / "wordpieces/vocab.txt", wordpiece_tokenizer(folder / "wordpieces")
    )
    texts = ["book a table in berlin on may 4", "to rome"] * 5
    trained = train_sentencepiece(
        texts, 60, folder / "spiece.model", required=tiny.LABELS.tag_texts, extra_ids=12
    )
    t5 = tiny.T5_CONFIG.replace(vocab_size=trained.size)
    encoder = tiny.ENCODER_CONFIG.replace(vocab_size=trained.size)
    per_layer = encoder.replace(relative_bias_per_layer=True, gated=False, activation="relu")
    changes: dict[str, dict[str, Any]] = {
        "bert": {"vocabulary": wordpieces},
        "t5": {"vocabulary": trained, "config": t5, "params": tiny.t5_params(t5)},
        "encoder": {"vocabulary": trained, "config": encoder, "params": tiny.encoder_params(encoder)},
        "per_layer": {"vocabulary": trained, "config": per_layer, "params": tiny.encoder_params(per_layer)},
        "bytes": {},
    }  # fmt: skip
    kinds = {"per_layer": "encoder", "bytes": "t5"}
    return {
        name: tiny.save_tiny(folder / name, kinds.get(name, name), name=name, **fields)
        for name, fields in changes.items()
    }


def loaded(directory: Path, model_class: str) -> tuple[Any, Any]:
    """Model and tokenizer, without a tensor that was made up or left out."""
    pytest.importorskip("torch", reason="needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    model, info = getattr(transformers, model_class).from_pretrained(
        directory, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    # The AutoTokenizer of transformers 5 reads of a umT5 a tokenizer.json alone.
    is_umt5 = model.config.model_type == "umt5"
    tokenizer_class = transformers.T5Tokenizer if is_umt5 else transformers.AutoTokenizer
    tokenizer = tokenizer_class.from_pretrained(directory)
    return model.eval(), tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "encoder", "per_layer"])
def test_a_token_classifier_gives_the_model_s_logits(
    models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    export_hf(models[name], tmp_path / "hf")
    classifier, tokenizer = loaded(tmp_path / "hf", "AutoModelForTokenClassification")
    import torch

    model = load_model(models[name])
    tokens, first = SubwordFormat(model.vocabulary).encode(WORDS)
    read = tokenizer(list(WORDS), is_split_into_words=True)
    assert read["input_ids"] == tokens.tolist()
    if tokenizer.is_fast:
        assert [read.word_ids().index(word) for word in range(len(WORDS))] == first.tolist()
    with torch.no_grad():
        logits = classifier(torch.tensor(tokens[None]).long()).logits[0].numpy()
    module = kind_of(model.config).module(model.config)  # type: ignore[attr-defined]
    expected = jax.jit(module.apply)({"params": model.params}, tokens[None], first[None])[0]
    np.testing.assert_allclose(logits[first], expected, rtol=1e-4, atol=1e-4)
    labels = [classifier.config.id2label[number] for number in range(len(expected[0]))]
    assert labels == list(tiny.LABELS.tags)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "bytes"])
def test_a_teacher_gives_the_model_s_logits(
    models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from distill_jax.models.t5 import T5

    export_hf(models[name], tmp_path / "hf")
    teacher, tokenizer = loaded(tmp_path / "hf", "AutoModelForSeq2SeqLM")
    import torch

    model = load_model(models[name])
    for word in WORDS:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        assert ids == list(model.vocabulary.encode(word))
    sentinels = [tokenizer.convert_tokens_to_ids(f"<extra_id_{n}>") for n in range(len(WORDS) + 1)]
    assert sentinels == model.vocabulary.sentinel_ids[: len(WORDS) + 1].tolist()
    source = SenTFormat(model.vocabulary, model.labels).encode_input(WORDS)
    source = np.asarray(source)[None]
    target = np.array([[0, sentinels[0], 3, 4]])
    with torch.no_grad():
        logits = teacher(
            input_ids=torch.tensor(source).long(), decoder_input_ids=torch.tensor(target)
        ).logits.numpy()
    expected = jax.jit(T5(model.config).apply)(
        {"params": model.params}, source, source != 0, target, target >= 0
    )
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["t5", "bert"])
def test_what_is_written_is_imported_again(
    models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    command = ["export", "--to", "hf", str(models[name]), str(tmp_path / "hf")]
    assert main(command) == 0
    there = {path.name for path in (tmp_path / "hf").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer_config.json", "labels.txt"} <= there
    assert "tagger.json" not in there
    card = (tmp_path / "hf/README.md").read_text()
    assert card.startswith(f"# {name}") and "from transformers import" in card
    assert "from distill_jax import" not in card
    import_hf(tmp_path / "hf", tmp_path / "again", tiny.LABELS)
    model, again = load_model(models[name]), load_model(tmp_path / "again")
    assert again.config == model.config and again.labels.tags == model.labels.tags
    assert again.vocabulary.content_hash() == model.vocabulary.content_hash()


def test_an_encoder_has_every_tensor_under_its_name_in_transformers(
    models: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    export_hf(models["encoder"], tmp_path / "hf")
    fields = json.loads((tmp_path / "hf/config.json").read_text())
    assert fields["architectures"] == ["T5ForTokenClassification"]
    assert fields["id2label"] == {"0": "O", "1": "I", "2": "city", "3": "date_time"}
    tensors = load_file(tmp_path / "hf/model.safetensors")
    params = load_model(models["encoder"]).params
    np.testing.assert_array_equal(tensors["classifier.weight"], params["output"]["kernel"].T)
    np.testing.assert_array_equal(
        tensors["transformer.encoder.block.1.layer.0.SelfAttention.q.weight"],
        params["encoder"]["layers_1"]["attention"]["query"]["kernel"].T,
    )
    assert not [name for name in tensors if "decoder" in name or "lm_head" in name]


def test_the_tags_are_those_of_the_classifier(models: dict[str, Path], tmp_path: Path) -> None:
    export_hf(models["bert"], tmp_path / "hf")
    assert BertCheckpoint(tmp_path / "hf").tags == tiny.LABELS.tags
    fields = json.loads((tmp_path / "hf/tokenizer_config.json").read_text())
    assert fields["model_max_length"] == tiny.BERT_CONFIG.max_tokens


def test_a_kind_that_transformers_has_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bilstm = tiny.save_tiny(tmp_path / "bilstm", "bilstm")
    assert main(["export", "--to", "hf", str(bilstm), str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "bilstm has no architecture in transformers" in line and "bert, encoder, t5" in line
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_replaced(
    models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--to", "hf", str(models["t5"]), str(models["bert"])]) == 2
    assert "is there already" in capsys.readouterr().err
