"""A disk that is full after so many bytes of a file, without one."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """In the block no file of this process can grow beyond `size` bytes: `EFBIG`, "File too large".

    Python ignores SIGXFSZ, so that writing fails as on a full disk.
    """
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
