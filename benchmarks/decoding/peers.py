"""What a user of Hugging Face transformers would write for the same job: SenT′ tags from a T5.

Three decoders, in PyTorch, with the weights of `distill_jax.interop.hf.checkpoint.write_hf`:

* `generate`: greedy `generate` with a KV cache, constrained by `prefix_allowed_tokens_fn` to the
  format (no posterior comes of it);
* `score_word`: SenTScore for one word as the paper states it, a teacher-forced pass over the whole
  prefix, tag and sentinel for each tag, without a cache (the encoder runs once);
* `sentscore_cached`: SenTScore with the keys and values of the prefix kept, so that each tag costs
  a pass over its own tokens only. Rows whose tags differ in length are kept aligned at their right
  ends (T5's biases are relative, so cached keys may move together), and the chosen tag's keys and
  values are reused.

All take the batch that the decoders here take. They know nothing of `LabelTrie`: the automaton of
the format is written out again, so that agreement means something.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import DynamicCache, EncoderDecoderCache, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from benchmarks.common.workload import Tags
from distill_jax.sentscore import INSIDE, OUTSIDE, SentScoreBatch

Attention = Literal["eager", "sdpa"]

PAD, END, START = 0, 1, 0


class _Node:
    """A node of a trie of tags: where each token leads, and whether a tag ends here."""

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.closes = False
        self.tokens: list[int] = []


def _trie(tags: Tags) -> _Node:
    root = _Node()
    for ids in tags:
        node = root
        for token in ids:
            node = node.children.setdefault(token, _Node())
        node.closes = True
    stack = [root]
    while stack:
        node = stack.pop()
        node.tokens = list(node.children)
        stack += node.children.values()
    return root


class FormatAutomaton:
    """`prefix_allowed_tokens_fn` for SenT′: `s_0 t_1 s_1 ... t_L s_L </s>`, no I at the start or after O.

    Greedy generation only ever appends, so each row keeps its place in the trie and a call reads one
    token; a new sequence is noticed by its length.
    """

    def __init__(self, tags: Tags, batch: SentScoreBatch) -> None:
        self._with_inside = _trie(tags)
        self._without_inside = _trie([ids for tag, ids in enumerate(tags) if tag != INSIDE])
        self._outside = list(tags[OUTSIDE])
        self._sentinels = np.asarray(batch.sentinel_ids).tolist()
        self._num_words = np.asarray(batch.num_words).tolist()
        rows = len(self._num_words)
        self._node = [self._without_inside] * rows
        self._word = [0] * rows
        self._segment: list[list[int]] = [[] for _ in range(rows)]

    def __call__(self, row: int, ids: torch.Tensor) -> list[int]:
        """The tokens allowed after `ids` (start token included) in this row of the batch."""
        if len(ids) == 1:
            self._word[row] = 0
            self._node[row] = self._without_inside
            self._segment[row] = []
            return [self._sentinels[0]]
        token = int(ids[-1])
        if token in (END, PAD):
            return [PAD]
        if len(ids) > 2:
            self._advance(row, token)
        word, node = self._word[row], self._node[row]
        if word == self._num_words[row]:
            return [END]
        if node.closes:
            return [*node.tokens, self._sentinels[word + 1]]
        return node.tokens

    def _advance(self, row: int, token: int) -> None:
        if token in self._node[row].children:
            self._node[row] = self._node[row].children[token]
            self._segment[row].append(token)
            return
        outside = self._segment[row] == self._outside
        self._node[row] = self._without_inside if outside else self._with_inside
        self._segment[row] = []
        self._word[row] += 1


def read_tags(ids: Sequence[int], tags: Tags, sentinels: Sequence[int], words: int) -> list[int]:
    """The tags in `start s_0 t_1 s_1 ... t_L s_L ...`; fails where the format is not kept."""
    index = {tuple(tag): number for number, tag in enumerate(tags)}
    found, rest = [], list(ids[2:])
    for sentinel in sentinels[1 : words + 1]:
        end = rest.index(sentinel)
        found.append(index[tuple(rest[:end])])
        rest = rest[end + 1 :]
    return found


class TransformersT5:
    """A T5 in transformers, and the decoders built around it."""

    def __init__(
        self,
        directory: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        attention: Attention = "sdpa",
    ) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.device = device
        model: Any = T5ForConditionalGeneration.from_pretrained(
            directory, dtype=dtype, attn_implementation=attention
        )
        self.model = model.to(device).eval()

    def use_attention(self, attention: Attention) -> None:
        """Switches between transformers' two implementations of attention."""
        self.model.set_attn_implementation(attention)

    @torch.inference_mode()
    def generate(self, batch: SentScoreBatch, tags: Tags) -> np.ndarray:
        """The ids `start s_0 t_1 ... s_L </s>` of each row, padded: int64 [B, T]."""
        ids, mask = self._inputs(batch)
        longest = int(np.max(batch.num_words)) * (1 + max(map(len, tags))) + 2
        found = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            prefix_allowed_tokens_fn=FormatAutomaton(tags, batch),
            do_sample=False,
            num_beams=1,
            use_cache=True,
            max_new_tokens=longest,
        )
        return np.asarray(found.cpu())

    def generate_tags(self, batch: SentScoreBatch, tags: Tags) -> np.ndarray:
        """`generate`, read: int32 [B, L], 0 beyond a sentence's words."""
        found = np.zeros((len(batch.num_words), batch.max_words), np.int32)
        sentinels = np.asarray(batch.sentinel_ids).tolist()
        for row, ids in enumerate(self.generate(batch, tags).tolist()):
            words = int(batch.num_words[row])
            found[row, :words] = read_tags(ids, tags, sentinels, words)
        return found

    @torch.inference_mode()
    def encode(self, batch: SentScoreBatch) -> tuple[BaseModelOutput, torch.Tensor]:
        """The encoder's output and its mask."""
        ids, mask = self._inputs(batch)
        return self.model.encoder(input_ids=ids, attention_mask=mask), mask

    def encode_and_wait(self, batch: SentScoreBatch) -> None:
        """`encode`, for the clock: an accelerator returns before it is done."""
        states: Any = self.encode(batch)[0]
        states.last_hidden_state[0, 0, 0].item()

    @torch.inference_mode()
    def score_word(
        self,
        encoded: tuple[BaseModelOutput, torch.Tensor],
        batch: SentScoreBatch,
        tags: Tags,
        before: np.ndarray,
        *,
        which: Sequence[int] | None = None,
        needed_logits_only: bool = False,
    ) -> np.ndarray:
        """u of every tag at the word after `before` (tags, int [B, words]): float32 [B, K].

        One pass a tag over whole sequences, padded on the right; `which` restricts it to some tags.
        `needed_logits_only` multiplies with the output embedding only where a logit is needed,
        which `model(...)` does not offer. -inf for I where it is illegal.
        """
        which = range(len(tags)) if which is None else which
        states, mask = encoded
        sentinels = np.asarray(batch.sentinel_ids).tolist()
        word = before.shape[1]
        prefixes = [_spelled(tags, row, sentinels) for row in before.tolist()]
        starts = torch.tensor([len(prefix) - 1 for prefix in prefixes], device=self.device)
        u_KxB = []
        for tag in which:
            ids = tags[tag]
            width = max(map(len, prefixes)) + len(ids)
            tokens = np.full((len(prefixes), width), PAD)
            for row, prefix in enumerate(prefixes):
                tokens[row, : len(prefix) + len(ids)] = [*prefix, *ids]
            tokens_BxT = torch.from_numpy(tokens).to(self.device)
            positions_BxN = starts[:, None] + torch.arange(len(ids) + 1, device=self.device)
            if needed_logits_only:
                hidden = self.model.decoder(
                    input_ids=tokens_BxT,
                    encoder_hidden_states=states.last_hidden_state,
                    encoder_attention_mask=mask,
                    use_cache=False,
                ).last_hidden_state
                logits_BxNxV = self._logits(_gather(hidden, positions_BxN))
            else:
                logits_BxNxV = _gather(
                    self.model(
                        encoder_outputs=states,
                        attention_mask=mask,
                        decoder_input_ids=tokens_BxT,
                        use_cache=False,
                    ).logits,
                    positions_BxN,
                )
            targets = torch.tensor([*ids, sentinels[word + 1]], device=self.device)
            u_KxB.append(_log_probabilities(logits_BxNxV, targets).sum(-1))
        return _without_illegal(torch.stack(u_KxB, dim=1), before, which)

    @torch.inference_mode()
    def sentscore_cached(self, batch: SentScoreBatch, tags: Tags) -> tuple[np.ndarray, np.ndarray]:
        """Tags int32 [B, L] and u float32 [B, L, K], a pass over each tag's own tokens.

        Beyond a sentence's words both go on as if it had more; ignore them there.
        """
        encoded = self.encode(batch)
        sentinels = np.asarray(batch.sentinel_ids).tolist()
        rows, words = len(batch.num_words), int(np.max(batch.num_words))
        prefix = _Prefix(self.model, encoded, rows, self.device)
        found = np.zeros((rows, batch.max_words), np.int32)
        u_BxLxK = np.zeros((rows, batch.max_words, len(tags)), np.float32)
        first = torch.tensor([ids[0] for ids in tags], device=self.device)
        for word in range(words):
            root = [START, sentinels[0]] if word == 0 else [sentinels[word]]
            logits_BxV = prefix.run(root, keep=True)[:, -1].float()
            start_BxK = logits_BxV[:, first] - torch.logsumexp(logits_BxV, -1, keepdim=True)
            u_KxB = []
            for tag, ids in enumerate(tags):
                targets = torch.tensor([*ids[1:], sentinels[word + 1]], device=self.device)
                with prefix.branch(tag, len(ids)):
                    rest_BxN = _log_probabilities(prefix.run(ids), targets)
                u_KxB.append(start_BxK[:, tag] + rest_BxN.sum(-1))
            u = _without_illegal(torch.stack(u_KxB, dim=1), found[:, :word], range(len(tags)))
            chosen = u.argmax(-1)
            prefix.append(chosen)
            found[:, word], u_BxLxK[:, word] = chosen, u
        return found, u_BxLxK

    @torch.inference_mode()
    def next_token_logits(self, batch: SentScoreBatch, row: int, before: Sequence[int]) -> Any:
        """float32 [V]: the logits after the ids `before` (start token included) in one row."""
        words = int(batch.num_words[row])
        one = SentScoreBatch(
            batch.encoder_tokens[row : row + 1],
            batch.encoder_mask[row : row + 1],
            np.array([words]),
            batch.sentinel_ids,
        )
        states, mask = self.encode(one)
        tokens = torch.tensor([list(before)], device=self.device)
        output = self.model(encoder_outputs=states, attention_mask=mask, decoder_input_ids=tokens)
        return output.logits[0, -1].float().cpu().numpy()

    def _inputs(self, batch: SentScoreBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's input, cut to the longest sentence: no padding that nobody needs."""
        mask = np.asarray(batch.encoder_mask)
        width = max(1, int(mask.sum(-1).max()))
        ids = torch.from_numpy(np.asarray(batch.encoder_tokens)[:, :width].astype(np.int64))
        return ids.to(self.device), torch.from_numpy(mask[:, :width].astype(np.int64)).to(
            self.device
        )

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.model.config.scale_decoder_outputs:
            hidden = hidden * self.model.model_dim**-0.5
        return self.model.lm_head(hidden)


class _Prefix:
    """The decoder's cache of a batch of prefixes, aligned at their right ends, and its branches."""

    def __init__(
        self,
        model: Any,
        encoded: tuple[BaseModelOutput, torch.Tensor],
        rows: int,
        device: str,
    ) -> None:
        self._model = model
        self._states, self._mask = encoded
        self._rows = rows
        self._device = device
        self._cache = EncoderDecoderCache(
            DynamicCache(config=model.config), DynamicCache(config=model.config)
        )
        self._length = np.zeros(rows, np.int64)
        self._branches: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @property
    def _layers(self) -> list[Any]:
        return self._cache.self_attention_cache.layers

    def run(self, tokens: Sequence[int], keep: bool = False) -> torch.Tensor:
        """Logits [B, N, V] of the same tokens in every row, which are left in the cache."""
        width = int(self._length.max()) + len(tokens)
        mask = None
        if np.any(self._length != self._length[0]):
            mask = torch.from_numpy(
                np.arange(width) >= int(self._length.max()) - self._length[:, None]
            ).to(self._device, torch.int64)
        output = self._model(
            encoder_outputs=self._states,
            attention_mask=self._mask,
            decoder_input_ids=torch.tensor([list(tokens)], device=self._device).expand(
                self._rows, -1
            ),
            decoder_attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
        )
        if keep:
            self._length += len(tokens)
        return output.logits

    @contextmanager
    def branch(self, tag: int, length: int) -> Iterator[None]:
        """What is run inside is taken out of the cache again, and remembered as that tag's."""
        yield
        self._branches[tag] = [
            (layer.keys[..., -length:, :], layer.values[..., -length:, :]) for layer in self._layers
        ]
        self._cache.self_attention_cache.crop(-length)

    def append(self, chosen: np.ndarray) -> None:
        """Puts each row's chosen branch behind its prefix."""
        added = np.array([self._branches[tag][0][0].shape[-2] for tag in chosen.tolist()])
        length = self._length + added
        width, old = int(length.max()), int(self._length.max())
        groups = [
            (tag, torch.from_numpy(np.flatnonzero(chosen == tag)).to(self._device))
            for tag in np.unique(chosen).tolist()
        ]
        for index, layer in enumerate(self._layers):
            for name, part in (("keys", 0), ("values", 1)):
                before = getattr(layer, name)
                after = before.new_zeros((*before.shape[:2], width, before.shape[-1]))
                for tag, rows in groups:
                    branch = self._branches[tag][index][part]
                    kept = min(old, width - branch.shape[-2])  # what is cut off is padding
                    after[rows, :, width - branch.shape[-2] - kept :] = torch.cat(
                        [before[rows, :, old - kept :], branch[rows]], dim=-2
                    )
                setattr(layer, name, after)
        self._length = length
        self._branches = {}


def _spelled(tags: Tags, sequence: Sequence[int], sentinels: Sequence[int]) -> list[int]:
    """`start s_0 t_1 s_1 ... t_n s_n`: what the next word's tag comes after."""
    ids = [START, sentinels[0]]
    for tag, sentinel in zip(sequence, sentinels[1:], strict=False):
        ids += [*tags[tag], sentinel]
    return ids


def _gather(values_BxTxE: torch.Tensor, positions_BxN: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(positions_BxN), device=positions_BxN.device)[:, None]
    return values_BxTxE[rows, positions_BxN]


def _log_probabilities(logits_BxNxV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """float32 [B, N]: of target n at position n, among all of the vocabulary."""
    logits_BxNxV = logits_BxNxV.float()
    places = torch.arange(len(targets_N), device=targets_N.device)
    return logits_BxNxV[:, places, targets_N] - torch.logsumexp(logits_BxNxV, dim=-1)


def _without_illegal(
    u_BxK: torch.Tensor, before_BxL: np.ndarray, which: Sequence[int]
) -> np.ndarray:
    u = u_BxK.float().cpu().numpy()
    legal = before_BxL[:, -1] != OUTSIDE if before_BxL.shape[1] else np.zeros(len(u), bool)
    u[~legal[:, None] & (np.asarray(which) == INSIDE)] = -np.inf
    return u
