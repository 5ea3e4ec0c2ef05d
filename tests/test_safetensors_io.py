"""What is read and written of safetensors files against the library alone."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill_jax import safetensors_io
from distill_jax.safetensors_io import (
    TensorSource,
    read_entries,
    read_tensor,
    write_safetensors,
)

arrays = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements=st.floats(-100, 100, width=16),
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), arrays, max_size=4))
def test_files_of_the_library_are_read(tensors: dict[str, np.ndarray]) -> None:
    tensors.pop("__metadata__", None)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.safetensors"
        safetensors.numpy.save_file(tensors, path)
        entries = read_entries(path)
        assert set(entries) == set(tensors)
        for name, array in tensors.items():
            read = read_tensor(entries[name])
            assert read.dtype == np.float32 and read.flags.writeable
            np.testing.assert_array_equal(read, array.astype(np.float32))


@given(st.dictionaries(st.text("abc/._", min_size=1, max_size=8), arrays, max_size=4))
def test_the_library_reads_our_files(tensors: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.safetensors"
        sources = []
        for name, array in tensors.items():
            transposed = array.astype(np.float32).T  # in Fortran order
            sources.append(TensorSource(name, transposed.shape, lambda a=transposed: a))
        write_safetensors(path, sources)
        read = safetensors.numpy.load_file(path)
        assert set(read) == set(tensors)
        for name, array in tensors.items():
            np.testing.assert_array_equal(read[name], array.T.astype(np.float32))
        with safetensors.safe_open(path, "np") as file:
            assert file.metadata() == {"format": "pt"}  # older transformers refuse files without


def test_large_tensors_go_through_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_io, "_CHUNK", 7)
    array = np.random.default_rng(0).normal(size=(13, 9)).astype(np.float16)
    safetensors.numpy.save_file({"a": array}, tmp_path / "half")
    read = read_tensor(read_entries(tmp_path / "half")["a"])
    np.testing.assert_array_equal(read, array)
    write_safetensors(tmp_path / "full", [TensorSource("a", (9, 13), lambda: read.T)])
    np.testing.assert_array_equal(
        safetensors.numpy.load_file(tmp_path / "full")["a"], array.T.astype(np.float32)
    )


def test_a_tensor_of_another_shape_than_announced_is_not_written(tmp_path: Path) -> None:
    source = TensorSource("a", (2, 3), lambda: np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="a: shape"):
        write_safetensors(tmp_path / "t", [source])
    assert list(tmp_path.iterdir()) == []
