"""Writing files so that a reader never sees half of one, and hashing what they hold."""

import fcntl
import hashlib
import itertools
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it if the block succeeds.

    Folders above it are made. On an exception the temporary file and they are removed, and `path` is
    left as it was. A link stays and the file it leads to is replaced; what is no regular file
    (`/dev/stdout`, a pipe) is written as it stands.
    """
    path = Path(path)
    if is_special(path):
        yield path
        return
    path = Path(os.path.realpath(path))
    # mkstemp makes files private to the user; the final file should follow the umask instead. Processes
    # of several hosts may share a folder, and their numbers.
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    with _folders_above(path):
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that is neither a regular file nor a directory: a device, a pipe."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary directory beside `path`, renamed to it if the block succeeds.

    An existing directory at `path` is replaced. Folders above it are made. On an exception they are
    removed and `path` is left as it was.
    """
    path = Path(path)
    with _folders_above(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.tmp-", dir=path.parent))
        temporary.chmod(0o755)
        try:
            yield temporary
            if path.exists():
                retired = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
                os.replace(path, retired)
                os.replace(temporary, path)
                shutil.rmtree(retired)
            else:
                os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def only_one(directory: str | os.PathLike[str], *, wait: bool = False) -> Iterator[bool]:
    """Whether this process is the only one in the block for this directory, which is made.

    If another one is, False at once, or True after it has left the block (`wait`). A process that
    ends leaves it, however it ends. It is the file `.lock` that is locked, which stays.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _folders_above(path: Path) -> Iterator[None]:
    """Makes the folders that `path` lies in; removes those it made, while empty, on an exception."""
    missing = list(itertools.takewhile(lambda folder: not folder.exists(), path.parents))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # no longer empty, or somebody else has removed it
            for folder in missing:
                folder.rmdir()
        raise


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a JSON value in canonical form (sorted keys, no spaces), in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
