"""The SenT′ format as an automaton: what may come next, and what must.

A row of a batch stands at a word, at a node of the label trie, and I is legal there or not. Its
ways on are the node's children, and to close the word with its sentinel where a tag ends. Nothing
here knows a model. Shape suffixes: B batch, L words, N nodes without the root, C the most children
that a node has.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.trie import INSIDE, OUTSIDE, LabelTrie

CLOSE = 0
"""The way on that closes the word; any other is the number of the node gone to."""


@dataclasses.dataclass(frozen=True)
class Automaton:
    """The label trie as tables of `[N+2]`, or of `[2, N+2]` where it matters whether I is legal.

    Node N+1 stands for the start of the sentence: the end of a word tagged O, so that all that is
    left is to close it with s_0, and I is illegal then.
    """

    token: np.ndarray
    """int32: the token that leads to each node."""
    tag_at: np.ndarray
    """int32: the tag that ends at each node, -1 where none does."""
    closes: np.ndarray
    """bool [2, N+2]: whether the word may end here."""
    enters: np.ndarray
    """bool [2, N+2]: whether the node may be gone to."""
    children: np.ndarray
    """int32 [N+C]: all nodes sorted by their parents, then padding."""
    first_child: np.ndarray
    """int32: where in `children` those of each node begin."""
    num_children: np.ndarray
    """int32."""
    only: np.ndarray
    """int32 [2, N+2]: the only way on, -1 where there are several."""
    settled: np.ndarray
    """int32 [2, N+2]: the tag that is certain at each node, -1 where several are possible."""
    chains: tuple[tuple[int, ...], ...]
    """For each tag the tokens, its closing sentinel included, that each of its decisions brings: the
    one decided for and those that must follow."""

    @classmethod
    def build(cls, trie: LabelTrie) -> "Automaton":
        """Tabulates a trie."""
        size = trie.num_nodes + 2
        token, tag_at, num_children = (
            np.append(array, value).astype(np.int32)
            for array, value in ((trie.token, 0), (trie.tag_at, OUTSIDE), (trie.num_children, 0))
        )
        inside_legal = np.array([[False], [True]])
        closes = (tag_at >= 0) & (inside_legal | (tag_at != INSIDE))
        enters = inside_legal | ~np.append(trie.only_inside, False)

        num_options = closes.astype(np.int32)
        only = np.full((2, size), CLOSE, np.int32)
        for legal in range(2):
            nodes = 1 + np.flatnonzero(enters[legal, 1:-1])
            np.add.at(num_options[legal], trie.parent[nodes], 1)
            only[legal, trie.parent[nodes]] = nodes
        only[num_options > 1] = -1
        settled = np.where((only == CLOSE) & closes, tag_at, -1)
        for node in range(size - 2, -1, -1):  # children come after their parents
            for legal in range(2):
                if only[legal, node] > 0:
                    settled[legal, node] = settled[legal, only[legal, node]]

        children = 1 + np.argsort(trie.parent[1:], kind="stable")
        return cls(
            token=token,
            tag_at=tag_at,
            closes=closes,
            enters=enters,
            children=np.pad(children, (0, num_children.max())).astype(np.int32),
            first_child=(np.cumsum(num_children) - num_children).astype(np.int32),
            num_children=num_children,
            only=only,
            settled=settled,
            chains=tuple(
                _chains(only[1], path[:length].tolist())
                for path, length in zip(trie.path, trie.length, strict=True)
            ),
        )

    @property
    def start(self) -> int:
        """N+1."""
        return len(self.token) - 1


def _chains(only: np.ndarray, path: list[int]) -> tuple[int, ...]:
    chains = [0]
    for node, _ in zip([0, *path], [*path, CLOSE], strict=True):
        if only[node] < 0 and chains[-1]:
            chains.append(0)
        chains[-1] += 1
    return tuple(chains)


class Place(NamedTuple):
    """Where each row stands."""

    word: Int[Array, " batch"]
    """int32: from 0; -1 at the start, and the number of words where all are tagged."""
    node: Int[Array, " batch"]
    """int32: what of the word's tag has been written."""
    inside_legal: Bool[Array, " batch"]
    tags: Int[Array, "batch words"]
    """int32: those of the words before, 0 from there on."""


