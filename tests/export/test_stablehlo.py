"""Programs read back from a directory give the models' own numbers, at sizes they were not made for."""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import export

from distill_jax.cli.main import main
from distill_jax.inference.sent import SentPredictor
from distill_jax.models.bert import BertTagger
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat
from distill_jax.vocab import ByteVocabulary
from tests import tiny

MODELS = {
    "bilstm": (BiLSTMTagger(tiny.BILSTM_CONFIG), tiny.bilstm_params),
    "encoder": (EncoderTagger(tiny.ENCODER_CONFIG), tiny.encoder_params),
    "bert": (BertTagger(tiny.BERT_CONFIG), tiny.bert_params),
}


def exported(directory: Path, kind: str, *options: str) -> tuple[Any, dict[str, Any]]:
    """The program of a tiny model after a way over files, and what `tagger.json` says of it."""
    model = tiny.save_tiny(directory / "model", kind)
    target = directory / "program"
    assert main(["export", "--to", "stablehlo", *options, str(model), str(target)]) == 0
    about = json.loads((target / "tagger.json").read_text())["stablehlo"]
    program = export.deserialize(bytearray((target / "model.stablehlo").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    return program, about


@pytest.mark.parametrize("kind", MODELS)
def test_word_taggers_take_any_batch_and_length(kind: str, tmp_path: Path) -> None:
    program, about = exported(tmp_path, kind)
    module, params = MODELS[kind]
    rng = np.random.default_rng(0)
    for batch, length in ((2, 5), (1, 11)):
        if kind == "bilstm":
            assert about["inputs"] == ["word_ids", "char_ids"]
            inputs = (
                rng.integers(1, 6, (batch, length), np.int32),
                rng.integers(1, 6, (batch, length, 4), np.int32),
            )
        else:
            assert about["inputs"] == ["tokens", "first"]
            first = np.tile(np.arange(length, dtype=np.int32), (batch, 1))
            inputs = rng.integers(3, 300, (batch, length + 3), np.int32), first
        expected = jax.nn.log_softmax(jax.jit(module.apply)({"params": params()}, *inputs))
        np.testing.assert_allclose(program.call(*inputs), expected, atol=1e-4)


def test_it_needs_no_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("distill_jax.export")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)  # what is imported is as if it were not there
    exported(tmp_path, "bilstm")


def test_a_t5_has_the_loop_of_sentscore(tmp_path: Path) -> None:
    program, about = exported(tmp_path, "t5", "--batch_size", "2")
    assert about["inputs"] == ["encoder_tokens", "num_words", "sentinel_ids"]
    sent_format = SenTFormat(ByteVocabulary(), tiny.LABELS)
    predictor = SentPredictor(T5(tiny.T5_CONFIG), sent_format)
    params = tiny.t5_params()
    for sentences in ([("to", "rome"), ("on", "may", "4")], [("berlin",) * 6, ("x",)]):
        decode, batch = predictor.program(sentences)
        expected = decode(params, batch)
        longest = batch.max_words
        sentinels = np.array(about["sentinel_ids"][: longest + 1], np.int32)
        assert (sentinels == batch.sentinel_ids).all()
        tags, scores = program.call(
            np.asarray(batch.encoder_tokens), np.asarray(batch.num_words), sentinels
        )
        assert np.array_equal(tags, expected.tags)
        np.testing.assert_allclose(scores, expected.log_likelihoods, rtol=1e-5, atol=1e-5)


def test_options_that_a_program_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "--to", "stablehlo", "--int8", str(tmp_path), str(tmp_path / "out")]
    assert main(command) == 2
    assert "--int8" in capsys.readouterr().err
    command = ["export", "--to", "onnx", "--batch_size", "2", str(tmp_path), str(tmp_path / "out")]
    assert main(command) == 2
    assert "--batch_size" in capsys.readouterr().err


def test_a_program_is_no_model_of_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path, "bilstm")
    capsys.readouterr()
    program, text = str(tmp_path / "program"), tmp_path / "new.txt"
    text.write_text("to berlin\n")
    assert main(["predict", "--model", program, "--input", str(text), "--output", "-"]) == 2
    assert f"{program}: a model exported to StableHLO" in capsys.readouterr().err
