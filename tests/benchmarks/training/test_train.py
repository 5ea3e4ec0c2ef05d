"""The training benchmark on tiny models: every part runs, and the peers compute the same loss."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.common.workload import SIZES, draw_weights
from benchmarks.training import parts, train
from benchmarks.training.steps import Program, batches_of, examples_in, random_tokens
from distill_jax.data.seq2seq import packed_rows
from distill_jax.models.t5_config import T5Config

_TINY = T5Config(**SIZES["tiny"])  # type: ignore[arg-type]


@pytest.mark.slow  # compiles a dozen programs
def test_quick_run(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="a peer of the benchmark")
    path = tmp_path / "train.json"
    returned = train.main(["--quick", "--json", str(path), "--remat", "full"])
    results = json.loads(path.read_text("utf-8"))
    assert results == returned

    step = results["step"]
    assert step["flops"] > 0 and step["matrix_flops"] > 0
    rows = {row["name"]: row for row in step["rows"]}
    assert {"distill_jax", "distill_jax, remat full", *train.TRANSFORMERS} <= set(rows)
    assert all(row["examples_per_second"] > 0 for row in rows.values())
    peers = set(step["losses"]) - {"distill_jax"}
    assert peers >= set(train.TRANSFORMERS)
    without_t5x = any(line.startswith("t5x: ") for line in results["skipped"])
    assert peers.isdisjoint(train.T5X) if without_t5x else peers >= set(train.T5X)
    for name in peers:  # weights and batch are the same, and dropout is off
        assert step["losses"][name] == pytest.approx(step["losses"]["distill_jax"], rel=1e-5)

    padded, packed = results["packing"]
    assert (padded["rows"], packed["rows"]) == ("padded", "packed")
    assert packed["sentences_in_batch"] > padded["sentences_in_batch"] == padded["batch"]
    assert packed["filled"] > padded["filled"]

    scanned, spelled = results["compile"]["rows"]
    assert scanned["scan_layers"] and not spelled["scan_layers"]
    assert all(row["seconds"] == row["trace"] + row["compile"] for row in (scanned, spelled))

    checkpoint = results["checkpoint"]
    # Of three windows the first counts in neither kind of run.
    assert {len(windows) for windows in checkpoint["windows"].values()} == {2}
    assert checkpoint["step_seconds_with"] > 0 and checkpoint["step_seconds_without"] > 0

    named = {entry["what"] for entry in results["targets"]}
    assert "packed / padded sentences a second" in named
    assert "compile time: scan / no scan" in named
    assert "step / the better transformers variant" in named


def test_packed_batches_hold_each_example_once() -> None:
    part = parts.random_examples(384, 60, seed=1)
    lengths = {"inputs": 32, "targets": 32}
    rows = packed_rows([part], lengths, seed=0, repeat=False)
    (batch,) = batches_of(rows, len(rows), 1)
    assert batch["encoder_input_tokens"].shape == (len(rows), 32)
    assert examples_in(batch) == 60
    assert np.count_nonzero(batch["decoder_segment_ids"]) == part.lengths[:, 1].sum()


@pytest.mark.slow
def test_steps_train_and_take_batches_in_turn() -> None:
    batches = [random_tokens(_TINY.vocab_size, 2, 4, seed) for seed in (0, 1)]
    program, params = Program.make(_TINY), draw_weights(_TINY, jax.random.key(0))
    step = program.stepper(params, batches)
    losses = [float(step()[1]["nll"][0]) for _ in range(8)]
    first, second = losses[::2], losses[1::2]
    assert first[-1] < first[0] and second[-1] < second[0]
    assert first[0] != second[0]


def test_flops_count_what_rematerialisation_computes_again() -> None:
    batch = random_tokens(_TINY.vocab_size, 2, 4, 0)
    plain, again = (Program.make(_TINY.replace(remat=kind)) for kind in ("none", "full"))
    positions = 2 * 4
    logits = 3 * 2 * positions * _TINY.d_model * _TINY.vocab_size
    assert logits < plain.flops(batch) < again.flops(batch)


@pytest.mark.slow
def test_peers_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    results = train.main(["--quick", "--only", "step", "--no_peers"])
    assert [row["name"] for row in results["step"]["rows"]] == ["distill_jax"]
    assert results["targets"] == []
    assert "training step, batch 4" in capsys.readouterr().out


def test_packing_says_what_it_needs() -> None:
    results = train.main(["--only", "packing"])
    assert results["skipped"] == ["packing: give --data_dir and --vocabulary"]


@pytest.mark.parametrize(
    "arguments", [["--layers", "0"], ["--checkpoint_period", "100", "--checkpoint_steps", "200"]]
)
def test_bad_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.parse(arguments)
    assert arguments[-2] in capsys.readouterr().err
