"""How much memory SenTScore needs, by formula, before anything is compiled.

Symbols: R = batch x beam rows, L words, S input tokens, M nodes of a trie block (all of them up to
`max_nodes`), P = 1 + L (1 + D) cached slots for tags of at most D tokens, H heads of width E, n_e and n_d
layers, d model width, f feed-forward width, V vocabulary rows, T tags, b bytes of an activation.
"""

import os
from typing import NamedTuple

import jax

from distill_jax.errors import UserError
from distill_jax.models.t5_config import T5Config
from distill_jax.sentscore.decode import DecoderSettings
from distill_jax.sentscore.trie import LabelTrie

_FLOAT32 = 4
_BYTES = {"float32": 4, "bfloat16": 2}


class Memory(NamedTuple):
    """Bytes by purpose. What lives at different times is not added up: see `total`."""

    parameters: int
    """Of the model, float32."""
    cross: int
    """Keys and values of the input: 2 n_d R S H E b."""
    cache: int
    """Keys and values of what is decoded: 2 n_d R P H E b."""
    scores: int
    """The result: R L T float32."""
    encoder: int
    """While encoding, a layer's attention or feed-forward: the larger of 3 B H S² and 3 B S f float32."""
    block: int
    """While a block of nodes is decoded: its keys and values, 2 n_d R M H E b, six activations,
    6 R M d, and the largest of: one layer's attention, 4 R H M (P + M); its feed-forward, 3 R M f;
    under `vocab` the R M V logits, `max_logits` of them at a time; all float32."""

    @property
    def total(self) -> int:
        """Everything that must be there at once, at the worst moment."""
        return (
            self.parameters + self.cross + self.cache + self.scores + max(self.encoder, self.block)
        )


def memory_needed(
    config: T5Config,
    trie: LabelTrie,
    settings: DecoderSettings,
    *,
    rows: int,
    words: int,
    source: int,
) -> Memory:
    """Bytes that tagging `rows` sentences of `words` words in `source` input tokens takes at once.

    An upper estimate for `sentscore` and its beam; the other decoders hold the same caches and
    smaller blocks.
    """
    size = _BYTES[config.dtype]
    inner = config.num_heads * config.d_kv
    beams = rows * settings.beam
    nodes = min(settings.max_nodes, trie.num_nodes + 1)
    slots = 1 + words * (1 + trie.max_length)
    kv = 2 * config.num_decoder_layers * beams * inner * size
    attention = 4 * beams * config.num_heads * nodes * (slots + nodes)
    logits = beams * nodes * config.vocab_size if settings.normaliser == "vocab" else 0
    return Memory(
        parameters=_FLOAT32 * _parameters(config),
        cross=kv * source,
        cache=kv * slots,
        scores=_FLOAT32 * beams * words * trie.num_tags,
        encoder=_FLOAT32 * 3 * rows * source * max(config.num_heads * source, config.d_ff),
        block=kv * nodes
        + _FLOAT32
        * (
            6 * beams * nodes * config.d_model
            + max(
                attention,
                3 * beams * nodes * config.d_ff,
                min(logits, max(settings.max_logits, beams * config.vocab_size)),
            )
        ),
    )


def check_memory(needed: Memory, what: str) -> None:
    """Raises UserError where the device has less memory than needed, saying how much both are."""
    available = device_memory()
    if available is not None and needed.total > available:
        raise UserError(
            f"{what} needs {_gib(needed.total)} GiB ({_gib(needed.parameters)} for parameters, "
            f"{_gib(needed.cross + needed.cache)} for keys and values, "
            f"{_gib(needed.block)} for a block of the label trie) and the device has "
            f"{_gib(available)}; use a smaller batch, beam or label set"
        )


def device_memory() -> int | None:
    """Bytes of the first device, or of the machine where that is a CPU; None if it does not say."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    stats = device.memory_stats()
    return stats.get("bytes_limit") if stats else None


def _parameters(config: T5Config) -> int:
    """The model's parameters, but for the norms and position biases, which do not count."""
    attention = 4 * config.d_model * config.num_heads * config.d_kv
    feed_forward = (3 if config.gated else 2) * config.d_model * config.d_ff
    embeddings = (1 if config.tied_embedding else 2) * config.vocab_size * config.d_model
    return (
        embeddings
        + config.num_encoder_layers * (attention + feed_forward)
        + config.num_decoder_layers * (2 * attention + feed_forward)
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}"
