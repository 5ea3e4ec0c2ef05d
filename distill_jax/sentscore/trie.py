"""The trie of all tags' token ids, compiled to static NumPy arrays.

Every tag is a path that starts at the root and ends at its terminal node; tags that begin alike
share nodes, and a tag that is a prefix of another ends at an inner node. Node 0 is the root: it
stands for the sentinel before the word, which lies in the decoder's block but is no tag's token.
Nodes are numbered level by level, so a parent's number is always smaller than its child's and the
nodes of one depth are neighbours. Shape suffixes: N nodes without the root, K tags, D tokens of the
longest tag, R distinct tokens.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import sha256_json

OUTSIDE = 0
"""The index of tag O in the sBIO order."""
INSIDE = 1
"""The index of tag I, illegal at the start of a sentence and after O."""


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
    ancestors: np.ndarray
    """bool [N+1, N+1]: whether the column's node is the row's node or one of its ancestors."""
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
    row_tokens: np.ndarray
    """int32 [R]: the distinct tokens of the nodes: the rows of the output embedding needed."""
    row: np.ndarray
    """int32 [N+1]: where in `row_tokens` each node's token lies (0 at the root)."""
    children: np.ndarray
    """bool [N+1, R]: whether a node has a child with that row's token."""
    children_without_inside: np.ndarray
    """bool [N+1, R]: the same where tag I is illegal: nodes of I alone are gone."""
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

        # In order of first use by a tag; sorting is stable, so that order stays within a level.
        uses = {ids[:depth]: None for ids in tags for depth in range(1, len(ids) + 1)}
        prefixes = sorted(uses, key=len)
        number: dict[tuple[int, ...], int] = {(): 0}
        number.update({prefix: index + 1 for index, prefix in enumerate(prefixes)})

        size = len(number)
        token = np.zeros(size, np.int32)
        parent = np.zeros(size, np.int32)
        depth_of = np.zeros(size, np.int32)
        ancestors = np.zeros((size, size), bool)
        ancestors[0, 0] = True
        for prefix, node in number.items():
            if prefix:
                token[node] = prefix[-1]
                parent[node] = number[prefix[:-1]]
                depth_of[node] = len(prefix)
                ancestors[node] = ancestors[parent[node]]
                ancestors[node, node] = True

        longest = max(len(ids) for ids in tags)
        path = np.zeros((len(tags), longest), np.int32)
        tag_at = np.full(size, -1, np.int32)
        users = np.zeros((len(tags), size), bool)
        for tag, ids in enumerate(tags):
            path[tag, : len(ids)] = [number[ids[:depth]] for depth in range(1, len(ids) + 1)]
            tag_at[number[ids]] = tag
            users[tag, path[tag, : len(ids)]] = True
        length = np.array([len(ids) for ids in tags], np.int32)
        only_inside = users[INSIDE] & (users.sum(0) == 1)

        row_tokens, inverse = np.unique(token[1:], return_inverse=True)
        row = np.concatenate([[0], inverse.ravel()]).astype(np.int32)
        children = np.zeros((size, len(row_tokens)), bool)
        children[parent[1:], row[1:]] = True
        children_without_inside = np.zeros_like(children)
        kept = 1 + np.flatnonzero(~only_inside[1:])
        children_without_inside[parent[kept], row[kept]] = True

        trie = cls(
            tag_token_ids=tags,
            token=token,
            parent=parent,
            depth=depth_of,
            ancestors=ancestors,
            path=path,
            length=length,
            terminal=path[np.arange(len(tags)), length - 1],
            tag_at=tag_at,
            only_inside=only_inside,
            row_tokens=row_tokens.astype(np.int32),
            row=row,
            children=children,
            children_without_inside=children_without_inside,
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
        found = sentinels.intersection(ids)
        if found:
            raise UserError(
                f"label trie: the text of tag {tag} holds sentinel id {min(found)}; "
                "give it another text"
            )
        if ids in seen:
            raise UserError(
                f"label trie: tags {seen[ids]} and {tag} have the same token ids {list(ids)}; "
                "give one of them another text"
            )
        seen[ids] = tag
