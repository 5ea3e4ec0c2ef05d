"""How much memory it takes to import a checkpoint of t5x."""

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import pytest

from distill_jax.models.t5_config import T5Config
from tests.tiny import t5_params
from tests.tiny_t5x import map_tree, target_of, train_state, write_partitioned, write_unpartitioned

ROOT = Path(__file__).resolve().parents[2]
CONFIG = T5Config(
    vocab_size=24_000,
    d_model=256,
    d_ff=2048,
    num_encoder_layers=4,
    num_decoder_layers=4,
    relative_bias_per_layer=True,
)
MEASURE = """
import sys
import tensorstore
from distill_jax.interop.t5x.checkpoint import T5xCheckpoint
from distill_jax.model_dir.import_t5x import import_t5x
from distill_jax.tagging.labels import LabelSet

def kilobytes(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

labels = LabelSet(("city",))
before = kilobytes("VmRSS")
for number, source in enumerate(sys.argv[2:]):
    import_t5x(T5xCheckpoint(source), f"{sys.argv[1]}/{number}", labels, "byte")
    print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory(tmp_path: Path) -> None:
    """Importing takes little more than the largest array, scanned layers together, be it stored in one
    file or many; of bfloat16 as well, which becomes twice as large."""
    target = target_of(CONFIG, t5_params(CONFIG))
    halves = map_tree(lambda _, array: array.astype(ml_dtypes.bfloat16), target)
    write_unpartitioned(tmp_path / "halves", train_state(halves))
    write_partitioned(tmp_path / "many", train_state(target), compressor="zstd")
    size = (tmp_path / "halves/checkpoint").stat().st_size
    assert 40e6 < size < 60e6
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in ("", "halves", "many"))],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "MALLOC_MMAP_THRESHOLD_": "65536",  # what is freed is given back: arrays here are small
        },
        capture_output=True,
        text=True,
        check=True,
    )
    of_halves, of_many = (int(line) for line in result.stdout.split())
    print(f"over the checkpoint's size: {of_halves / size:.2f}, {of_many / (2 * size):.2f}")
    assert of_halves <= 1.3 * size
    assert of_many <= 1.3 * 2 * size
