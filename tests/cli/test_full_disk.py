"""Full disks, folders that are gone or may not be written to: one line, exit code 2, nothing half-written."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distill_jax.cli import main
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.labels.store import TeacherLabels
from tests.full_disk import no_file_above
from tests.tiny import T5_CONFIG, save_tiny, t5_params

GOLD = "to O\nberlin B-city\n\non O\nmay B-date_time\n4 I-date_time\n\n"
TEXT = "".join(f"to berlin on may {n}\n" for n in range(12))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What commands read."""
    folder = tmp_path_factory.mktemp("files")
    save_tiny(folder / "model", "bilstm")
    write_hf(folder / "t5", T5_CONFIG, t5_params())
    (folder / "gold.conll").write_text(GOLD)
    (folder / "in.txt").write_text(TEXT)
    (folder / "labels.txt").write_text("city\ndate_time\n")
    yield folder


Command = Callable[[Path, Path], list[str]]


def evaluate(option: str, name: str) -> Command:
    return lambda files, out: [
        *("evaluate", "--model", f"{files}/model", "--data", f"{files}/gold.conll"),
        *(option, f"{out}/{name}"),
    ]


def inspect(option: str, name: str) -> Command:
    return lambda files, out: ["inspect", f"{files}/gold.conll", option, f"{out}/{name}"]


def label(files: Path, out: Path) -> list[str]:
    inputs = ["--model", f"{files}/model", "--input", f"{files}/in.txt", "--shard_size", "5"]
    return ["label", *inputs, "--output", f"{out}/store"]


def predict(files: Path, out: Path) -> list[str]:
    inputs = ["--model", f"{files}/model", "--input", f"{files}/in.txt"]
    return ["predict", *inputs, "--output", f"{out}/out.jsonl"]


def import_t5(files: Path, out: Path) -> list[str]:
    labels = ["--labels", f"{files}/labels.txt", "--vocabulary", "byte"]
    return ["import", "--from", "hf", *labels, f"{files}/t5", f"{out}/imported"]


COMMANDS: dict[str, tuple[Command, str]] = {
    "predict": (predict, "out.jsonl"),
    "label": (label, "store"),
    "evaluate --json": (evaluate("--json", "out.json"), "out.json"),
    "evaluate --html": (evaluate("--html", "out.html"), "out.html"),
    "evaluate --reliability": (evaluate("--reliability", "out.png"), "out.png"),
    "inspect --json": (inspect("--json", "out.json"), "out.json"),
    "inspect --html": (inspect("--html", "out.html"), "out.html"),
    "import": (import_t5, "imported"),
}


def shown(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(
    name: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, output = COMMANDS[name]
    with no_file_above(20):
        assert main(command(files, tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path}/{output}" in error
    assert os.strerror(errno.EFBIG) in error and "disk" in error
    assert shown(tmp_path) == []  # not even under a hidden name


def test_labels_that_met_a_full_disk_at_every_write_are_those_of_one_run(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "whole").mkdir()
    assert main(label(files, tmp_path / "whole")) == 0
    capsys.readouterr()
    sizes = sorted({p.stat().st_size for p in (tmp_path / "whole" / "store").iterdir()} - {0})
    for size in sizes[:-1]:
        with no_file_above(size):
            assert main(label(files, tmp_path)) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "store" / "manifest.json").exists()
    assert main(label(files, tmp_path)) == 0
    TeacherLabels(tmp_path / "store").verify()
    names = shown(tmp_path / "store")
    assert names == shown(tmp_path / "whole" / "store")
    for file in names:
        there = (tmp_path / "store" / file).read_bytes()
        assert there == (tmp_path / "whole" / "store" / file).read_bytes()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("name", ["predict", "label", "import"])
def test_a_folder_that_cannot_be_written_to(
    name: str,
    code: int,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As root a folder without permission can be written to: so the system's answer is put in."""
    made = Path.mkdir

    def refuse(path: Path, *args: object, **options: object) -> None:
        if str(path).startswith(f"{tmp_path}/sub"):
            raise OSError(code, os.strerror(code), str(path))
        made(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    command, _ = COMMANDS[name]
    assert main(command(files, tmp_path / "sub")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path}/sub" in error and os.strerror(code) in error


@pytest.mark.parametrize("name", ["predict", "label"])
def test_a_folder_that_is_removed_meanwhile(
    name: str,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    from distill_jax.tagger import Tagger

    decode = Tagger.decode

    def remove(*args: object) -> object:
        shutil.rmtree(tmp_path / "sub")
        return decode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Tagger, "decode", remove)
    command, output = COMMANDS[name]
    (tmp_path / "sub").mkdir()
    assert main(command(files, tmp_path / "sub")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path}/sub/{output}" in error
    assert shown(tmp_path) == []


def test_standard_output_that_is_full(files: Path) -> None:
    """Two flushes fail, and the second is Python's own, at its end."""
    command = predict(files, Path("/nowhere"))
    command[-1] = "-"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "distill_jax", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and os.strerror(errno.ENOSPC) in done.stderr
