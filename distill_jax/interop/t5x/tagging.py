"""SenTScore over the parameters and batches of t5x: pure functions of arrays, without t5x.

Shape suffixes: B batch, S encoder length, T decoder length, L words, D tokens of the longest tag.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from distill_jax.errors import UserError
from distill_jax.interop.hf.files import flatten
from distill_jax.interop.t5x.config import config_from_shapes
from distill_jax.interop.t5x.layout import check_layout, is_scanned, parameter_in, slots_of
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import (
    DecoderSettings,
    LabelTrie,
    SentScoreBatch,
    decode,
    posteriors,
)

Params = Mapping[str, Any]


def model_of_params(params: Params, **fields: Any) -> tuple[T5Config, dict[str, Any]]:
    """The T5 that parameters of t5x are of, and the parameters as it has them.

    Args:
        params: as in a checkpoint's `target`, arrays of any kind (layers may be scanned).
        fields: of the configuration that shapes do not say.

    Raises:
        UserError: they are no T5's.
    """
    arrays = dict(flatten(params))
    shapes = {names: tuple(array.shape) for names, array in arrays.items()}
    where, scanned = "the model's parameters", is_scanned(shapes)
    config = config_from_shapes(shapes, where).replace(**fields)
    if wrong := check_layout(shapes, config, scanned=scanned):
        raise UserError(f"{where}: {'/'.join(wrong[1])!r} {wrong[0]}; use a T5 of t5x")
    own: dict[str, Any] = {}
    for names, slots in slots_of(config, scanned=scanned).items():
        for parameter, slot in slots:
            level = own
            for name in parameter.path[:-1]:
                level = level.setdefault(name, {})
            level[parameter.path[-1]] = parameter_in(arrays[names], parameter, slot)
    return config, own


class BatchTagger:
    """Tags batches of SenT′ inputs with SenTScore, or another decoder.

    Args:
        sent_format: vocabulary and labels.
        decoder: any that finds tags; all but `free`.

    Raises:
        UserError: the decoder finds none, or the vocabulary's padding is not 0, as t5x's is.
    """

    def __init__(self, sent_format: SenTFormat, decoder: DecoderSettings) -> None:
        if decoder.name == "free":
            raise UserError(
                "decoder 'free' finds text and no tags: t5x has it, in EncoderDecoderModel; use "
                "sentscore, pruned or greedy"
            )
        if sent_format.vocabulary.pad_id != 0:
            raise UserError(
                f"padding has id {sent_format.vocabulary.pad_id} in the vocabulary, and in t5x it is 0; "
                "use a T5's vocabulary"
            )
        self._format, self._decoder = sent_format, decoder
        self._trie = LabelTrie.compile(
            sent_format.tag_token_ids, sentinel_ids=sent_format.sentinel_ids.tolist()
        )

    def __call__(
        self, config: T5Config, params: Params, encoder_tokens: jax.Array, target_length: int
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Tags sentences; traces under `jit`.

        Args:
            config: of the model.
            params: of it, as this project has them.
            encoder_tokens: int32[B, S], SenT′ inputs, padded with 0; a row of padding has no words.
            target_length: T, for which there may be no more words than targets would hold.

        Returns:
            int32[B, T], the SenT′ targets of the tags found; and by name, each batch first:
            `tags` int32[B, L] (sBIO order), `num_words` int32[B], and if the decoder has them
            `posteriors` float32[B, L, tags] and `log_likelihoods` (−1e30 for a tag that cannot
            stand there; JSON has no infinity), 0 beyond a sentence's words.

        Raises:
            UserError: a tag's token has no row in the model.
        """
        words = self._words(encoder_tokens.shape[1], target_length)
        sentinels = jnp.asarray(self._format.sentinel_ids, jnp.int32)
        found = jnp.isin(encoder_tokens, sentinels).sum(1, dtype=jnp.int32)
        num_words_B = jnp.clip(found - 1, 0, words)
        batch = SentScoreBatch(
            encoder_tokens, encoder_tokens != 0, num_words_B, sentinels[: words + 1]
        )
        decoded = decode(T5(config), params, batch, self._trie, self._decoder)
        assert decoded.tags is not None, "all decoders but `free` find tags"
        real_BxL = jnp.arange(words) < num_words_B[:, None]
        aux = {"tags": jnp.where(real_BxL, decoded.tags, 0), "num_words": num_words_B}
        if decoded.log_likelihoods is not None:
            scores = jnp.where(real_BxL[:, :, None], decoded.log_likelihoods, 0.0)
            found_posteriors = jnp.where(real_BxL[:, :, None], posteriors(scores), 0.0)
            aux |= {
                "posteriors": found_posteriors,
                "log_likelihoods": jnp.maximum(scores, -1e30),
            }
        return self._targets(decoded.tags, num_words_B, target_length), aux

    def _words(self, source: int, target: int) -> int:
        """L: as many words as could stand in both, a token and a sentinel each."""
        return max(1, min(self._format.max_words, (source - 2) // 2, (target - 2) // 2))

    def _targets(self, tags_BxL: jax.Array, num_words_B: jax.Array, length: int) -> jax.Array:
        """`s₀ t₁ s₁ … t_L s_L </s>`, padded with 0; what lies beyond the length is left out."""
        trie, words = self._trie, tags_BxL.shape[1]
        sentinels = jnp.asarray(self._format.sentinel_ids, jnp.int32)
        real_BxL = jnp.arange(words) < num_words_B[:, None]
        tokens_BxLxD = jnp.asarray(trie.token[trie.path])[tags_BxL]
        lengths_BxL = jnp.where(real_BxL, jnp.asarray(trie.length)[tags_BxL], -1)
        ends_BxL = jnp.cumsum(lengths_BxL + 1, axis=1)  # where each word's closing sentinel stands
        offsets = jnp.arange(tokens_BxLxD.shape[2])
        positions = (ends_BxL - lengths_BxL)[:, :, None] + offsets
        # Beyond the length nothing is written: that is where what is unused is sent.
        positions = jnp.where(offsets < lengths_BxL[:, :, None], positions, length)
        closing = jnp.where(real_BxL, ends_BxL, length)
        row = jnp.arange(tags_BxL.shape[0])
        targets = jnp.zeros((tags_BxL.shape[0], length), jnp.int32).at[:, 0].set(sentinels[0])
        targets = targets.at[row[:, None, None], positions].set(tokens_BxLxD, mode="drop")
        closers = jnp.broadcast_to(sentinels[1 : words + 1], closing.shape)
        targets = targets.at[row[:, None], closing].set(closers, mode="drop")
        end = ends_BxL[:, -1] + 1
        return targets.at[row, end].set(self._format.vocabulary.eos_id, mode="drop")
