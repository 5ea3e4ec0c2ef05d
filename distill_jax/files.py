"""Writing files so that a reader never sees half of one, reading JSON, hashing what files hold."""

import errno
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

from distill_jax_runtime.json_files import check_no_pointer, read_json_object

__all__ = [
    "atomic_directory",
    "atomic_write",
    "check_no_pointer",
    "disk_fault",
    "is_special",
    "only_one",
    "read_json_object",
    "sha256_file",
    "sha256_json",
    "write_json",
    "write_text",
]


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
    with _folders_above(path), _named(path, temporary):
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
        try:
            temporary.chmod(0o755)
            with _named(path, temporary):
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
    ends leaves it, however it ends. It is the file `.lock` that is locked, which stays, unless the
    block made it and raises.
    """
    # Commands that lock nothing start without it.
    from filelock import FileLock, Timeout

    file = Path(directory) / ".lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    made = not file.exists()
    # A file system without `flock` is an error: a lock by the file's mere presence would outlive a kill.
    lock = FileLock(file, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    except BaseException:
        if made:
            # While it is held: who waits for a file that is gone tries again with a new one.
            file.unlink(missing_ok=True)
        raise
    finally:
        lock.release()


_OF_THE_DISK = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE")
    if hasattr(errno, name)
)


def disk_fault(error: BaseException) -> str | None:
    """What the system says is wrong with the disk, if that is what an error is about; else None.

    Libraries in C++ raise errors of their own, with the system's words somewhere in the text.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in _OF_THE_DISK else None
    return next(
        (os.strerror(code) for code in _OF_THE_DISK if os.strerror(code) in str(error)), None
    )


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Puts the file that is wanted in errors that name none, or the temporary one."""
    try:
        yield
    except OSError as error:
        inside = error.filename is not None and Path(error.filename).is_relative_to(temporary)
        if inside or (error.filename is None and disk_fault(error)):
            error.filename = str(path)
        raise


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


def write_json(path: str | os.PathLike[str], value: Any, *, sort_keys: bool = False) -> None:
    """Writes indented JSON, in UTF-8 and whole or not at all, as `atomic_write` does."""
    text = json.dumps(value, indent=2, sort_keys=sort_keys, ensure_ascii=False)
    write_text(path, f"{text}\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text in UTF-8, whole or not at all, as `atomic_write` does."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a JSON value in canonical form (sorted keys, no spaces), in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
