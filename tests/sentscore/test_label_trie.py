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
        assert trie.depth[node - 1] <= trie.depth[node]
        spelled[node] = (*spelled[int(trie.parent[node])], int(trie.token[node]))
        assert trie.depth[node] == len(spelled[node])
        assert trie.row_tokens[trie.row[node]] == trie.token[node]
    assert set(spelled.values()) == prefixes | {()}
    for node, prefix in spelled.items():
        ancestors = {spelled[int(other)] for other in np.flatnonzero(trie.ancestors[node])}
        assert ancestors == {prefix[:n] for n in range(len(prefix) + 1)}
        users = {tag for tag, ids in enumerate(tags) if ids[: len(prefix)] == prefix}
        assert trie.only_inside[node] == (users == {1})
        assert trie.tag_at[node] == (tags.index(prefix) if prefix in tags else -1)
        children = {
            ids[len(prefix)]
            for ids in prefixes
            if len(ids) > len(prefix) and ids[: len(prefix)] == prefix
        }
        assert set(trie.row_tokens[trie.children[node]]) == children
        without = {
            ids[len(prefix)]
            for tag, ids in enumerate(tags)
            if tag != 1 and len(ids) > len(prefix) and ids[: len(prefix)] == prefix
        }
        assert set(trie.row_tokens[trie.children_without_inside[node]]) == without


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
