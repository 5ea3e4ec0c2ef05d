"""Keeping a teacher's hidden states of words, for students that match them again and again."""

import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.inference.states import WordStates, batch_of
from distill_jax.kinds.base import StepTeacher
from distill_jax.kinds.registry import kind_of
from distill_jax.labels.pool import Pool
from distill_jax.labels.states import Layers, TeacherStates, write_states
from distill_jax.labels.store import StoreOptions
from distill_jax.model_dir.directory import load_model, model_hash
from distill_jax.tagging import Sentence


def keep_states(
    model_dir: str | os.PathLike[str],
    pool: Pool,
    directory: str | os.PathLike[str],
    layers: Sequence[int],
    *,
    options: StoreOptions = StoreOptions(),  # noqa: B008 (immutable)
    batch_size: int = 32,
    say: Callable[[str], None] = print,
    progress: Callable[[int], None] | None = None,
) -> TeacherStates | None:
    """Writes a store of states, or what is missing of it.

    Args:
        model_dir: of the teacher, of any kind.
        pool: the sentences.
        directory: of the store.
        layers: of the teacher, 0 the embeddings' output.
        options: how it is laid out, and this process's share.
        batch_size: sentences that are computed at a time.
        say: hears how large the store will be, before anything is computed.
        progress: hears the number of sentences of every shard done.

    Raises:
        UserError: a layer is not there or named twice, or as `labels.store.write_store`.
    """
    model = load_model(model_dir)
    teacher = kind_of(model.config).step_teacher(model, None, str(model_dir))
    chosen = chosen_layers(teacher, layers)
    words = sum(len(sentence.words) for sentence in pool)
    say(
        f"{directory}: {len(pool):,} sentences of {words:,} words, {sum(chosen.widths):,} float16 numbers a "
        f"word: {chosen.bytes_of(words) / 1e6:,.1f} MB"
    )
    compute = WordStates(
        teacher.teacher.states, teacher.params(), teacher.reader, chosen.numbers, batch_size
    )

    def states_of(chunk: Sequence[Sentence]) -> list[list[np.ndarray]]:
        return compute([sentence.words for sentence in chunk])

    return write_states(
        str(directory),
        pool,
        chosen,
        states_of,
        teacher_sha256=model_hash(model_dir),
        shard_size=options.shard_size,
        process=options.process,
        progress=progress,
    )


def chosen_layers(teacher: StepTeacher, layers: Sequence[int]) -> Layers:
    """The layers with their widths; `UserError` if one is not there, or is named twice."""
    batch = batch_of(teacher.reader, [("word",)], 1)
    shapes = jax.eval_shape(
        lambda key: teacher.teacher.states(nn.unbox(teacher.teacher.init(key)), batch),
        jax.random.key(0),
    )
    for layer in layers:
        if not 0 <= layer < len(shapes):
            raise UserError(
                f"--states {layer}: the teacher's states are 0 (embeddings) to {len(shapes) - 1}"
            )
    if len(set(layers)) != len(layers):
        raise UserError("--states: a layer is named twice; name each once")
    numbers = tuple(sorted(layers))
    return Layers(numbers, tuple(shapes[n].shape[-1] for n in numbers), len(shapes))
