"""The runtime's own wheel tags where there is neither JAX nor the main package."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from distill_jax import Tagger
from distill_jax.export.directory import export_onnx
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, sys

BLOCKED = (
    *("jax", "jaxlib", "flax", "distill_jax", "scipy", "safetensors"),
    *("tokenizers", "sentencepiece"),
)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocked())
folder, model = sys.argv[1:]
sys.path.insert(0, folder)
import distill_jax_runtime

assert distill_jax_runtime.__file__.startswith(folder), distill_jax_runtime.__file__
assert not {"numpy", "onnxruntime"} & set(sys.modules)  # nothing heavy before it is used
tagger = distill_jax_runtime.Tagger.load(model)
tagged = list(tagger.pipe(["to berlin", ["on", "may", "4", "to", "rome"]]))
print(json.dumps([one.to_json(posteriors=True) for one in tagged]))
"""


@pytest.mark.slow
def test_its_wheel_alone_tags(tmp_path: Path) -> None:
    source = tmp_path / "runtime"
    shutil.copytree(ROOT / "runtime", source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([*pip, *options, str(source)], check=True)
    [wheel] = tmp_path.glob("*.whl")
    folder = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    wanted = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist")]
    required = {line.split(">")[0] for line in wanted if "extra ==" not in line}
    assert required == {"numpy", "onnxruntime"}

    model = tiny.save_tiny(tmp_path / "model", "bilstm")
    export_onnx(model, tmp_path / "onnx")
    command = [sys.executable, "-I", "-c", PROGRAM, str(folder), str(tmp_path / "onnx")]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    sentences = ["to berlin", ["on", "may", "4", "to", "rome"]]
    for one, same in zip(answer, Tagger.load(model).predict(sentences), strict=True):
        expected = same.to_json(posteriors=True)
        assert one.keys() == expected.keys()
        assert one["tags"] == expected["tags"] and one["labels"] == expected["labels"]
        np.testing.assert_allclose(one["posteriors"], expected["posteriors"], atol=1e-4)
