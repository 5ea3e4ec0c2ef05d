"""Files and directories appear whole or not at all, and so do the folders they lie in."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from distill_jax.errors import UserError
from distill_jax.files import (
    atomic_directory,
    atomic_write,
    is_special,
    only_one,
    read_json_object,
    write_json,
)

Atomic = Callable[[Path], AbstractContextManager[Path]]


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in ("first", "second"):
        with atomic_write(path) as temporary:
            temporary.write_text(content)
        assert path.read_text() == content
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(file)
    for text in ("first", "second"):
        with atomic_write(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink() and file.read_text() == text


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as other:
        read = other.submit(pipe.read_text)
        with atomic_write(pipe) as temporary:
            temporary.write_text("text")
        assert read.result(timeout=30) == "text"
    assert is_special(pipe) and is_special("/dev/null")
    assert not is_special(tmp_path) and not is_special(tmp_path / "none")


def test_a_directory_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "directory"
    for name in ("first", "second"):
        with atomic_directory(path) as temporary:
            (temporary / name).write_text("")
        assert [p.name for p in path.iterdir()] == [name]
    assert [p.name for p in path.parent.iterdir()] == ["directory"]


@pytest.mark.parametrize("atomic", [atomic_write, atomic_directory])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, atomic: Atomic) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "there" / "a" / "b" / "c"):
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


@pytest.mark.parametrize("atomic", [atomic_write, atomic_directory])
def test_a_failure_leaves_folders_that_others_use(tmp_path: Path, atomic: Atomic) -> None:
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "mine").write_text("")
        raise ZeroDivisionError
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["mine"]


def test_only_one_is_in_the_block_until_it_ends(tmp_path: Path) -> None:
    with only_one(tmp_path / "a") as first, only_one(tmp_path / "b") as other:
        assert first and other
        with only_one(tmp_path / "a") as second:
            assert not second
    with only_one(tmp_path / "a") as again, pytest.raises(KeyError):
        assert again
        with only_one(tmp_path / "b"):
            raise KeyError
    assert (tmp_path / "b" / ".lock").exists()
    with pytest.raises(KeyError), only_one(tmp_path / "c") as mine:
        assert mine
        raise KeyError
    assert not list((tmp_path / "c").iterdir())  # nothing is left of what failed at once
    with only_one(tmp_path / "b", wait=True) as last:
        assert last


def test_a_killed_process_is_not_waited_for(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from distill_jax.files import only_one\n"
        "with only_one(sys.argv[1]) as mine:\n"
        "    print(mine, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        with only_one(tmp_path) as mine:
            assert not mine
        other.kill()
    with only_one(tmp_path, wait=True) as mine:
        assert mine
    assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"a": 1,,', r"x.json:2: not valid JSON (.*); copy the file again"),
        (b"[1]", "x.json: not a JSON object; copy the file again"),
        (b'{"a": "\xff"}', "x.json: not UTF-8 text; copy the file again"),
        (b"[" * 100_000, "x.json: not JSON that can be read; copy the file again"),
        (None, "x.json: cannot be read (No such file or directory); look elsewhere"),
    ],
)
def test_what_is_wrong_with_a_json_file(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json_object(tmp_path / "x.json", absent="look elsewhere")
    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert re.fullmatch(f"{re.escape(str(tmp_path))}/{pattern}", str(error.value))


def test_json_is_read_as_written(tmp_path: Path) -> None:
    value = {"b": ["ü", 1.5, None], "a": {}}
    write_json(tmp_path / "folder" / "x.json", value)
    assert read_json_object(tmp_path / "folder" / "x.json") == value
    text = (tmp_path / "folder" / "x.json").read_text("utf-8")
    assert "ü" in text and text.endswith("}\n") and text.index('"b"') < text.index('"a"')
    write_json(tmp_path / "folder" / "x.json", value, sort_keys=True)
    text = (tmp_path / "folder" / "x.json").read_text("utf-8")
    assert text.index('"a"') < text.index('"b"')
