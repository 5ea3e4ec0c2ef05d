"""The decoder benchmark on a tiny model: every part runs, and the peers find the same tags."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks.common.workload import (
    Labels,
    Model,
    atis_like_labels,
    random_batch,
    random_model,
    ten_labels,
)
from benchmarks.decoding import decode
from benchmarks.decoding.checks import Query, brute_force, check_greedy, is_legal
from benchmarks.decoding.throughput import OURS, PEERS
from benchmarks.decoding.work import Count
from distill_jax.data.readers import write_conll
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.kinds.base import Model as SavedModel
from distill_jax.model_dir.directory import save_model
from distill_jax.models.t5_config import T5Config
from distill_jax.sentscore import SentScoreBatch
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import ByteVocabulary

VOCAB = 384


@pytest.fixture(scope="module")
def tiny() -> tuple[Model, Labels, SentScoreBatch]:
    batch = random_batch(np.random.default_rng(3), VOCAB, [4, 2, 3], 4)
    return random_model("tiny", "float32", seed=5), ten_labels(VOCAB), batch


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    for module in ("torch", "transformers"):
        pytest.importorskip(module, reason="the benchmark's peers need torch and transformers")
    from benchmarks.decoding import peers

    return peers


@pytest.fixture(scope="module")
def peer(
    peers: ModuleType,
    tiny: tuple[Model, Labels, SentScoreBatch],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    folder = tmp_path_factory.mktemp("peer") / "model"
    write_hf(folder, tiny[0].t5.config, tiny[0].params)
    return peers.TransformersT5(folder)


@pytest.mark.slow  # compiles every decoder
@pytest.mark.usefixtures("peers")
def test_quick_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "decode.json"
    returned = decode.main(["--quick", "--json", str(path)])
    results = json.loads(path.read_text("utf-8"))
    assert results == returned
    assert results["versions"]["torch"] and results["device"]["cores"] >= 1
    assert results["machine"]["matrix_flops"] > 0 and results["machine"]["copy_bytes"] > 0

    rows = {row["algorithm"]: row for row in results["throughput"]}
    assert set(rows) == {*OURS, *PEERS}
    assert all(row["sentences_per_second"] > 0 for row in rows.values())
    assert {name for name, row in rows.items() if row["extrapolated"]} == {
        "hf-uncached",
        "hf-uncached-lean",
    }
    flops = {name: rows[name]["work"]["flops"] for name in OURS}
    assert flops["greedy"] < flops["sentscore-trie"] < flops["sentscore"] < flops["beam"]

    agreement = {entry["what"]: entry for entry in results["agreement_with_transformers"]}
    assert agreement["greedy, hf-generate"]["different_sentences"] == 0
    assert agreement["sentscore, hf-cached"]["different_tags"] == 0
    assert agreement["sentscore, hf-cached"]["compared"] >= 2 * 4 * 9
    for what in ("hf-cached", "hf-uncached", "hf-uncached-lean"):
        assert agreement[f"sentscore, {what}"]["worst_relative_error"] < 1e-4

    for count in results["legality"].values():
        assert count["legal"] == count["sentences"] == 8
    checked = results["brute_force"]
    assert checked.pop("greedy")["different_tokens"] == 0
    assert all(entry["worst_relative_error"] < 1e-4 for entry in checked.values())
    assert all(entry.get("different_tags", 0) == 0 for entry in checked.values())

    assert results["skipped"] == [
        "trained teacher, labelling, growth: give --trained_model and --trained_data"
    ]
    ratios = {entry["what"]: entry["value"] for entry in results["targets"]}
    expected = rows["hf-generate"]["seconds"] / rows["greedy"]["seconds"]
    assert ratios["greedy / constrained generate"] == pytest.approx(expected)
    printed = capsys.readouterr().out
    assert "hf-generate" in printed and "targets" in printed


@pytest.mark.slow
def test_trained_teacher_labelling_and_growth(tmp_path: Path) -> None:
    sentences = [  # two batches of one shape
        Sentence(("to", "ulm"), ("O", "B-c")),
        Sentence(("9", "at", "six"), ("B-t", "I-t", "I-t")),
        Sentence(("now",), ("B-t",)),
        Sentence(("ulm",), ("B-c",)),
    ]
    write_conll(tmp_path / "data.conll", sentences)
    model = random_model("tiny", "float32", seed=1)
    labels = LabelSet(("c", "t", "unseen"), ("c", "t", "of c"))
    save_model(
        tmp_path / "model", SavedModel(model.t5.config, model.params, ByteVocabulary(), labels)
    )
    arguments = ["--quick", "--no_peers", "--only", "trained", "labelling", "growth"]
    arguments += ["--most_tags", "7"]
    arguments += ["--trained_model", str(tmp_path / "model")]
    results = decode.main([*arguments, "--trained_data", str(tmp_path / "data.conll")])
    assert [row["tags"] for row in results["growth"]] == [4, 5, 7]
    assert results["targets"][-1]["what"] == "pruned: time with 7 / 4 tags"
    [checked] = results["trained"]["pruned"]
    assert checked["words"] == 7 and checked["different_tags"] == 0
    assert checked["worst_posterior_error"] <= 1e-4
    flops = {row["algorithm"]: row["work"]["flops"] for row in results["trained"]["rows"]}
    assert flops["greedy"] < flops["pruned"] < flops["sentscore"]
    seconds = {row["algorithm"]: row["seconds"] for row in results["labelling"]}
    [ratio] = [
        target["value"] for target in results["targets"] if target["what"].startswith("labelling")
    ]
    assert ratio == pytest.approx(seconds["sentscore"] / seconds["label"])


def test_peers_agree_on_sentences_of_different_lengths(
    tiny: tuple[Model, Labels, SentScoreBatch], peer: Any
) -> None:
    model, labels, batch = tiny
    tags, u = peer.sentscore_cached(batch, labels.tags)
    encoded = peer.encode(batch)
    for word in range(4):
        rows = batch.num_words > word
        before = tags[:, :word]
        whole = peer.score_word(encoded, batch, labels.tags, before)
        lean = peer.score_word(encoded, batch, labels.tags, before, needed_logits_only=True)
        np.testing.assert_allclose(whole[rows], u[rows, word], rtol=1e-5)
        np.testing.assert_allclose(lean[rows], u[rows, word], rtol=1e-5)
    queries = [Query(row, tuple(tags[row, :1]), tag) for row in range(3) for tag in range(10)]
    expected = brute_force(model, batch, labels.tags, queries, "vocab").reshape(3, 10)
    np.testing.assert_allclose(u[:, 1], expected, rtol=1e-5)

    greedy = peer.generate_tags(batch, labels.tags)
    assert is_legal(greedy, np.asarray(batch.num_words), len(labels.tags)).all()
    checked = check_greedy(model, batch, labels.tags, greedy)
    assert checked["different_tokens"] == 0 and checked["steps"] >= 2 * 9
    greedy[0, 0] = (greedy[0, 0] + 1) % 10 or 2  # a reference that accepts anything is none
    assert check_greedy(model, batch, labels.tags, greedy)["different_tokens"] > 0


def test_automaton_of_the_format(peers: ModuleType) -> None:
    import torch

    # O is "5", I is "6 7", a label "5 8" begins as O, another "6" ends inside I.
    tags = ((5,), (6, 7), (5, 8), (6,))
    batch = random_batch(np.random.default_rng(0), VOCAB, [2], 2)
    marks = np.asarray(batch.sentinel_ids).tolist()
    allowed = peers.FormatAutomaton(tags, batch)
    expected = [
        ([0], {marks[0]}),
        ([0, marks[0]], {5, 6}),
        ([0, marks[0], 6], {marks[1]}),  # I is illegal at the start, so 7 is too
        ([0, marks[0], 6, marks[1]], {5, 6}),
        ([0, marks[0], 6, marks[1], 6], {7, marks[2]}),
        ([0, marks[0], 6, marks[1], 6, 7], {marks[2]}),
        ([0, marks[0], 6, marks[1], 6, 7, marks[2]], {1}),
        ([0, marks[0], 6, marks[1], 6, 7, marks[2], 1], {0}),
        ([0], {marks[0]}),  # another sequence begins
        ([0, marks[0]], {5, 6}),
        ([0, marks[0], 5], {8, marks[1]}),
        ([0, marks[0], 5, marks[1]], {5, 6}),
        ([0, marks[0], 5, marks[1], 6], {marks[2]}),  # I is illegal after O
    ]
    for ids, tokens in expected:
        assert set(allowed(0, torch.tensor(ids))) == tokens
    assert peers.read_tags([0, marks[0], 6, marks[1], 6, 7, marks[2], 1], tags, marks, 2) == [3, 1]


def test_work_is_counted_from_the_sentences() -> None:
    """By hand: one layer each, one sentence of two words tagged with a tag of one and one of two tokens."""
    config = T5Config(
        vocab_size=11,
        d_model=3,
        d_kv=2,
        d_ff=5,
        num_heads=2,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    tags = ((5,), (6, 7), (6, 8))
    count = Count(config, np.array([4]), np.array([2]), np.array([[0, 2, 0]]), tags)
    weights = {
        "encoder": 4 * 3 * 4 + 3 * 3 * 5,
        "cross": 2 * 3 * 4,
        "decoder": 6 * 3 * 4 + 3 * 3 * 5,
    }
    encoder = 2 * 4 * (weights["encoder"] + weights["cross"]) + 4 * 4 * 4 * 4
    # start s_0 5 s_1 6 8: each attends to itself, those before it, and four encoder tokens.
    own = 2 * 6 * weights["decoder"] + 4 * 4 * sum(4 + place for place in range(1, 7))
    assert count.greedy().flops == encoder + own
    assert (count.greedy().decoder_tokens, count.greedy().passes) == (6, 2)
    assert count.generate().flops == encoder + own + 2 * 6 * 3 * 11
    assert count.generate().passes == 6
    # Root and nodes 5, 6, 6 7, 6 8, behind one token and behind three.
    places = [2, 3, 3, 4, 4, 4, 5, 5, 6, 6]
    tries = 2 * 11 * weights["decoder"] + 4 * 4 * (sum(4 + place for place in places) + 4 + 1)
    assert count.sentscore(vocabulary=False).flops == encoder + tries
    assert count.sentscore(vocabulary=True).flops == encoder + tries + 2 * 10 * 3 * 11
    assert count.sentscore(vocabulary=True).weight_bytes == 4 * (
        sum(weights.values()) + weights["decoder"] + 2 * 3 * 11
    )


def test_made_up_label_sets_have_the_shape_they_stand_for() -> None:
    assert sorted(map(len, ten_labels(VOCAB).tags)) == [1, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    labels = atis_like_labels(32_128)
    assert len(set(labels.tags)) == 81
    assert labels.trie.num_nodes == 146 and labels.trie.max_length == 5


def test_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--words", "0"], "--words is 0"),
        (["--batch_sizes", "0"], "0 is too small"),
        (["--only", "everything"], "invalid choice"),
    ):
        with pytest.raises(SystemExit) as error:
            decode.parse(arguments)
        assert error.value.code == 2
        assert message in capsys.readouterr().err
