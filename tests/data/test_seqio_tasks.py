"""SeqIO tasks and prepared data made from them. The one test file that imports TensorFlow."""

import importlib
import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

from distill_jax.data import demo
from distill_jax.data.locations import DATA_VARIABLE, set_data_dir
from distill_jax.data.prepare import load_task_modules, prepare
from distill_jax.data.readers import write_conll
from distill_jax.data.seqio_import import import_seqio
from distill_jax.data.seqio_lookup import (
    known_names,
    read_task,
    read_through_seqio,
    resolve,
    task_labels,
    task_parts,
    task_splits,
)
from distill_jax.data.seqio_sent import seqio_vocabulary
from distill_jax.data.seqio_tasks import (
    FewShot,
    TfdsSource,
    register_tagging_task,
    register_text_task,
)
from distill_jax.data.seqio_unions import register_union
from distill_jax.errors import UserError
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import ByteVocabulary, load_vocabulary

# Both names register the same tasks, and only one of them may: the installed one where there is one.
TASKS = "distill_jax.tasks" if importlib.util.find_spec("distill_jax.tasks") else "tasks"
SENTENCES = demo.generate("train", 30)
PLAY = Sentence(
    ("play", "wow", "by", "jon", "theodore"), ("O", "B-TRACK", "O", "B-ARTIST", "I-ARTIST")
)
_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A task name that is not taken: SeqIO's registry lives as long as the process."""
    return f"test_task_{next(_numbers)}"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {split: tmp_path / "set" / f"{split}.conll" for split in ("train", "valid", "test")}
    for number, path in enumerate(paths.values()):
        write_conll(path, SENTENCES[10 * number : 10 * number + 10 * (number == 0) + 5])
    return paths


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that the task modules read; none is set before and after."""
    load_task_modules([TASKS])
    folder = tmp_path / "data"
    folder.mkdir()
    set_data_dir(folder)
    yield folder
    set_data_dir(None)


def test_importing_needs_no_tensorflow_and_prepared_data_is_used_without(
    tmp_path: Path, files: dict[str, Path], name: str
) -> None:
    register_tagging_task(name, source=files)
    prepare(name, "train", tmp_path / "prepared", modules=[])
    script = (
        "import sys\n"
        "from distill_jax.data import seqio_tasks\n"
        "from distill_jax.data.prepare import prepare\n"
        f"[part] = prepare({name!r}, 'train', {str(tmp_path / 'prepared')!r}, modules=[])\n"
        "assert len(part.dataset) == 15 and part.rate == 1.0\n"
        "assert not {'seqio', 'tensorflow', 'tensorflow_datasets', 'jax'} & set(sys.modules)\n"
        # From here on as if they were not installed.
        "sys.modules |= dict.fromkeys(('seqio', 'tensorflow'))\n"
        f"[part] = prepare({name!r}, 'train', {str(tmp_path / 'prepared')!r}, modules=['absent'])\n"
        "try:\n"
        f"    prepare({name!r}, 'test', {str(tmp_path / 'prepared')!r})\n"
        "except ValueError as error:\n"
        "    assert 'with its extra' in str(error), error\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_tensorflow_sees_no_gpu() -> None:
    import tensorflow as tf

    import_seqio()
    assert tf.config.get_visible_devices("GPU") == []


def test_a_task_without_vocabulary_yields_words_and_tags(files: dict[str, Path], name: str) -> None:
    register_tagging_task(name, source=files)
    task = seqio.get_mixture_or_task(name)
    assert set(task.output_features) == {"words", "tags"}
    assert task_splits(name) == ("train", "valid", "test")
    assert task_labels(name) == LabelSet.from_sentences(SENTENCES[:15])
    assert list(read_task(name, "train")) == SENTENCES[:15]
    assert list(read_through_seqio(name, "train")) == SENTENCES[:15]
    shuffled = task.get_dataset(None, "train", shuffle=True, seed=0)
    assert len(list(shuffled.as_numpy_iterator())) == 15


def _examples(name: str, split: str, lengths: dict[str, int] | None = None) -> list[dict]:
    task = seqio.get_mixture_or_task(name)
    return list(task.get_dataset(lengths, split, shuffle=False).as_numpy_iterator())


def test_inputs_and_targets(name: str) -> None:
    labels = LabelSet(("TRACK", "ARTIST"))
    vocabulary = ByteVocabulary()
    register_tagging_task(
        name, source=lambda split: [PLAY], splits=["train"], labels=labels, vocabulary=vocabulary
    )
    [example] = _examples(name, "train")
    sent_format = SenTFormat(vocabulary, labels)
    np.testing.assert_array_equal(example["inputs"], sent_format.encode_input(PLAY.words))
    np.testing.assert_array_equal(example["targets"], sent_format.encode_target([0, 2, 0, 3, 1]))
    assert example["inputs"].dtype == example["targets"].dtype == np.int32
    assert [word.decode() for word in example["words"]] == list(PLAY.words)


def test_ids_of_t5(name: str, shared_dir: Path) -> None:
    register_tagging_task(
        name,
        source=lambda split: [PLAY],
        splits=["train"],
        labels=LabelSet(("TRACK", "ARTIST")),
        vocabulary=str(shared_dir / "vocab" / "t5"),
    )
    [example] = _examples(name, "train")
    vocabulary = load_vocabulary(shared_dir / "vocab" / "t5")
    sentinels = [32_099 - n for n in range(6)]
    for key, texts in (("inputs", PLAY.words), ("targets", ("O", "TRACK", "O", "ARTIST", "I"))):
        expected = [sentinels[0]]
        for text, sentinel in zip(texts, sentinels[1:], strict=True):
            expected += [*vocabulary.encode(text), sentinel]
        assert example[key].tolist() == [*expected, 1]


def test_long_sentences_become_windows_and_nothing_is_cut(name: str) -> None:
    words = tuple(f"w{i}" for i in range(250))
    tags = tuple("B-x" if i % 3 == 0 else "I-x" for i in range(250))
    register_tagging_task(
        name,
        source=lambda split: [Sentence(words, tags), Sentence((), ())],
        splits=["train"],
        vocabulary=ByteVocabulary(),
    )
    for lengths in (None, {"inputs": 100, "targets": 64}):
        examples = _examples(name, "train", lengths)
        rebuilt = [word.decode() for example in examples for word in example["words"]]
        assert rebuilt == list(words)
        for example in examples:
            assert example["inputs"][-1] == example["targets"][-1] == 1
            assert lengths is None or len(example["inputs"]) <= 100 >= 64 >= len(example["targets"])
    assert list(read_through_seqio(name, "train")) == [Sentence(words, tags), Sentence((), ())]


def test_the_environment_names_the_vocabulary(
    name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_JAX_VOCABULARY", "byte")
    register_tagging_task(name, source=files)
    vocabulary = seqio.get_mixture_or_task(name).output_features["inputs"].vocabulary
    assert (vocabulary.vocab_size, vocabulary.extra_ids) == (
        ByteVocabulary().size,
        ByteVocabulary().num_sentinels,
    )
    assert vocabulary == seqio_vocabulary(ByteVocabulary())
    assert hash(vocabulary) == hash(seqio_vocabulary("byte"))
    assert vocabulary != seqio.PassThroughVocabulary(0)
    ids = vocabulary.encode("hi you")
    assert ids == ByteVocabulary().encode("hi you")
    assert vocabulary.decode(ids) == "hi you"
    assert vocabulary.encode_tf("hi you").numpy().tolist() == ids
    assert vocabulary.decode_tf(np.array([ids, ids], np.int32)).numpy().tolist() == [b"hi you"] * 2


def test_few_shot_splits(files: dict[str, Path], name: str) -> None:
    register_tagging_task(
        name, source=files, vocabulary="byte", few_shot=FewShot(gold=4, dev=3, silver=5)
    )
    assert task_splits(name) == ("gold", "dev", "silver", "test")
    sizes = {split: len(list(read_task(name, split))) for split in task_splits(name)}
    assert sizes == {"gold": 4, "dev": 3, "silver": 5, "test": 5}
    silver = list(read_through_seqio(name, "silver"))
    assert silver == list(read_task(name, "silver"))
    assert all(sentence.tags is None for sentence in silver)
    assert all(len(example["targets"]) == 0 for example in _examples(name, "silver"))
    assert list(read_through_seqio(name, "gold")) == list(read_task(name, "gold"))
    assert task_labels(name) == LabelSet.from_sentences(SENTENCES[:15])


def test_few_shot_tasks_by_name(files: dict[str, Path], name: str) -> None:
    register_tagging_task(name, source=files)
    small, large = (resolve(f"{name}_gold{gold}_dev2_seed1") for gold in (3, 6))
    assert list(read_task(large, "gold"))[:3] == list(read_task(small, "gold"))
    assert len(list(read_task(small, "silver"))) == 10
    assert len(list(read_task(resolve(f"{name}_gold3_dev2_silver1_seed1"), "silver"))) == 1
    with pytest.raises(UserError, match="more than the 15 different ones"):
        list(read_task(f"{name}_gold14_dev2_seed1", "gold"))


def test_text_tasks(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("Hello there !\n\nB-x O\n")
    register_text_task(name, {"train": tmp_path / "text.txt"})
    assert set(seqio.get_mixture_or_task(name).output_features) == {"words"}
    expected = [Sentence(("Hello", "there", "!")), Sentence(()), Sentence(("B-x", "O"))]
    assert list(read_task(name, "train")) == list(read_through_seqio(name, "train")) == expected
    assert task_labels(name) is None
    with pytest.raises(UserError, match="has no tags to take a few-shot subset of"):
        resolve(f"{name}_gold1_dev1_seed0")
    with pytest.raises(UserError, match="files or a function instead of a TFDS set"):
        register_text_task(f"{name}_", TfdsSource("conll2003"))


def test_mixtures(tmp_path: Path, files: dict[str, Path], name: str) -> None:
    first, second, mixture = f"{name}_a", f"{name}_b", f"{name}_mix"
    register_tagging_task(first, source=files)
    register_tagging_task(second, source={"train": files["valid"]})
    seqio.MixtureRegistry.add(mixture, [(first, 1), (second, lambda task: 3)])
    assert task_parts(mixture) == [(first, 1.0), (second, 3.0)]
    assert task_parts(first) == [(first, 1.0)]
    for _ in range(2):  # made, then found
        parts = prepare(mixture, "train", tmp_path / "p", modules=[])
        assert [(p.task, p.rate, len(p.dataset)) for p in parts] == [(first, 1, 15), (second, 3, 5)]
    [part] = prepare(mixture, "test", tmp_path / "p", modules=[])
    assert part.task == first
    with pytest.raises(UserError, match=r"no task of the mixture .* has a split 'gold'"):
        prepare(mixture, "gold", tmp_path / "p", modules=[])
    with pytest.raises(UserError, match="is a mixture; few-shot subsets are of one task"):
        resolve(f"{mixture}_gold1_dev1_seed0")


def test_tasks_of_others_are_prepared_too(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    def dataset(split: str, shuffle_files: bool) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors({"words": ["hi", "bob"], "tags": ["O", "B-name"]})

    feature = seqio.Feature(seqio.PassThroughVocabulary(0), add_eos=False, dtype=tf.string)
    for suffix, keys in (("", ("words", "tags")), ("_other", ("inputs",))):
        seqio.TaskRegistry.add(
            name + suffix,
            source=seqio.FunctionDataSource(dataset, splits=["train"]),
            output_features=dict.fromkeys(keys, feature),
            preprocessors=[seqio.preprocessors.rekey] if suffix else [],
        )
    [part] = prepare(name, "train", tmp_path, modules=[])
    assert list(part.dataset) == [Sentence(("hi", "bob"), ("O", "B-name"))]
    assert part.dataset.labels == LabelSet(("name",))


def test_metrics(files: dict[str, Path], name: str) -> None:
    register_tagging_task(
        name,
        source=files,
        labels=LabelSet(("city", "party_size")),
        vocabulary="byte",
    )
    task = seqio.get_mixture_or_task(name)
    example = {"tags": np.array([b"O", b"B-city", b"I-city", b"B-party_size"], object)}
    gold = task.postprocessor(b"", example=example, is_target=True)
    vocabulary = task.output_features["targets"].vocabulary
    ids = SenTFormat(ByteVocabulary(), LabelSet(("city", "party_size"))).encode_target([0, 2, 1, 3])
    predicted = task.postprocessor(vocabulary.decode(ids.tolist()), example=example)
    assert predicted == gold == ["O", "B-city", "I-city", "B-party_size"]
    metric, of_posteriors = task.metric_fns
    assert metric([gold], [predicted]) == {
        "f1": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "f1_strict": 1.0,
        "perfect": 1.0,
    }
    garbled = task.postprocessor(
        "<extra_id_0> town <extra_id_1> city <extra_id_2>", example=example
    )
    assert garbled == ["O", "B-city"]
    assert metric([gold], [garbled])["recall"] == 0.0
    # As t5x gives them: padded words, and a tag each of O, I, city, party_size.
    sure = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 0]]
    found = of_posteriors([gold], [gold], {"posteriors": [sure]})
    assert found["ece"] == pytest.approx(0.5 / 4)
    assert found["brier"] == pytest.approx(1.5 / 4)
    assert of_posteriors([gold], [gold], {"scores": [0.1]}) == {}  # another model's


def test_bad_registrations(files: dict[str, Path], name: str) -> None:
    register_tagging_task(name, source=files)
    for arguments, reason in [
        ({"name": name, "source": files}, "already registered"),
        ({"name": "a b", "source": files}, "use letters"),
        ({"name": "x1", "source": {}}, "no splits"),
        ({"name": "x2", "source": lambda split: []}, "name its splits"),
        ({"name": "x3", "source": 3}, "a int"),
        ({"name": "x4", "source": {"test": "f"}, "few_shot": FewShot(1, 1)}, "named 'train'"),
    ]:
        with pytest.raises(UserError, match=reason):
            register_tagging_task(**arguments)


def test_malformed_files_are_named_also_through_seqio(tmp_path: Path, name: str) -> None:
    path = tmp_path / "train.conll"
    path.write_text("play\tO\nit\n")
    register_tagging_task(name, source={"train": path})
    for read in (read_task, read_through_seqio):
        with pytest.raises(UserError, match=r"train.conll:2: only one column"):
            list(read(name, "train"))
    with pytest.raises(UserError, match=r"train.conll:2: only one column"):
        prepare(name, "train", tmp_path / "p", modules=[])
    assert not (tmp_path / "p" / name / "train").exists()


def test_unknown_tasks_splits_and_modules(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"no task or mixture 'snip'; did you mean .*snips"):
        prepare("snip", "train", tmp_path, modules=[TASKS])
    with pytest.raises(UserError, match=r"no task or mixture 'zzz'; known: .*demo"):
        prepare("zzz", "train", tmp_path, modules=[TASKS])
    with pytest.raises(UserError, match="'demo' has no split 'dev'; it has train, valid, test"):
        prepare("demo", "dev", tmp_path, modules=[TASKS])
    with pytest.raises(UserError, match="task module 'no_such_module' cannot be imported"):
        prepare("demo", "test", tmp_path, modules=["no_such_module"])


def test_prepared_data_follows_its_source(
    tmp_path: Path, files: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_tagging_task(name, source=files)
    [part] = prepare(name, "test", tmp_path / "p", modules=[])
    inode = part.dataset.directory.stat().st_ino
    [again] = prepare(name, "test", tmp_path / "p", modules=[])
    assert again.dataset.directory.stat().st_ino == inode
    write_conll(files["test"], SENTENCES[:2])
    [changed] = prepare(name, "test", tmp_path / "p", modules=[])
    assert list(changed.dataset) == SENTENCES[:2]
    module = tmp_path / "my_tasks.py"
    module.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    definitions = []
    for content in ("", "# other definitions\n"):
        module.write_text(content)
        [part] = prepare(name, "test", tmp_path / "p", modules=["my_tasks"])
        definitions.append(part.dataset.manifest["definitions_sha256"])
    assert definitions[0] != definitions[1]
    next((tmp_path / "p" / name / "test").glob("*.array_record")).unlink()
    with pytest.raises(UserError, match="the shard is missing; delete the directory"):
        prepare(name, "test", tmp_path / "p", modules=["my_tasks"])


def test_demo_task(data_dir: Path) -> None:
    sentences = list(read_task("demo", "valid"))
    assert sentences == demo.generate("valid", 500)
    assert task_labels("demo") == demo.LABELS


def test_folders_of_the_data_directory(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_conll(data_dir / "snips" / "train.conll", SENTENCES[:4])
    write_conll(data_dir / "my-set" / "train.conll", SENTENCES[:4])
    (data_dir / "my-set" / "test.jsonl").write_text('{"text": "hi"}\n')
    LabelSet((*demo.LABELS.names, "extra")).save(data_dir / "my-set" / "labels.txt")
    assert len(list(read_task("snips", "train"))) == 4
    assert task_splits("my-set") == ("train", "valid", "test")
    assert len(list(read_task("my_set", "test"))) == 1
    assert task_labels("my-set") == LabelSet((*demo.LABELS.names, "extra"))
    text = list(read_task("my_set_text", "train"))
    assert [s.words for s in text] == [s.words for s in SENTENCES[:4]]
    assert not any(s.tags for s in text) and task_splits("my_set_text") == (
        "train",
        "valid",
        "test",
    )
    [part] = prepare("my-set", "train", tmp_path / "p", modules=[TASKS])
    assert (part.task, len(part.dataset), len(part.dataset.manifest["sources"])) == ("my_set", 4, 3)
    assert "my_set" in known_names()
    with pytest.raises(UserError, match=r"snips/test.conll: there is no such file; put the test"):
        list(read_task("snips", "test"))
    (data_dir / "words").mkdir()
    for name in ("train.txt", "dev.txt"):  # as CoNLL-2003 has them
        write_conll(data_dir / "words" / name, SENTENCES[:2])
    assert task_splits("words") == ("train", "valid")
    assert list(read_task("words", "valid")) == SENTENCES[:2]
    (data_dir / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"empty: there is such a folder, but no .*looked for train"
    ):
        resolve("empty")
    set_data_dir(None)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(UserError, match="set the data directory by --data_dir or DISTILL_JAX_DATA"):
        list(read_task("atis", "train"))
    with pytest.raises(UserError, match="no task or mixture 'unheard_of'"):
        resolve("unheard_of")
    monkeypatch.setenv(DATA_VARIABLE, str(data_dir))
    assert len(list(read_task("snips", "train"))) == 4


def test_carved_validation_split(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conll = importlib.import_module(f"{TASKS}.conll")
    assert conll.CARVED == {"mit_restaurant": 815}
    monkeypatch.setitem(conll.CARVED, "mit_restaurant", 3)
    write_conll(data_dir / "mit_restaurant" / "train.conll", SENTENCES[:10])
    train, valid = (list(read_task("mit_restaurant", split)) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (7, 3)
    assert {s.example_id for s in train + valid} == {s.example_id for s in SENTENCES[:10]}


def test_text_of_the_data_directory(data_dir: Path) -> None:
    (data_dir / "text").mkdir()
    lines = [f"line {i}\n" for i in range(1_005)]
    for name in ("dialogue", "other"):
        (data_dir / "text" / f"{name}.txt").write_text("\n".join(lines))  # blank lines between
        assert [s.words[1] for s in read_task(f"{name}_text", "train")] == list("01234")
        valid = list(read_task(f"{name}_text", "valid"))
        assert [valid[0].words[1], valid[-1].words[1], len(valid)] == ["5", "1004", 1_000]
    (data_dir / "text" / "dialogue.txt").write_text("too short\n")
    with pytest.raises(UserError, match="only 1 lines of text"):
        list(read_task("dialogue_text", "train"))


def test_split_sizes_of_the_literature(shared_dir: Path, tmp_path: Path) -> None:
    load_task_modules([TASKS])
    set_data_dir(shared_dir / "data")
    try:
        sizes = [len(list(read_task("mit_restaurant", split))) for split in ("train", "valid")]
        assert sizes == [6_845, 815]
        labels = task_labels("mit_restaurant")
        assert labels is not None
        assert len(labels.names) == 8
    finally:
        set_data_dir(None)


def _mocked_tfds(builder: Any, split: str, **kwargs: Any) -> Any:
    """Six sentences with the features of the builder; TFDS's own mock gives unequal lengths."""
    import tensorflow as tf

    key = "ner" if "ner" in builder.info.features else "tags"
    names = builder.info.features[key].feature.names
    rows = [("O", "O", "B-LOC"), ("I-LOC", "I-ORG", "I-ORG")] * 3
    return tf.data.Dataset.from_tensor_slices(
        {
            "tokens": [[f"w{i}", "in", "Rome"] for i in range(6)],
            key: [[names.index(tag) for tag in row] for row in rows],
        }
    )


