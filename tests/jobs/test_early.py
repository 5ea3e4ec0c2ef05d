"""What is wrong with a run is said before JAX is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill_jax.data.prepare import load_task_modules
from distill_jax.data.readers import write_conll
from distill_jax.data.seqio_lookup import known_names
from distill_jax.data.task_names import check_task_name
from distill_jax.errors import UserError
from distill_jax.jobs.early import check_early
from distill_jax.tagging import Sentence

GOLD = ["gin/runs/distil_gold.gin"]


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["MIXTURE_OR_TASK_NAME=demo"], "MODEL_DIR is required by gin/runs/distil_gold.gin"),
        (["MODEL_DIRR=x", "MIXTURE_OR_TASK_NAME=demo"], "did you mean MODEL_DIR?"),
        (["MODEL_DIR=x", "MIXTURE_OR_TASK_NAME=snipz"], "no task or mixture 'snipz'; did you mean snips"),
        (["MODEL_DIR=x", "MIXTURE_OR_TASK_NAME=a_gold8_dev4_seed0", "DATA_DIR=nowhere"], "DATA_DIR nowhere"),
        (["MODEL_DIR=x", "MIXTURE_OR_TASK_NAME=demo", "EMBEDDING_FILE=no.txt"], "EMBEDDING_FILE no.txt"),
        (["MODEL_DIR=x", "MIXTURE_OR_TASK_NAME=demo", "TEACHER=gone/it"], "gone/it: no such directory"),
    ],
)  # fmt: skip
def test_what_is_certainly_wrong(bindings: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        check_early(GOLD, bindings)
    assert message in str(error.value)


def test_what_may_be_there_passes(tmp_path: Path) -> None:
    write_conll(tmp_path / "my-set" / "train.conll", [Sentence(("a",), ("O",))])
    for name in ("my_set", "my-set", "my_set_gold8_dev4_seed0", "my_set_text", "wikiann/en"):
        check_task_name(name, str(tmp_path), tmp_path / "prepared")
    (tmp_path / "prepared" / "other" / "train").mkdir(parents=True)
    check_task_name("other", None, tmp_path / "prepared")
    own = ["MODEL_DIR=x", "MIXTURE_OR_TASK_NAME=mine", "MIXTURE_OR_TASK_MODULES=('my_tasks',)"]
    check_early(GOLD, own)
    unknown = own[:2]
    for place in (f"data_dir={str(tmp_path)!r}", "modules=('my_tasks',)", "directory='prepared'"):
        check_early(GOLD, [*unknown, f"Sources.{place}"])  # a field comes before its macro
    with pytest.raises(UserError, match="there is no task"):
        check_early(GOLD, unknown)
    with pytest.raises(UserError, match="did you mean my_set"):
        check_task_name("my_sett", str(tmp_path), tmp_path / "prepared")


def test_every_task_of_the_package_is_known(tmp_path: Path) -> None:
    load_task_modules(["distill_jax.tasks"])
    own = [name for name in known_names() if not name.startswith(("tiny", "test"))]
    for name in ("demo", "snips", "conll2003", "wikiann_en", "dialogue_text"):
        assert name in own
        check_task_name(name, None, tmp_path)


STUDY = "study --gin_file=gin/runs/fewshot_study.gin"
SAID = {
    "train --gin_file=gin/runs/distil_gold.gin --gin.MODEL_DIR=x --gin.MIXTURE_OR_TASK_NAME=snipz": "'snipz'",
    STUDY: "STUDY_DIR is required",
    f"{STUDY} --gin.STUDY_DIR=x --gin.INITIAL_CHECKPOINT_PATH=None --gin.DATASETS=('snipz',)": "'snipz'",
    "compile --topology cpu --gin_file=gone.gin": "gone.gin: there is no such Gin file",
    "fit nowhere --out x": "nowhere: no such file",
    "inspect snipz": "'snipz'",
    "predict --model gin --input - --output -": "gin: not a model directory",
    "predict --model A_MODEL --input gone --output -": "gone: cannot be read",
    "label --model nowhere --input setup.py --output x": "nowhere: not a model directory",
    "label --model A_MODEL --input setup.py gone --output x": "gone: cannot be read",
    "label --model A_MODEL --task snipz --output x": "'snipz'",
    "evaluate --model A_MODEL --data gone": "gone: cannot be read",
    "evaluate --model A_MODEL --task snipz": "'snipz'",
    "generate --model x --gold gone --number 1 --output x": "gone: cannot be read",
    "export --to stablehlo nowhere x": "nowhere: not a model directory",
    "import --from hf --labels gone nowhere x": "gone: cannot read the label file",
    "import --from hf --labels A_MODEL/labels.txt nowhere x": "nowhere: no such directory",
}


def test_jax_and_seqio_are_not_imported_for_it(tmp_path: Path) -> None:
    (tmp_path / "tagger.json").write_text("{}")  # all that is looked at before
    (tmp_path / "labels.txt").write_text("city\n")
    commands = [command.replace("A_MODEL", str(tmp_path)).split() for command in SAID]
    code = (
        "import sys; from distill_jax.cli import main; "
        f"print([main(one) for one in {commands}], "
        "[name for name in ('jax', 'tensorflow', 'seqio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{[2] * len(commands)} []\n", done.stderr
    for line, wanted in zip(done.stderr.splitlines(), SAID.values(), strict=True):
        assert wanted in line
