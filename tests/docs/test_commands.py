"""What the documents say to type is there: commands, options, Gin files, macros, scripts, extras."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from distill_jax.cli.main import build_parser
from distill_jax.cli.training import split_gin_bindings
from distill_jax.errors import UserError
from distill_jax.jobs.building import build_run
from distill_jax.jobs.launch import JOBS, configured
from distill_jax.planning.plan import run_to_plan
from distill_jax.study.generation.run import GenerationStudyRun
from distill_jax.study.run import StudyRun
from tests.docs.documents import (
    DOCUMENTS,
    GIN_FILES,
    ROOT,
    Command,
    commands,
    commands_in,
    name_of,
)
from tests.docs.options import options_of, scripts_text, subparsers

OTHERS = frozenset(
    {
        "curl",
        "docker",
        "echo",
        "kubectl",
        "mkdir",
        "npm",
        "pip",
        "pytest",
        "rm",
        "sbatch",
        "tar",
        "wait",
    }
)
"""Programs that are not ours, or whose arguments are the reader's."""

LEFT_OUT = {
    name: "x"
    for name in (
        *("MODEL_DIR", "MIXTURE_OR_TASK_NAME", "INITIAL_CHECKPOINT_PATH", "TEACHER_LABELS"),
        *("TEACHER", "STUDY_DIR", "TEACHER_EMBEDDING"),
    )
}
"""Values of required macros that a command with `…` leaves to the reader."""


def ours(command: Command) -> Command | None:
    """The command of `distill-jax` that it is, or that a script for pods is given."""
    program, *arguments = command.words
    if program == "distill-jax":
        return command
    for at, word in enumerate(arguments[:-1]):
        if (word == "--" or word.endswith("train.sbatch")) and arguments[at + 1] in subparsers():
            return Command(command.place, ("distill-jax", *arguments[at + 1 :]))
    return None


def command_fault(command: Command, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with a command, of `distill-jax` or another."""
    mine = ours(command)
    said = own_fault(mine, capsys) if mine else None
    return said or (script_fault(command) if command.words[0] != "distill-jax" else None)


def own_fault(command: Command, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What `distill-jax` would say of the command before it reads any data."""
    words = [word.replace("gs://", "/bucket/") for word in command.words[1:] if word != "…"]
    others, bindings = split_gin_bindings(words)
    if not command.whole:
        known = options_of(others[0])
        for word in others:
            if word.startswith("--") and word.partition("=")[0] not in known:
                return f"{others[0]} has no option {word}"
    if command.whole or others[0] in ("train", "study", "compile"):
        try:
            options = build_parser().parse_args(others)
        except SystemExit:
            return capsys.readouterr().err
        files = getattr(options, "gin_file", None)
        if files and files[0].startswith("gin/t5x/"):  # t5x reads it
            return None if (ROOT / files[0]).is_file() else f"there is no {files[0]}"
        if files and "…" not in files:
            return binding_fault(others[0], files, bindings, command.whole)
    return None


def binding_fault(command: str, files: list[str], bindings: list[str], whole: bool) -> str | None:
    """What is wrong with Gin files and bindings."""
    stand_ins = {} if whole else LEFT_OUT
    try:
        if command == "compile":
            run_to_plan(files, bindings)
        elif command == "train" and whole:
            configured(files, bindings)
        else:
            runs = (StudyRun, GenerationStudyRun) if command == "study" else JOBS
            build_run(files, bindings, runs, stand_ins=stand_ins)
    except UserError as error:
        return str(error)
    return None


def script_fault(command: Command) -> str | None:
    """What is wrong with a command that is not of `distill-jax`."""
    program, *arguments = command.words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        missing = [
            word for word in arguments if re.fullmatch(r"[a-z-]+", word) and word not in targets
        ]
        return f"make has no target {missing[0]}" if missing else None
    if program.startswith("python"):
        if arguments[:1] == ["-m"] and arguments[1].startswith("benchmarks."):
            program = f"{arguments[1].replace('.', '/')}.py"
        elif arguments[:1] == ["-m"]:
            return None
        else:
            program, arguments = arguments[0], arguments[1:]
    if "/" not in program:
        return None if program in OTHERS else f"what is {program}?"
    if not (ROOT / program).is_file():
        return f"there is no {program}"
    source = scripts_text()
    for word in arguments[: arguments.index("--") if "--" in arguments else None]:
        if re.match(r"--\w", word) and word.partition("=")[0] not in source:
            return f"{program} has no option {word}"
    return None


@pytest.mark.parametrize("document", [*DOCUMENTS, *GIN_FILES], ids=name_of)
def test_every_command_can_be_typed(
    document: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    faults = []
    for command in commands(document):
        if said := command_fault(command, capsys):
            faults.append(f"{command.place}: {' '.join(command.words)}\n  {said}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("distill-jax predict --model m --input - --output - --posterior_s", "--posterior_s"),
        ("distill-jax label … --outputs DIR", "no option --outputs"),
        ("distill-jax tag", "tag"),
        ("distill-jax train --gin_file=gin/runs/gone.gin", "gone.gin"),
        (
            "distill-jax train --gin_file=gin/runs/distil.gin --gin.MODEL_DIR=x",
            "MIXTURE_OR_TASK_NAME",
        ),
        ("distill-jax train --gin_file=gin/runs/distil.gin … --gin.TRAIN_STEP=3", "TRAIN_STEPS"),
        ("tpu_scripts/launch.sh -- train --gin_file=gin/runs/gone.gin", "gone.gin"),
        ("python benchmarks/decoding/decode.py --ony step", "--ony"),
        ("python -m benchmarks.gone", "benchmarks/gone.py"),
        ("make all", "all"),
    ],
)
def test_what_cannot_be_typed_is_found(
    typed: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    [command] = commands_in("x.md", f"{typed}  # why\n")
    assert said in str(command_fault(command, capsys))


def test_commands_are_taken_out_of_what_shells_allow() -> None:
    code = """\
for i in 0 1; do
  A=1 .venv/bin/distill-jax label … --process_index $i >log &
done; wait
echo 'a | b' | distill-jax predict --model m \\
  --input -   # each line
curl x -d '{"a":
  1}'
run=(train
  --gin_file=f)
"""
    found = [command.words for command in commands_in("x", code)]
    assert found == [
        ("distill-jax", "label", "…", "--process_index", "0"),
        ("wait",),
        ("echo", "a | b"),
        ("distill-jax", "predict", "--model", "m", "--input", "-"),
        ("curl", "x", "-d", '{"a":\n  1}'),
        ("distill-jax", "train", "--gin_file=f"),
    ]


def test_extras_that_documents_name_are_there() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text())
    runtime = tomllib.loads((ROOT / "runtime/pyproject.toml").read_text())["project"]
    [extras] = [
        {ast.literal_eval(key) for key in node.value.keys if key}
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict)
        and ast.unparse(node.targets[0]) == "EXTRAS"
    ]
    extras |= set(runtime["optional-dependencies"])
    named = {
        name
        for document in DOCUMENTS
        for group in re.findall(
            r"pip install\S* (?:-e )?'?[\w./]*\[([\w,]+)\]", document.read_text()
        )
        for name in group.split(",")
    }
    assert named and named <= {*extras, "tpu", "cuda13"}
