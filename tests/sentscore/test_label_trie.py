import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.sentscore import LabelTrie
from tests.sentscore.reference import LABEL_SETS, Tags

label_sets = st.lists(
    st.lists(st.integers(2, 5), min_size=1, max_size=4).map(tuple),
    min_size=2,
    max_size=12,
    unique=True,
).map(tuple)


@given(tags=label_sets)
@settings(deadline=None)
@example(tags=LABEL_SETS[2])
def test_nodes_are_the_distinct_prefixes(tags: Tags) -> None:
    trie = LabelTrie.compile(tags)
    prefixes = {ids[:n] for ids in tags for n in range(1, len(ids) + 1)}
    assert trie.num_nodes == len(prefixes)
    spelled = {0: ()}
    for node in range(1, trie.num_nodes + 1):
        assert trie.parent[node] < node
        spelled[node] = (*spelled[int(trie.parent[node])], int(trie.token[node]))
        assert trie.depth[node] == len(spelled[node])
    assert set(spelled.values()) == prefixes | {()}
    for node, prefix in spelled.items():
        below = {spelled[other] for other in range(node, int(trie.end[node]))}
        assert below == {p for p in prefixes | {()} if p[: len(prefix)] == prefix}
        users = {tag for tag, ids in enumerate(tags) if ids[: len(prefix)] == prefix}
        assert trie.only_inside[node] == (users == {1})
        assert trie.tag_at[node] == (tags.index(prefix) if prefix in tags else -1)
        children = sum(len(p) == len(prefix) + 1 and p[:-1] == prefix for p in prefixes)
        assert trie.num_children[node] == children
        assert trie.num_options[node] == children + (prefix in tags)


@given(tags=label_sets, size=st.integers(5, 20))
@settings(deadline=None)
def test_blocks_hold_every_node_once_behind_its_ancestors(tags: Tags, size: int) -> None:
    trie = LabelTrie.compile(tags)
    blocks = trie.blocks(size)
    nodes = blocks.nodes.ravel()
    np.testing.assert_array_equal(nodes[blocks.place], np.arange(trie.num_nodes + 1))
    assert blocks.nodes.shape[1] == min(size, trie.num_nodes + 1)
    for node, place in enumerate(blocks.place.tolist()):
        block, index = divmod(place, blocks.nodes.shape[1])
        above = [node]
        while above[-1]:
            above.append(int(trie.parent[above[-1]]))
        seen = blocks.nodes[block][blocks.attends[block, index]].tolist()
        assert sorted(seen) == sorted(above)  # each once
        if node:
            assert blocks.nodes[block, blocks.parent[block, index]] == trie.parent[node]
        assert blocks.nodes[block, 0] == 0


def test_a_block_must_hold_the_longest_tag() -> None:
    with pytest.raises(UserError, match="use at least 4"):
        LabelTrie.compile([[2], [3, 4, 5]]).blocks(3)


@given(tags=label_sets)
@settings(deadline=None)
def test_paths_spell_the_tags(tags: Tags) -> None:
    trie = LabelTrie.compile(tags)
    assert trie.num_tags == len(tags)
    for tag, ids in enumerate(tags):
        path = trie.path[tag]
        assert tuple(trie.token[path[: len(ids)]]) == ids
        assert not path[len(ids) :].any()
        assert trie.length[tag] == len(ids)
        assert trie.terminal[tag] == path[len(ids) - 1]


def test_equality_and_hash_follow_content() -> None:
    one, same = LabelTrie.compile([[2], [3, 4]]), LabelTrie.compile(((2,), (3, 4)))
    other = LabelTrie.compile([[2], [4, 3]])
    assert one == same and hash(one) == hash(same) and one.content_hash == same.content_hash
    assert one != other and one.content_hash != other.content_hash
    with pytest.raises(ValueError):
        one.token[0] = 1


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([[2]], "O and I"),
        ([[2], []], "tag 1 tokenises to nothing"),
        ([[2], [3], [2]], "tags 0 and 2 have the same"),
        ([[2], [3], [4, 99]], "tag 2 holds sentinel id 99"),
    ],
)
def test_bad_label_sets(tags: list[list[int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelTrie.compile(tags, sentinel_ids=[98, 99])
