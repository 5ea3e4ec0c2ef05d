"""TensorFlow is told to leave GPUs to JAX, before anything can have used one."""

import sys
import types
from pathlib import Path

import pytest

from distill_jax.data.seqio_import import import_seqio

SEQIO = "import tensorflow\ntensorflow.calls.append('seqio imported')\n"


@pytest.fixture
def tensorflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """A TensorFlow that writes down what it is asked for, and a SeqIO that uses it when imported."""
    fake = types.ModuleType("tensorflow")
    fake.calls = []  # type: ignore[attr-defined]
    fake.config = types.SimpleNamespace(  # type: ignore[attr-defined]
        set_visible_devices=lambda *what: fake.calls.append(what)
    )
    (tmp_path / "seqio.py").write_text(SEQIO)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setitem(sys.modules, "seqio", fake)  # so that whatever comes there goes again
    del sys.modules["seqio"]
    monkeypatch.syspath_prepend(tmp_path)
    return fake


def test_gpus_are_hidden_before_seqio_is_imported(tensorflow: types.ModuleType) -> None:
    import_seqio.__wrapped__()  # not the one that is kept from an earlier call
    assert tensorflow.calls == [([], "GPU"), "seqio imported"]


def test_it_says_so_where_it_comes_too_late(
    tensorflow: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*what: object) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    tensorflow.config.set_visible_devices = refuse
    import_seqio.__wrapped__()
    assert "TensorFlow was initialised before" in capsys.readouterr().err
    assert tensorflow.calls == ["seqio imported"]