@pytest.mark.parametrize("task", ["conll2003", "wikiann/en", "wikiann/zh-yue"])
def test_tfds_sets(task: str, tmp_path: Path) -> None:
    load_task_modules([TASKS])
    with tfds.testing.mock_data(as_dataset_fn=_mocked_tfds):
        assert task_splits(task) == ("train", "valid", "test")
        labels = task_labels(task)
        assert labels is not None
        assert set(labels.names) >= {"PER", "ORG", "LOC"}
        [part] = prepare(task, "valid", tmp_path, modules=[TASKS])
        assert len(part.dataset) == 6
        assert part.dataset[0] == Sentence(("w0", "in", "Rome"), ("O", "O", "B-LOC"))
        assert part.dataset[1].tags == ("B-LOC", "B-ORG", "I-ORG")  # an I that opens a span
        shots = prepare(f"{task}_gold2_dev1_seed0", "gold", tmp_path, modules=[TASKS])
        assert len(shots[0].dataset) == 2
        assert shots[0].dataset.labels == labels
    with pytest.raises(UserError, match="no task or mixture 'wikiann/xx'"):
        resolve("wikiann/xx")


def test_languages_of_tfds_as_one_task(tmp_path: Path) -> None:
    load_task_modules([TASKS])
    with tfds.testing.mock_data(as_dataset_fn=_mocked_tfds):
        [part] = prepare("wikiann_sw.yo", "train", tmp_path, modules=[TASKS])
        assert len(part.dataset) == 2 * 6
        assert part.dataset.labels == task_labels("wikiann_sw") == task_labels("wikiann_yo")
        assert (
            part.dataset[6]
            == part.dataset[0]
            == Sentence(("w0", "in", "Rome"), ("O", "O", "B-LOC"))
        )
    with pytest.raises(UserError, match=r"no task or mixture .wikiann_sw\.xx"):
        resolve("wikiann_sw.xx")


