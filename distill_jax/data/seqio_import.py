"""The one place that imports SeqIO and, with it, TensorFlow; and what their examples look like.

TensorFlow is kept off the accelerators, which belong to JAX.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence


@functools.cache
def import_seqio() -> Any:
    """SeqIO, with TensorFlow kept off GPUs. Raises `UserError` if it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _native_output_hidden():
            import tensorflow as tf

        # Only what is not initialised yet can be hidden; then somebody else has decided.
        try:
            with _native_output_hidden():
                tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            print("TensorFlow was initialised before distill_jax could hide GPUs", file=sys.stderr)
        import seqio
    except ImportError as error:
        raise UserError(
            f"SeqIO tasks need SeqIO and TensorFlow ({error}); "
            "install distill_jax with its extra 'train' (in a checkout: pip install '.[train]'), or "
            "give files or prepared data instead"
        ) from None
    return seqio


@contextlib.contextmanager
def _native_output_hidden() -> Iterator[None]:
    """TensorFlow greets with a dozen lines about CUDA that no log level silences."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def sentences_of(dataset: Any, name: str) -> Iterator[Sentence]:
    """The sentences of a `tf.data.Dataset` with `words` and maybe `tags`; `name` is for errors."""
    if "words" not in dataset.element_spec:
        raise UserError(
            f"task {name!r} yields {', '.join(dataset.element_spec)}, not 'words' (and 'tags'); "
            "register it with register_tagging_task"
        )
    for number, example in enumerate(dataset.as_numpy_iterator(), 1):
        words = texts(example["words"])
        tags = texts(example["tags"]) if "tags" in example else ()
        # An unlabelled sentence has no tags: TensorFlow has no null.
        labelled = bool(tags) or ("tags" in example and not words)
        try:
            yield Sentence(words, tags if labelled else None)
        except UserError as error:
            raise UserError(f"task {name!r}, sentence {number}: {error}") from None


def texts(values: Iterable[bytes]) -> tuple[str, ...]:
    """TensorFlow's strings are bytes."""
    return tuple(value.decode("utf-8", "replace") for value in values)
