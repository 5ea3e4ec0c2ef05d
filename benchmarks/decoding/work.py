"""The arithmetic that each algorithm cannot do without, counted from the sentences and their tags.

A product of `[m, k]` and `[k, n]` is 2 m k n operations. For a T5 of width d, h = heads * d_kv, f
wide feed-forward of g matrices (3 gated, 2 not), V rows, and a token that attends to a keys:

* encoder token:  E layers x (2 * 4dh + 2 * g d f + 4ha), a the tokens of its sentence;
* cross keys and values of an encoder token:  C layers x 2 * 2dh;
* decoder token:  C layers x (2 * (4 + 2)dh + 2 * g d f + 4ha), a the decoder tokens before it, itself,
  and the sentence's encoder tokens;
* its logits:  2dV over the vocabulary; over the trie's own options 2d each, which is left out.

Softmaxes, norms, biases and embeddings are left out, padding too: it is what an implementation adds.
Shape suffixes: B batch, L words.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from distill_jax.models.t5_config import T5Config


@dataclasses.dataclass(frozen=True)
class Work:
    """What one batch takes at least."""

    flops: float
    decoder_tokens: int
    passes: int
    """Runs of the decoder one after the other: each reads the weights again."""
    weight_bytes: float
    """Of the encoder once, and of decoder and output embedding in every pass that needs them."""

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.flops + other.flops,
            self.decoder_tokens + other.decoder_tokens,
            self.passes + other.passes,
            self.weight_bytes + other.weight_bytes,
        )

    def seconds(self, flops: float, bytes_read: float) -> tuple[float, float]:
        """The least time by arithmetic, and by reading weights, at these rates a second."""
        return self.flops / flops, self.weight_bytes / bytes_read


class Count:
    """Counts for one model, one batch of sentences, the tags found, and one label set.

    Args:
        source_B: encoder tokens of each sentence.
        num_words_B, tags_BxL: its words and their tags.
        tag_token_ids: O, I, labels.
        weight_size: bytes of a weight.
    """

    def __init__(
        self,
        config: T5Config,
        source_B: np.ndarray,
        num_words_B: np.ndarray,
        tags_BxL: np.ndarray,
        tag_token_ids: Sequence[Sequence[int]],
        weight_size: int = 4,
    ) -> None:
        self._config = config
        self._source = source_B.astype(np.float64)
        self._length = np.array([len(ids) for ids in tag_token_ids])
        self._words = np.arange(tags_BxL.shape[1]) < num_words_B[:, None]
        self._tag_tokens = np.where(self._words, self._length[tags_BxL], 0)
        # Decoder tokens before each word's sentinel: the start token, then s and t of each word before.
        taken = 1 + self._tag_tokens
        self._before = 1 + np.cumsum(taken, axis=1) - taken
        self._longest = int(num_words_B.max())
        prefixes = {tuple(ids[:depth]) for ids in tag_token_ids for depth in range(1, len(ids) + 1)}
        self._depths = np.array([0, *(len(prefix) for prefix in prefixes)])  # the root first
        self._weight_size = weight_size

        c = config
        d, h = c.d_model, c.num_heads * c.d_kv
        feed_forward = (3 if c.gated else 2) * d * c.d_ff
        self._encoder_weights = c.num_encoder_layers * (4 * d * h + feed_forward)
        self._cross_weights = c.num_decoder_layers * 2 * d * h
        self._decoder_weights = c.num_decoder_layers * (6 * d * h + feed_forward)
        self._output_weights = d * c.vocab_size
        self._attention = 4.0 * h  # a layer, a query and a key

    def greedy(self) -> Work:
        """The sentence's own tokens, logits of the legal options only; one pass a word.

        A tag that is not decided by its first token takes more passes: this is the least.
        """
        return self._work(self._own_tokens(), 0, self._longest, vocabulary_passes=0)

    def sentscore(self, *, vocabulary: bool, beam: int = 1) -> Work:
        """The start token, and root and all nodes of the trie for every word (and beam)."""
        (flops, tokens), nodes = self._tries(self._depths, beam)
        start_flops, starts = self._starts()
        return self._work(
            (flops + start_flops, tokens + starts),
            nodes if vocabulary else 0,
            self._longest,
            vocabulary_passes=self._longest if vocabulary else 0,
        )

    def score(self) -> Work:
        """The sentence's own tokens, the tries' nodes behind each of its sentinels, and all logits."""
        own_flops, own_tokens = self._own_tokens()
        (flops, tokens), nodes = self._tries(self._depths[1:])
        logits = nodes + int(self._words.sum())
        together = own_flops + flops, own_tokens + tokens
        return self._work(together, logits, 2, vocabulary_passes=1)

    def pruned(self) -> Work:
        """As if the chosen tags had been known: their tokens and these tokens' logits, no others."""
        logits = int((self._words + self._tag_tokens).sum())
        return self._work(
            self._own_tokens(), logits, self._longest, vocabulary_passes=self._longest
        )

    def generate(self) -> Work:
        """One token a pass with all its logits, from the start token to the last tag's end."""
        tokens_B = 1 + (self._words + self._tag_tokens).sum(1)
        passes = int(tokens_B.max())
        return self._work(self._own_tokens(), int(tokens_B.sum()), passes, vocabulary_passes=passes)

    def _own_tokens(self) -> tuple[float, int]:
        """FLOPs and number of start s_0 t_1 ... t_L."""
        offsets = np.arange(1 + self._length.max())
        used = self._words[:, :, None] & (offsets <= self._tag_tokens[:, :, None])
        flops, tokens = self._tokens(self._before[:, :, None] + 1 + offsets, used)
        start_flops, starts = self._starts()
        return flops + start_flops, tokens + starts

    def _starts(self) -> tuple[float, int]:
        """FLOPs and number of the start tokens."""
        one = np.ones((len(self._source), 1, 1), np.int32)
        return self._tokens(one, one)

    def _tries(self, depths_N: np.ndarray, beam: int = 1) -> tuple[tuple[float, int], int]:
        """FLOPs and number of nodes of these depths at every word; the number again."""
        nodes_BxLxN = self._before[:, :, None] + 1 + depths_N
        used = np.broadcast_to(self._words[:, :, None], nodes_BxLxN.shape)
        flops, tokens = self._tokens(nodes_BxLxN, used)
        return (beam * flops, beam * tokens), beam * tokens

    def _tokens(self, keys_BxLxN: np.ndarray, used: np.ndarray) -> tuple[float, int]:
        """FLOPs and number of the decoder tokens in use, which attend to so many of their kind."""
        count = int(used.sum())
        attended = float(((keys_BxLxN + self._source[:, None, None]) * used).sum())
        layers = self._config.num_decoder_layers
        return 2.0 * self._decoder_weights * count + layers * self._attention * attended, count

    def _work(
        self, tokens: tuple[float, int], logits: int, passes: int, *, vocabulary_passes: int
    ) -> Work:
        source, layers = self._source, self._config.num_encoder_layers
        encoder = 2.0 * (self._encoder_weights + self._cross_weights) * float(source.sum())
        encoder += layers * self._attention * float((source**2).sum())
        return Work(
            encoder + tokens[0] + 2.0 * self._output_weights * logits,
            tokens[1],
            passes,
            self._bytes(passes, vocabulary_passes),
        )

    def _bytes(self, passes: int, vocabulary_passes: int) -> float:
        weights = (
            self._encoder_weights
            + self._cross_weights
            + passes * self._decoder_weights
            + vocabulary_passes * self._output_weights
        )
        return float(weights * self._weight_size)