def test_a_folder_of_languages(tmp_path: Path, data_dir: Path) -> None:
    texts = {
        "hau": {"train": "Aisha B-PER\n\n", "dev": "Kano B-LOC\n\n", "test": "a O\n\n"},
        "yor": {"train": "Eko B-LOC\n\nTola B-PER\n\n", "test": "BBC B-ORG\n\nb O\n\n"},
        "zu-x": {"train": "c O\n\n", "test": "d O\n\n"},
    }
    for language, splits in texts.items():
        (data_dir / "masakha-ner" / language).mkdir(parents=True)
        for split, text in splits.items():
            (data_dir / "masakha-ner" / language / f"{split}.txt").write_text(text)
    assert [s.words for s in read_task("masakha-ner/yor", "train")] == [("Eko",), ("Tola",)]
    assert task_splits("masakha_ner_yor") == ("train", "test")
    assert (
        task_splits("masakha_ner_hau") == task_splits("masakha-ner") == ("train", "valid", "test")
    )
    # A label that one language's test split has alone is one of them all.
    for task in ("masakha_ner", "masakha_ner_hau", "masakha_ner_hau.yor"):
        assert task_labels(task) == LabelSet(("LOC", "ORG", "PER"))
    whole = [s.words[0] for s in read_task("masakha_ner", "train")]
    assert whole == ["Aisha", "Eko", "Tola", "c"]
    some = [s.words[0] for s in read_task("masakha_ner_zu_x.hau", "test")]
    assert some == ["d", "a"]
    assert [s.words[0] for s in read_task("masakha_ner", "valid")] == ["Kano"]
    assert {"masakha_ner", "masakha_ner_zu_x"} <= set(known_names())
    [part] = prepare("masakha_ner", "train", tmp_path / "p", modules=[TASKS])
    assert len(part.dataset) == 4 and len(part.dataset.manifest["sources"]) == 7
    (data_dir / "masakha-ner" / "yor" / "train.txt").write_text("Eko B-LOC\n\n")
    [part] = prepare("masakha_ner", "train", tmp_path / "p", modules=[TASKS])
    assert len(part.dataset) == 3
    shots = prepare("masakha_ner_gold2_dev1_seed0", "gold", tmp_path / "p", modules=[TASKS])
    assert len(shots[0].dataset) == 2
    with pytest.raises(
        UserError, match="no task or mixture 'masakha_ner_xx'; did you mean masakha"
    ):
        resolve("masakha_ner_xx")


