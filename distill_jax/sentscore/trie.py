"""The trie of all tags' token ids, compiled to static NumPy arrays.

Every tag is a path that starts at the root and ends at its terminal node; tags that begin alike
share nodes, and a tag that is a prefix of another ends at an inner node. Node 0 is the root: it
stands for the sentinel before the word, which lies in the decoder's block but is no tag's token.
Nodes are numbered depth first, so the nodes below node n are its neighbours n + 1 ... end[n] - 1: who
descends from whom is two comparisons, and nothing that is kept grows with the square of N. Shape
suffixes: N nodes without the root, K tags, D tokens of the longest tag.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import sha256_json

OUTSIDE = 0
"""The index of tag O in the sBIO order."""
INSIDE = 1
"""The index of tag I, illegal at the start of a sentence and after O."""


class TrieBlocks(NamedTuple):
    """The nodes in blocks of one size: each node in one block, together with all its ancestors.

    Shape suffixes: G blocks, M nodes of a block.
    """

    nodes: np.ndarray
    """int32 [G, M]: node 0 first, then the other ancestors the block needs, then its own nodes."""
    parent: np.ndarray
    """int32 [G, M]: where in the block each node's parent stands (0 for the root)."""
    attends: np.ndarray
    """bool [G, M, M]: whether the column's node is the row's node or one of its ancestors."""
    place: np.ndarray
    """int32 [N+1]: where each node stands in the blocks laid end to end."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelTrie:
    """A label set as the decoder sees it; made by `LabelTrie.compile`, equal by content."""

    tag_token_ids: tuple[tuple[int, ...], ...]
    """The token ids of every tag, O first, I second."""
    token: np.ndarray
    """int32 [N+1]: the token of each node (0 at the root, where it means nothing)."""
    parent: np.ndarray
    """int32 [N+1]: the parent of each node (0 at the root)."""
    depth: np.ndarray
    """int32 [N+1]: tokens from the root to the node, itself included; 0 at the root."""
    end: np.ndarray
    """int32 [N+1]: the nodes from n to `end[n]` (exclusive) are n and all that descend from it."""
    path: np.ndarray
    """int32 [K, D]: the nodes of each tag, padded with the root."""
    length: np.ndarray
    """int32 [K]: the tokens of each tag."""
    terminal: np.ndarray
    """int32 [K]: the node at which each tag ends."""
    tag_at: np.ndarray
    """int32 [N+1]: the tag that ends at each node, -1 where none does."""
    only_inside: np.ndarray
    """bool [N+1]: whether a node belongs to tag I alone, so that it is legal only where I is."""
    num_children: np.ndarray
    """int32 [N+1]: the children of each node."""
    num_options: np.ndarray
    """int32 [N+1]: ways to go on from each node: its children, and to close the word if it ends a tag."""
    content_hash: str
    """SHA-256 of the tags' token ids, in hexadecimal."""

    @classmethod
    def compile(
        cls, tag_token_ids: Sequence[Sequence[int]], *, sentinel_ids: Sequence[int] = ()
    ) -> "LabelTrie":
        """Builds the trie of the tags' token ids, which come in sBIO order (O, I, labels).

        Raises UserError where there are fewer than two tags, or a tag has no tokens, holds one of
        `sentinel_ids`, or has the same ids as another.
        """
        tags = tuple(tuple(int(token) for token in ids) for ids in tag_token_ids)
        _check(tags, frozenset(int(sentinel) for sentinel in sentinel_ids))

        # A tag sorts right after every tag that is a prefix of it: depth-first order.
        prefixes = sorted({ids[:depth] for ids in tags for depth in range(len(ids) + 1)})
        number = {prefix: node for node, prefix in enumerate(prefixes)}

        size = len(number)
        token = np.zeros(size, np.int32)
        parent = np.zeros(size, np.int32)
        depth_of = np.zeros(size, np.int32)
        end = 1 + np.arange(size, dtype=np.int32)
        for prefix, node in number.items():
            if prefix:
                token[node] = prefix[-1]
                parent[node] = number[prefix[:-1]]
                depth_of[node] = len(prefix)
        for node in range(size - 1, 0, -1):
            end[parent[node]] = max(end[parent[node]], end[node])

        longest = max(len(ids) for ids in tags)
        path = np.zeros((len(tags), longest), np.int32)
        tag_at = np.full(size, -1, np.int32)
        users = np.zeros(size, np.int32)
        for tag, ids in enumerate(tags):
            path[tag, : len(ids)] = [number[ids[:depth]] for depth in range(1, len(ids) + 1)]
            tag_at[number[ids]] = tag
            users[path[tag, : len(ids)]] += 1
        length = np.array([len(ids) for ids in tags], np.int32)
        only_inside = np.zeros(size, bool)
        only_inside[path[INSIDE, : length[INSIDE]]] = True
        only_inside &= users == 1
        num_children = np.bincount(parent[1:], minlength=size).astype(np.int32)

        trie = cls(
            tag_token_ids=tags,
            token=token,
            parent=parent,
            depth=depth_of,
            end=end,
            path=path,
            length=length,
            terminal=path[np.arange(len(tags)), length - 1],
            tag_at=tag_at,
            only_inside=only_inside,
            num_children=num_children,
            num_options=num_children + (tag_at >= 0),
            content_hash=sha256_json([list(ids) for ids in tags]),
        )
        for field in dataclasses.fields(trie):
            value = getattr(trie, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        return trie

    @property
    def num_nodes(self) -> int:
        """N, the root not counted."""
        return len(self.token) - 1

    @property
    def num_tags(self) -> int:
        """K, O and I included."""
        return len(self.tag_token_ids)

    @property
    def max_length(self) -> int:
        """D, the tokens of the longest tag."""
        return self.path.shape[1]

    def blocks(self, max_nodes: int) -> TrieBlocks:
        """Cuts the trie into blocks of at most `max_nodes` nodes, those that are repeated included.

        Raises UserError where a block cannot hold the ancestors of a node and the node itself.
        """
        if max_nodes < self.max_length + 1:
            raise UserError(
                f"blocks of {max_nodes} trie nodes cannot hold a tag of {self.max_length} tokens; "
                f"use at least {self.max_length + 1}"
            )
        blocks: list[list[int]] = []
        place = np.zeros(len(self.token), np.int32)
        size = min(max_nodes, len(self.token))
        for node in range(len(self.token)):
            if not blocks or len(blocks[-1]) == size:
                blocks.append(self._ancestors(node))
            place[node] = (len(blocks) - 1) * size + len(blocks[-1])
            blocks[-1].append(node)
        # The last block is filled up with its own last node; nothing attends to the repetitions.
        filled = np.array([block + block[-1:] * (size - len(block)) for block in blocks], np.int32)
        used = np.array([np.arange(size) < len(block) for block in blocks])
        row, column = filled[:, :, None], filled[:, None, :]
        attends = (column <= row) & (row < self.end[column]) & used[:, None, :]
        parent = np.array(
            [
                [block.index(self.parent[node]) for node in block] + [0] * (size - len(block))
                for block in blocks
            ],
            np.int32,
        )
        return TrieBlocks(filled, parent, attends, place)

    def _ancestors(self, node: int) -> list[int]:
        """The ancestors of a node without itself, the root first."""
        ancestors: list[int] = []
        while node:
            node = int(self.parent[node])
            ancestors.insert(0, node)
        return ancestors

    @property
    def path_with_root(self) -> np.ndarray:
        """int32 [K, 1 + D]: the root, then `path`: what a chosen tag leaves in the cache."""
        return np.pad(self.path, ((0, 0), (1, 0)))

    # Equality by content makes a trie a good key: one compile serves every equal label set.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelTrie) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)


def _check(tags: tuple[tuple[int, ...], ...], sentinels: frozenset[int]) -> None:
    if len(tags) < 2:
        raise UserError(
            f"label trie: {len(tags)} tag(s) given; O and I at least are needed, in that order"
        )
    seen: dict[tuple[int, ...], int] = {}
    for tag, ids in enumerate(tags):
        if not ids:
            raise UserError(
                f"label trie: the text of tag {tag} tokenises to nothing; give it another text"
            )
        held = sentinels.intersection(ids)
        if held:
            raise UserError(
                f"label trie: the text of tag {tag} holds sentinel id {min(held)}; "
                "give it another text"
            )
        if ids in seen:
            raise UserError(
                f"label trie: tags {seen[ids]} and {tag} have the same token ids {list(ids)}; "
                "give one of them another text"
            )
        seen[ids] = tag
