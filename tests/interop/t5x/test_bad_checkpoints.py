"""What is no checkpoint of t5x, or a damaged one: one line that names the place, and nothing written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax.serialization import msgpack_serialize

from distill_jax.cli import main
from tests.tiny_t5x import (
    UMT5,
    V1_1,
    Tree,
    map_tree,
    target_of,
    train_state,
    write_orbax,
    write_partitioned,
    write_unpartitioned,
)

Case = Callable[[Path], tuple[list[str], tuple[str, ...]]]
CASES: dict[str, Case] = {}
KEY = "encoder.layers_0.attention.key.kernel"


def case(function: Case) -> Case:
    """Registers a case: makes `run/`, and gives more options and what the error must name."""
    CASES[function.__name__] = function
    return function


def inline(run: Path, target: Tree) -> None:
    write_unpartitioned(run / "checkpoint_7", train_state(target))


def without(target: Tree, *names: str) -> Tree:
    level = target
    for name in names[:-1]:
        level[name] = dict(level[name])
        level = level[name]
    del level[names[-1]]
    return target


@case
def nothing_there(run: Path) -> tuple[list[str], tuple[str, ...]]:
    return [], (f"{run}: no such folder", "checkpoint_N")


@case
def no_checkpoint(run: Path) -> tuple[list[str], tuple[str, ...]]:
    (run / "train").mkdir(parents=True)
    return [], (f"{run}: no checkpoint of t5x is here",)


@case
def an_empty_step(run: Path) -> tuple[list[str], tuple[str, ...]]:
    (run / "checkpoint_3").mkdir(parents=True)
    return [], ("checkpoint_3: holds neither checkpoint nor state/",)


@case
def a_step_that_is_not_there(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, target_of(V1_1))
    return ["--step", "8"], (f"{run}: has no checkpoint of step 8; there are: 7",)


@case
def a_step_that_is_no_number(run: Path) -> tuple[list[str], tuple[str, ...]]:
    return ["--step", "-1"], ("--step",)


@case
def another_step(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, target_of(V1_1))
    (run / "checkpoint_7").rename(run / "moved")
    (run / "moved/checkpoint").rename(run / "checkpoint")
    return ["--step", "8"], (f"{run}: is one checkpoint, and --step 8 names another",)


@case
def other_bytes(run: Path) -> tuple[list[str], tuple[str, ...]]:
    (run / "checkpoint_7").mkdir(parents=True)
    (run / "checkpoint_7/checkpoint").write_bytes(b"\xc1PK\x03\x04")
    return [], ("checkpoint_7/checkpoint: not a checkpoint file of t5x",)


@case
def a_pointer(run: Path) -> tuple[list[str], tuple[str, ...]]:
    (run / "checkpoint_7").mkdir(parents=True)
    (run / "checkpoint_7/checkpoint").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return [], ("checkpoint_7/checkpoint: a Git LFS pointer",)


@case
def of_tensorflow(run: Path) -> tuple[list[str], tuple[str, ...]]:
    run.mkdir()
    (run / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-0"\n')
    return [], ("run/checkpoint: of TensorFlow",)


@case
def a_truncated_file(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, target_of(V1_1))
    file = run / "checkpoint_7/checkpoint"
    file.write_bytes(file.read_bytes()[:-2000])
    return [], ("checkpoint_7/checkpoint: truncated",)


@case
def no_parameters(run: Path) -> tuple[list[str], tuple[str, ...]]:
    (run / "checkpoint_7").mkdir(parents=True)
    content = {"version": 3, "optimizer": {"state": {"step": np.int32(3)}}}
    (run / "checkpoint_7/checkpoint").write_bytes(msgpack_serialize(content))
    return [], ("checkpoint_7: holds no parameters (`target`)",)


@case
def a_missing_parameter(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, without(target_of(V1_1), "decoder", "decoder_norm"))
    return [], ("checkpoint_7: array 'target/decoder/decoder_norm/scale' is missing",)


@case
def no_embedding(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, without(target_of(V1_1), "token_embedder"))
    return [], ("checkpoint_7: array 'target/token_embedder/embedding' is missing",)


@case
def a_missing_layer(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, without(target_of(V1_1), "decoder", "layers_0"))
    return [], ("target/decoder/layers_0/", "is missing")


@case
def an_unknown_parameter(run: Path) -> tuple[list[str], tuple[str, ...]]:
    target = target_of(V1_1)
    target["decoder"]["layers_0"]["mlp"]["wi_0"]["bias"] = np.zeros(5, np.float32)
    inline(run, target)
    return [], ("'target/decoder/layers_0/mlp/wi_0/bias' has no place in a T5",)


@case
def another_shape(run: Path) -> tuple[list[str], tuple[str, ...]]:
    target = target_of(V1_1)
    target["decoder"]["layers_1"]["mlp"]["wo"]["kernel"] = np.zeros((5, 7), np.float32)
    inline(run, target)
    return [], ("'target/decoder/layers_1/mlp/wo/kernel' has shape [5, 7]", "ask for [5, 6]")


@case
def towers_of_other_widths(run: Path) -> tuple[list[str], tuple[str, ...]]:
    target = target_of(UMT5)
    target["decoder"]["decoder"]["mlp"]["wo"]["kernel"] = np.zeros((5, 3, 6), np.float32)
    inline(run, target)
    return [], ("'target/decoder/decoder/mlp/wo/kernel' has shape [5, 3, 6]", "[5, 2, 6]")


@case
def whole_numbers(run: Path) -> tuple[list[str], tuple[str, ...]]:
    target = target_of(V1_1)
    target["decoder"]["decoder_norm"]["scale"] = np.ones(6, np.int8)
    inline(run, target)
    return [], ("'target/decoder/decoder_norm/scale' is stored as int8",)


@case
def a_decoder_alone(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, without(target_of(V1_1), "encoder"))
    return [], ("checkpoint_7: a checkpoint of a decoder alone", "use one of T5")


@case
def an_encoder_alone(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, without(target_of(V1_1), "decoder"))
    return [], ("checkpoint_7: a checkpoint of an encoder alone",)


@case
def long_t5(run: Path) -> tuple[list[str], tuple[str, ...]]:
    target = target_of(V1_1)
    bias = {"rel_embedding": np.zeros((3, 32), np.float32)}
    target["encoder"] = {**target["encoder"], "side_relpos_bias": bias}
    inline(run, target)
    return [], ("checkpoint_7: a checkpoint of LongT5",)


@case
def another_model(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, {"params": {"kernel": np.zeros((3, 2), np.float32)}})
    return [], ("checkpoint_7: a checkpoint of no T5",)


@case
def a_missing_zarr(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_partitioned(run / "checkpoint_7", train_state(target_of(V1_1)))
    (run / f"checkpoint_7/target.{KEY}/.zarray").unlink()
    return [], (f"target.{KEY}: array 'target/{KEY.replace('.', '/')}' is missing",)


@case
def a_missing_chunk(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_partitioned(run / "checkpoint_7", train_state(target_of(V1_1)))
    (run / f"checkpoint_7/target.{KEY}/1.0").unlink()
    return [], (f"target.{KEY}: array", "cannot be read", "is missing")


@case
def a_truncated_chunk(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_partitioned(run / "checkpoint_7", train_state(target_of(V1_1)))
    file = run / f"checkpoint_7/target.{KEY}/0.0"
    file.write_bytes(file.read_bytes()[:20])
    return [], (f"target.{KEY}: array 'target/{KEY.replace('.', '/')}' cannot be read",)


@case
def a_damaged_description(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_partitioned(run / "checkpoint_7", train_state(target_of(V1_1)))
    (run / f"checkpoint_7/target.{KEY}/.zarray").write_text("{")
    return [], (f"target.{KEY}: array 'target/{KEY.replace('.', '/')}' cannot be opened",)


@case
def an_array_of_another_checkpoint(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_partitioned(run / "checkpoint_7", train_state(target_of(V1_1)))
    file = run / f"checkpoint_7/target.{KEY}/.zarray"
    file.write_text(file.read_text().replace('"shape":[6,6]', '"shape":[6,4]'))
    return [], (f"target.{KEY}: array", "has shape [6, 4], but checkpoint says [6, 6]")


@case
def a_path_that_leads_elsewhere(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_partitioned(run / "checkpoint_7", train_state(target_of(V1_1)))
    file = run / "checkpoint_7/checkpoint"
    place = f"target.{KEY}/".encode()
    file.write_bytes(file.read_bytes().replace(place, b"../" + b"x" * (len(place) - 4) + b"/"))
    return [], (f"checkpoint_7/checkpoint: 'target/{KEY.replace('.', '/')}' is no array",)


@case
def a_damaged_store(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_orbax(run / "checkpoint_7", train_state(target_of(V1_1)))
    for file in (run / "checkpoint_7/state").glob("**/d/*"):
        file.write_bytes(file.read_bytes()[:100])
    return [], ("checkpoint_7/state: array 'target/", "copy the checkpoint again")


@case
def a_store_without_its_names(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_orbax(run / "checkpoint_7", train_state(target_of(V1_1)))
    (run / "checkpoint_7/state/_METADATA").unlink()
    return [], ("checkpoint_7/state/_METADATA: missing",)


@case
def names_that_are_none(run: Path) -> tuple[list[str], tuple[str, ...]]:
    write_orbax(run / "checkpoint_7", train_state(target_of(V1_1)))
    (run / "checkpoint_7/state/_METADATA").write_text(json.dumps({"tree_metadata": {"a": 3}}))
    return [], ("checkpoint_7/state/_METADATA: does not name the checkpoint's arrays",)


@case
def no_vocabulary(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, target_of(V1_1.replace(vocab_size=400)))
    return [], (f"{run}: has no vocabulary", "t5x keeps none")


@case
def too_few_rows(run: Path) -> tuple[list[str], tuple[str, ...]]:
    inline(run, target_of(V1_1.replace(vocab_size=300)))
    return ["--vocabulary", "byte"], ("384 ids, the model only 300",)


@case
def no_rate(run: Path) -> tuple[list[str], tuple[str, ...]]:
    return ["--dropout", "2"], ("--dropout",)


@pytest.mark.parametrize("name", CASES)
def test_bad_checkpoint(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    options, named = CASES[name](tmp_path / "run")
    (tmp_path / "labels.txt").write_text("city\n")
    command = ["import", "--from", "t5x", "--labels", str(tmp_path / "labels.txt"), *options]
    capfd.readouterr()
    assert _code([*command, str(tmp_path / "run"), str(tmp_path / "model")]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    for text in named:
        assert text in lines[0]
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "labels.txt"}


def test_options_of_t5x_are_no_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.txt").write_text("city\n")
    command = ["import", "--from", "hf", "--labels", str(tmp_path / "labels.txt"), "--step", "3"]
    assert main([*command, str(tmp_path), str(tmp_path / "model")]) == 2
    assert "--step is for --from t5x" in capfd.readouterr().err


def test_cut_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file of any length is refused in one line."""
    small = map_tree(lambda _, array: array[:1], target_of(V1_1))
    write_unpartitioned(tmp_path / "checkpoint_7", train_state(small))
    file = tmp_path / "checkpoint_7/checkpoint"
    content = file.read_bytes()
    for length in range(0, len(content), 97):
        file.write_bytes(content[:length])
        with pytest.raises(Exception, match=r"truncated|not a checkpoint file") as raised:
            _open(tmp_path)
        assert type(raised.value).__name__ == "UserError"


def _open(folder: Path) -> Any:
    from distill_jax.interop.t5x.checkpoint import T5xCheckpoint

    return T5xCheckpoint(folder)


def _code(command: list[str]) -> int:
    try:
        return main(command)
    except SystemExit as end:  # what the parser of options refuses
        assert isinstance(end.code, int)
        return end.code