def test_tasks_of_other_labels_are_not_made_one(data_dir: Path) -> None:
    for name, label in (("one", "PER"), ("two", "LOC")):
        (data_dir / name).mkdir()
        (data_dir / name / "train.txt").write_text(f"x B-{label}\n\n")
    register_union("both_of_them", ["one", "two"])
    assert len(list(read_task("both_of_them", "train"))) == 2
    with pytest.raises(UserError, match="one and two have other labels"):
        task_labels("both_of_them")


def test_a_module_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks_of_this_folder.py").write_text(
        "from distill_jax.data.seqio_tasks import register_tagging_task\n"
        "from distill_jax.tagging import LabelSet, Sentence\n"
        "register_tagging_task('here', source=lambda split: [Sentence(('oslo',), ('B-city',))],\n"
        "    splits=('train',), labels=LabelSet(('city',)))\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    [part] = prepare("here", "train", tmp_path / "prepared", modules=["tasks_of_this_folder"])
    assert list(part.dataset) == [Sentence(("oslo",), ("B-city",))]


def test_a_valid_split_is_carved_for_every_set(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = [Sentence((f"w{n}", "x"), ("O", "B-city")) for n in range(25)]
    write_conll(data_dir / "no_valid" / "train.conll", given)
    assert task_splits("no_valid") == ("train", "valid")
    train, valid = (list(read_task("no_valid", split)) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (20, 5)
    assert {s.words for s in train + valid} == {s.words for s in given}
    assert valid == list(read_task("no_valid", "valid"))
    assert "'no_valid' has no valid split: 5 of its 25 training sentences" in caplog.text