class Ways(NamedTuple):
    """How each row can go on: to close its word first, then its node's children."""

    way: Int[Array, "batch 1_and_children"]
    child: Int[Array, "batch children"]
    """int32: where in `Automaton.children` each child stands."""
    allowed: Bool[Array, "batch 1_and_children"]
    """False also where a node has fewer children than others."""


class Walk:
    """An automaton bound to a batch, for the length of a traced function."""

    def __init__(self, automaton: Automaton, batch: SentScoreBatch) -> None:
        self.automaton = automaton
        self._num_words = jnp.clip(jnp.asarray(batch.num_words), 0, batch.max_words)
        self._sentinels = jnp.asarray(batch.sentinel_ids)

    def begin(self) -> Place:
        """Before s_0."""
        rows, words = self._num_words.shape[0], self._sentinels.shape[0] - 1
        return Place(
            word=jnp.where(self._num_words == 0, 0, -1),
            node=jnp.full(rows, self.automaton.start, jnp.int32),
            inside_legal=jnp.zeros(rows, bool),
            tags=jnp.zeros((rows, words), jnp.int32),
        )

    def unfinished(self, place: Place) -> Bool[Array, " batch"]:
        """Whether a word is left to tag."""
        return place.word < self._num_words

    def closing(self, place: Place) -> Int[Array, " batch"]:
        """The number of the sentinel that closes the word: i of s_i."""
        return jnp.minimum(place.word + 1, self._sentinels.shape[0] - 1)

    def only(self, place: Place) -> Int[Array, " batch"]:
        """The only way on; -1 where there are several."""
        return jnp.asarray(self.automaton.only)[place.inside_legal.astype(jnp.int32), place.node]

    def ways(self, place: Place) -> Ways:
        """All ways on; at least one is allowed."""
        legal = place.inside_legal.astype(jnp.int32)
        offsets = jnp.arange(self.automaton.num_children.max())
        child = jnp.asarray(self.automaton.first_child)[place.node][:, None] + offsets
        node = jnp.asarray(self.automaton.children)[child]
        enters = (
            offsets < jnp.asarray(self.automaton.num_children)[place.node][:, None]
        ) & jnp.asarray(self.automaton.enters)[legal[:, None], node]
        closes = jnp.asarray(self.automaton.closes)[legal, place.node]
        return Ways(
            way=jnp.pad(node, ((0, 0), (1, 0)), constant_values=CLOSE),
            child=child,
            allowed=jnp.concatenate([closes[:, None], enters], axis=1),
        )

    def go(
        self, place: Place, way: Int[Array, " batch"], moves: Bool[Array, " batch"]
    ) -> tuple[Int[Array, " batch"], Place]:
        """The token that goes this way, and the place behind it; rows that do not move stay.

        The last word is closed as soon as its tag is certain.
        """
        legal = place.inside_legal.astype(jnp.int32)
        closes = way == CLOSE
        token = jnp.where(
            closes, self._sentinels[self.closing(place)], jnp.asarray(self.automaton.token)[way]
        )
        settled = jnp.asarray(self.automaton.settled)[legal, way]
        tag = jnp.where(closes, jnp.asarray(self.automaton.tag_at)[place.node], settled)
        tagged = closes | ((place.word == self._num_words - 1) & (settled >= 0))
        writes = (moves & tagged)[:, None] & (
            jnp.arange(place.tags.shape[1]) == place.word[:, None]
        )
        return token, Place(
            word=place.word + (moves & tagged),
            node=jnp.where(moves, jnp.where(tagged, 0, way), place.node),
            inside_legal=jnp.where(moves & tagged, tag != OUTSIDE, place.inside_legal),
            tags=jnp.where(writes, tag[:, None], place.tags),
        )
