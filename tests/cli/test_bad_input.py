"""Bad input of every kind: one line that names the place, exit code 2, nothing left behind."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from distill_jax.cli import main
from distill_jax.data import locations
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.vocab import train_sentencepiece
from tests.tiny import KINDS, LABELS, T5_CONFIG, save_tiny, t5_params

GOOD = "to\tO\nberlin\tB-city\n\non\tO\nmay\tB-date_time\n4\tI-date_time\n\n"


@dataclass(frozen=True)
class World:
    """What a case may use: models made once, and a folder of its own."""

    models: Path
    folder: Path

    def model(self, kind: str = "bilstm") -> str:
        return str(self.models / kind)

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def copy_of_model(self, kind: str = "bilstm") -> Path:
        return save_tiny(self.folder / "copy", kind)

    def checkpoint(self, **changes: int) -> Path:
        """A Hugging Face directory with a vocabulary."""
        config = T5_CONFIG.replace(**{"vocab_size": 256, **changes})
        write_hf(self.folder / "src", config, t5_params(config))
        texts = ["to berlin on may 4", "x y z"] * 5
        train_sentencepiece(
            texts, 60, self.folder / "src" / "spiece.model", required=LABELS.tag_texts
        )
        return self.folder / "src"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        save_tiny(folder / kind, kind)
    return folder


@pytest.fixture
def world(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """See `World`; the process is left as it was."""
    monkeypatch.delenv(locations.DATA_VARIABLE, raising=False)
    yield World(models, tmp_path)
    locations.set_data_dir(None)


CommandAndNamed = tuple[list[str], tuple[str, ...]]
Case = Callable[[World], CommandAndNamed]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Registers a case: a function from a world to a command line and what its error must name."""
    CASES[function.__name__] = function
    return function


def predict(world: World, *, model: str | None = None, **files: str) -> list[str]:
    model = model or world.model()
    options = {"input": world.write("in.txt", "to berlin\n"), "output": world.path("out.jsonl")}
    options |= files
    return ["predict", "--model", model] + [
        part for name, value in options.items() for part in (f"--{name}", value)
    ]


# ---- predict -----------------------------------------------------------------------------------


@case
def predict_no_model(world: World) -> CommandAndNamed:
    return predict(world, model=world.path("none")), ("none: not a model directory", "training")


@case
def predict_a_file_as_model(world: World) -> CommandAndNamed:
    return predict(world, model=world.write("file", "x")), ("file", "not a model directory")


@case
def predict_no_input(world: World) -> CommandAndNamed:
    return predict(world, input=world.path("gone.txt")), ("gone.txt: cannot be read",)


@case
def predict_input_is_a_directory(world: World) -> CommandAndNamed:
    return predict(world, input=str(world.folder)), ("Is a directory",)


@case
def predict_malformed_tag(world: World) -> CommandAndNamed:
    data = world.write("bad.conll", GOOD + "to\tX-city\n\n")
    return predict(world, input=data), ("bad.conll:8: tag 'X-city'", "correct the tag")


@case
def predict_ragged_columns(world: World) -> CommandAndNamed:
    data = world.write("bad.conll", GOOD + "to\tTO\tO\n")
    return predict(world, input=data), ("bad.conll:8: 3 columns, but line 1 has 2",)


@case
def predict_not_utf8(world: World) -> CommandAndNamed:
    data = world.write("bad.txt", b"to berlin\nto k\xf6ln\n")
    return predict(world, input=data), ("bad.txt:2: not UTF-8", "save the file as UTF-8")


@case
def predict_bad_json(world: World) -> CommandAndNamed:
    data = world.write("bad.jsonl", '{"tokens": ["to"]}\n{"tokens": [\n')
    return predict(world, input=data), ("bad.jsonl:2: not JSON",)


@case
def predict_text_that_is_not_said_to_be_text(world: World) -> CommandAndNamed:
    data = world.write("pool.md", "to berlin\n")
    return predict(world, input=data), ("pool.md:1", "--format text")


@case
def predict_from_two_tag_columns(world: World) -> CommandAndNamed:
    data = world.write("outer.tsv", "1\tto\tO\tO\n2\tberlin\tB-city\tO\n")
    return predict(world, input=data), ("outer.tsv:1: 4 columns", "--columns 2,3 or --columns 2,4")


@case
def predict_from_columns_that_are_not_there(world: World) -> CommandAndNamed:
    data = world.write("two.conll", GOOD)
    return [*predict(world, input=data), "--columns", "1,3"], ("two.conll:1: 2 columns", "column 3")


@case
def predict_with_columns_that_cannot_be(world: World) -> CommandAndNamed:
    return [*predict(world), "--columns", "0,1"], ("--columns '0,1'", "counted from 1")


@case
def predict_with_label_names_that_are_not_there(world: World) -> CommandAndNamed:
    return [*predict(world), "--label_names", world.path("gone")], (
        "gone: cannot read the label names",
    )


@case
def predict_onto_the_input(world: World) -> CommandAndNamed:
    data = world.write("in.txt", "to berlin\n")
    link = world.folder / "link.txt"
    link.symlink_to(data)
    return predict(world, input=data, output=str(link)), ("--output", "is the file of --input")


@case
def predict_to_a_directory(world: World) -> CommandAndNamed:
    (world.folder / "taken").mkdir()
    return predict(world, output=world.path("taken")), ("taken: is a directory",)


@case
def predict_below_a_file(world: World) -> CommandAndNamed:
    output = world.write("file", "x") + "/deep/out.jsonl"
    return predict(world, output=output), ("out.jsonl", "not a directory")


@case
def predict_where_nothing_can_be_made(world: World) -> CommandAndNamed:
    return predict(world, output="/proc/none/out.jsonl"), ("/proc/none",)


@case
def predict_with_a_normaliser_for_words(world: World) -> CommandAndNamed:
    return [*predict(world), "--normaliser", "trie"], ("bilstm", "normaliser", "word tagger")


@case
def predict_with_a_decoder_for_words(world: World) -> CommandAndNamed:
    return [*predict(world), "--decoder", "greedy"], ("decoder", "word tagger")


def decoder(world: World, *more: str) -> list[str]:
    """The model is not there, so only what is refused before it is read names another reason."""
    return [*predict(world, model=world.path("none")), *more]


@case
def predict_with_a_beam_of_nothing(world: World) -> CommandAndNamed:
    return decoder(world, "--beam", "0"), ("beam of 0", "at least 1")


@case
def predict_with_a_beam_of_greedy(world: World) -> CommandAndNamed:
    command = decoder(world, "--decoder", "greedy", "--beam", "4")
    return command, ("'greedy' has no beam", "sentscore")


@case
def predict_with_an_epsilon_of_nothing(world: World) -> CommandAndNamed:
    command = decoder(world, "--decoder", "pruned", "--epsilon", "0")
    return command, ("epsilon is 0", "above 0 and below 1")


@case
def predict_with_an_epsilon_of_one(world: World) -> CommandAndNamed:
    return decoder(world, "--decoder", "pruned", "--epsilon", "1"), ("epsilon is 1",)


@case
def predict_with_an_epsilon_that_is_no_number(world: World) -> CommandAndNamed:
    return decoder(world, "--decoder", "pruned", "--epsilon", "nan"), ("epsilon is nan",)


@case
def predict_with_an_epsilon_for_sentscore(world: World) -> CommandAndNamed:
    return decoder(world, "--epsilon", "0.1"), ("--epsilon", "--decoder pruned", "leave it out")


@case
def predict_with_a_normaliser_for_free(world: World) -> CommandAndNamed:
    command = decoder(world, "--decoder", "free", "--normaliser", "trie")
    return command, ("--normaliser", "sentscore and pruned", "leave it out")


@case
def predict_posteriors_of_free(world: World) -> CommandAndNamed:
    command = decoder(world, "--decoder", "free", "--posteriors")
    return command, ("--posteriors needs posteriors", "free computes none", "sentscore or pruned")


@case
def predict_the_best_tags_of_greedy(world: World) -> CommandAndNamed:
    command = decoder(world, "--decoder", "greedy", "--top_k", "3")
    return command, ("--top_k needs posteriors", "greedy computes none")


@case
def predict_the_best_0_tags(world: World) -> CommandAndNamed:
    return decoder(world, "--top_k", "0"), ("--top_k is 0", "at least 1")


@case
def predict_with_truncated_weights(world: World) -> CommandAndNamed:
    model = world.copy_of_model()
    with open(model / "model.safetensors", "r+b") as file:
        file.truncate(600)
    return predict(world, model=str(model)), ("model.safetensors", "truncated")


@case
def predict_without_weights(world: World) -> CommandAndNamed:
    model = world.copy_of_model("t5")
    (model / "model.safetensors").unlink()
    return predict(world, model=str(model)), ("model.safetensors: no such file",)


@case
def predict_with_another_vocabulary(world: World) -> CommandAndNamed:
    model = world.copy_of_model()
    path = model / "word_vocabulary.json"
    path.write_text(path.read_text().replace('"berlin"', '"paris"'))
    return predict(world, model=str(model)), ("vocabulary is not the one",)


@case
def predict_with_settings_of_another_type(world: World) -> CommandAndNamed:
    model = world.copy_of_model()
    path = model / "tagger.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"lowercase_words": "yes"}))
    return predict(world, model=str(model)), ("tagger.json: `lowercase_words` is 'yes'",)


@case
def predict_with_damaged_settings(world: World) -> CommandAndNamed:
    model = world.copy_of_model()
    (model / "tagger.json").write_text("{")
    return predict(world, model=str(model)), ("tagger.json:1: not valid JSON",)


@case
def predict_a_word_beyond_the_limit(world: World) -> CommandAndNamed:
    data = world.write("long.txt", "to " + "x" * 2000 + "\n")
    command = [*predict(world, model=world.model("t5"), input=data), "--strict"]
    return command, ("long.txt:1: word 2", "2000 tokens, of which the model reads 509", "--strict")


# ---- evaluate ----------------------------------------------------------------------------------


def evaluate(world: World, data: str, *more: str) -> list[str]:
    return ["evaluate", "--model", world.model(), "--data", data, *more]


@case
def evaluate_untagged(world: World) -> CommandAndNamed:
    return evaluate(world, world.write("data.txt", "to berlin\n")), ("sentence 1 has no tags",)


@case
def evaluate_nothing(world: World) -> CommandAndNamed:
    return evaluate(world, world.write("data.conll", "\n")), ("data.conll: holds no sentences",)


@case
def evaluate_onto_the_data(world: World) -> CommandAndNamed:
    data = world.write("data.conll", GOOD)
    return evaluate(world, data, "--json", data), ("--json", "is the file of --data")


@case
def evaluate_to_one_file_twice(world: World) -> CommandAndNamed:
    data, out = world.write("data.conll", GOOD), world.path("out")
    command = evaluate(world, data, "--json", out, "--html", f"{world.folder}/./out")
    return command, ("--html", "is the file of --json")


@case
def evaluate_to_a_directory(world: World) -> CommandAndNamed:
    data = world.write("data.conll", GOOD)
    (world.folder / "taken").mkdir()
    return evaluate(world, data, "--json", world.path("taken")), ("taken: is a directory",)


@case
def evaluate_to_a_picture_that_is_a_directory(world: World) -> CommandAndNamed:
    (world.folder / "taken").mkdir()
    command = evaluate(world, world.path("none"), "--reliability", world.path("taken"))
    return command, ("taken: is a directory",)


def evaluate_none(world: World, *more: str) -> list[str]:
    return ["evaluate", "--model", world.path("none"), "--data", world.path("none"), *more]


@case
def evaluate_the_reliability_of_free(world: World) -> CommandAndNamed:
    picture = ["--reliability", world.path("r.png")]
    command = evaluate_none(world, "--decoder", "free", *picture)
    return command, ("--reliability needs posteriors", "free computes none")


@case
def evaluate_a_temperature_for_greedy(world: World) -> CommandAndNamed:
    command = evaluate_none(world, "--decoder", "greedy", "--fit_temperature")
    return command, ("--fit_temperature needs posteriors", "greedy computes none")


@case
def evaluate_a_temperature_on_pruned_scores(world: World) -> CommandAndNamed:
    command = evaluate_none(world, "--decoder", "pruned", "--fit_temperature")
    return command, ("--fit_temperature", "fit with sentscore")


@case
def evaluate_a_temperature_of_another_normaliser(world: World) -> CommandAndNamed:
    command = evaluate_none(world, "--normaliser", "trie", "--fit_temperature")
    return command, ("--fit_temperature", "leave out --normaliser and --beam")


@case
def evaluate_a_temperature_of_a_beam(world: World) -> CommandAndNamed:
    command = evaluate_none(world, "--beam", "2", "--fit_temperature")
    return command, ("--fit_temperature", "leave out --normaliser and --beam")


@case
def evaluate_with_a_beam_of_nothing(world: World) -> CommandAndNamed:
    return evaluate_none(world, "--beam", "-1"), ("beam of -1",)


# ---- inspect -----------------------------------------------------------------------------------


@case
def inspect_nothing(world: World) -> CommandAndNamed:
    return ["inspect", world.path("gone.conll")], ("gone.conll: cannot be read",)


@case
def inspect_a_folder_without_splits(world: World) -> CommandAndNamed:
    world.write("set/notes.md", "x")
    return ["inspect", world.path("set")], ("set: a folder with no split", "train", "dev", ".conll")


@case
def inspect_a_folder_with_two_files_of_a_split(world: World) -> CommandAndNamed:
    world.write("set/dev.conll", GOOD)
    world.write("set/valid.txt", GOOD)
    return ["inspect", world.path("set")], ("valid.txt and dev.conll", "keep one")


@case
def inspect_a_folder_that_is_read_in_no_way(world: World) -> CommandAndNamed:
    world.write("set/train.conll", GOOD)
    world.write("set/reading.json", '{"column": "1,2"}')
    return ["inspect", world.path("set")], ("reading.json: expected an object with columns",)


@case
def inspect_two_tag_columns_of_a_folder(world: World) -> CommandAndNamed:
    world.write("set/train.tsv", "1\tto\tO\tO\n2\tberlin\tB-city\tO\n")
    return ["inspect", world.path("set")], ("train.tsv:1", "--columns 2,3", "set/reading.json")


@case
def inspect_an_unknown_task(world: World) -> CommandAndNamed:
    return ["inspect", "demoo"], ("no task or mixture 'demoo'", "did you mean demo")


@case
def inspect_a_folder_that_is_not_there(world: World) -> CommandAndNamed:
    return ["inspect", "my_data/demo"], ("my_data/demo: cannot be read (No such file",)


@case
def generate_from_an_empty_file(world: World) -> CommandAndNamed:
    gold, empty = world.write("gold.conll", GOOD), world.write("new.txt", "")
    command = ["generate", "--from", "lm", "--sentences", empty, "--gold", gold, "--number", "5"]
    return [*command, "--output", world.path("pool")], ("new.txt: holds no sentences",)


@case
def label_from_tags_of_other_labels(world: World) -> CommandAndNamed:
    files = world.write("gold.conll", GOOD), world.write("labels.txt", "city\n")
    command = ["label", "--from", "tags", "--input", files[0], "--labels", files[1]]
    return [*command, "--output", world.path("store")], ("gold.conll:4", "'B-date_time' of word 2")


@case
def inspect_a_bucket(world: World) -> CommandAndNamed:
    return ["inspect", "gs://b/in.txt"], ("gs://b/in.txt: a bucket",)


@case
def inspect_under_no_vocabulary(world: World) -> CommandAndNamed:
    data = world.write("data.conll", GOOD)
    return ["inspect", data, "--vocabulary", world.path("gone")], ("gone: no such vocabulary",)


@case
def inspect_to_a_directory(world: World) -> CommandAndNamed:
    data = world.write("data.conll", GOOD)
    (world.folder / "taken").mkdir()
    return ["inspect", data, "--json", world.path("taken")], ("taken: is a directory",)


@case
def inspect_onto_the_data(world: World) -> CommandAndNamed:
    data = world.write("data.conll", GOOD)
    return ["inspect", data, "--json", data], ("--json", "is one of the files to inspect")


# ---- label -------------------------------------------------------------------------------------


def label(world: World, *more: str, output: str = "labels") -> list[str]:
    return ["label", "--model", world.model(), "--output", world.path(output), *more]


@case
def label_nothing(world: World) -> CommandAndNamed:
    return label(world), ("--input", "--task")


@case
def label_both(world: World) -> CommandAndNamed:
    return label(world, "--input", "x", "--task", "demo"), ("either",)


@case
def label_an_empty_file(world: World) -> CommandAndNamed:
    return label(world, "--input", world.write("in.txt", "\n\n")), ("no sentences to label",)


@case
def label_one_file_of_two_missing(world: World) -> CommandAndNamed:
    data = world.write("in.txt", "to berlin\n")
    return label(world, "--input", data, world.path("gone.txt")), ("gone.txt: cannot be read",)


@case
def label_in_shards_of_nothing(world: World) -> CommandAndNamed:
    data = world.write("in.txt", "to berlin\n")
    return label(world, "--input", data, "--shard_size", "0"), ("--shard_size",)


@case
def label_into_other_files(world: World) -> CommandAndNamed:
    data = world.write("in.txt", "to berlin\n")
    world.write("labels/notes.txt", "mine")
    return label(world, "--input", data), ("not empty and not a label store",)


@case
def label_into_a_file(world: World) -> CommandAndNamed:
    data = world.write("in.txt", "to berlin\n")
    world.write("labels", "mine")
    return label(world, "--input", data), ("labels",)


@case
def label_an_unknown_task(world: World) -> CommandAndNamed:
    return label(world, "--task", "demoo"), ("no task or mixture 'demoo'", "did you mean demo")


@case
def label_an_unknown_split(world: World) -> CommandAndNamed:
    return label(world, "--task", "demo"), ("no split 'silver'", "train, valid, test")


@case
def label_by_a_decoder_without_posteriors(world: World) -> CommandAndNamed:
    data = world.write("in.txt", "to berlin\n")
    command = [*label(world, "--input", data), "--decoder", "greedy"]
    return command, ("teacher-label store needs posteriors", "greedy computes none")


# ---- import ------------------------------------------------------------------------------------


def import_(world: World, src: Path | str, *more: str, labels: str = "city\nday\n") -> list[str]:
    file = world.write("labels.txt", labels)
    return ["import", "--from", "hf", "--labels", file, str(src), world.path("dst"), *more]


@case
def import_nothing(world: World) -> CommandAndNamed:
    return import_(world, world.path("gone")), ("gone: no such directory",)


@case
def import_duplicate_label_texts(world: World) -> CommandAndNamed:
    labels = "from_city\nto_city\tfrom city\n"
    return import_(world, world.checkpoint(), labels=labels), ("labels.txt:2", "same text")


@case
def import_an_empty_label_text(world: World) -> CommandAndNamed:
    return import_(world, world.checkpoint(), labels="city\nday\t\n"), ("labels.txt:2", "empty")


@case
def import_a_label_text_of_no_tokens(world: World) -> CommandAndNamed:
    labels = "city\nday\t\u200b\u200b\n"  # zero-width spaces
    return import_(world, world.checkpoint(), labels=labels), ("label 'day'", "to nothing")


@case
def import_a_label_text_that_is_a_sentinel(world: World) -> CommandAndNamed:
    labels = "city\nday\t<extra_id_7>\n"
    return import_(world, world.checkpoint(), labels=labels), ("label 'day'", "sentinel")


@case
def import_label_texts_of_the_same_tokens(world: World) -> CommandAndNamed:
    labels = "city\ntown\t\uff43\uff49\uff54\uff59\n"  # `city` in full-width letters
    return import_(world, world.checkpoint(), labels=labels), ("'city' and 'town'", "same tokens")


@case
def import_without_labels(world: World) -> CommandAndNamed:
    return import_(world, world.checkpoint(), labels=""), ("labels.txt:1", "empty")


@case
def import_a_truncated_checkpoint(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    with open(src / "model.safetensors", "r+b") as file:
        file.truncate(2000)
    return import_(world, src), ("model.safetensors", "truncated")


@case
def import_what_is_no_checkpoint(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    (src / "model.safetensors").write_bytes(b"not weights at all, but long enough")
    return import_(world, src), ("model.safetensors",)


@case
def import_a_checkpoint_of_other_sizes(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    fields = json.loads((src / "config.json").read_text())
    (src / "config.json").write_text(json.dumps({**fields, "d_ff": 9}))
    return import_(world, src), ("model.safetensors", "shape")


@case
def import_another_architecture(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    fields = json.loads((src / "config.json").read_text())
    (src / "config.json").write_text(json.dumps({**fields, "model_type": "gpt2"}))
    return import_(world, src), ("config.json", "gpt2")


@case
def import_with_a_missing_shard(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    (src / "model.safetensors").unlink()
    shard = "model-00001-of-00002.safetensors"
    index = {"metadata": {}, "weight_map": {"shared.weight": shard}}
    (src / "model.safetensors.index.json").write_text(json.dumps(index))
    return import_(world, src), (shard, "missing", "download")


@case
def import_pickles(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    (src / "model.safetensors").rename(src / "pytorch_model.bin")
    return import_(world, src), ("pytorch_model.bin", "only safetensors")


@case
def import_a_vocabulary_that_does_not_fit(world: World) -> CommandAndNamed:
    return import_(world, world.checkpoint(vocab_size=64)), ("only 64", "vocabulary")


@case
def import_without_vocabulary(world: World) -> CommandAndNamed:
    src = world.checkpoint()
    for path in src.glob("*"):
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    return import_(world, src), ("no vocabulary",)


@case
def import_a_missing_vocabulary(world: World) -> CommandAndNamed:
    return import_(world, world.checkpoint(), "--vocabulary", world.path("v.model")), ("v.model",)


@case
def import_onto_something_else(world: World) -> CommandAndNamed:
    world.write("dst/notes.txt", "mine")
    return import_(world, world.checkpoint()), ("dst: exists", "not replaced")


# ---- train -------------------------------------------------------------------------------------

TASKS = iter(range(1000))


def train(world: World, *more: str, gin_file: str = "gin/runs/distil_gold.gin") -> list[str]:
    macros = {"MODEL_DIR": world.path("run"), "MIXTURE_OR_TASK_NAME": "demo"}
    given = [f"--gin.{name}={value!r}" for name, value in macros.items()]
    few = ["--gin.TRAIN_SPLIT='train'", "--gin.EVAL_SPLIT='valid'", "--gin.TRAIN_STEPS=1"]
    return ["train", f"--gin_file={gin_file}", *given, *few, *more]


def train_on(world: World, *more: str, **files: str) -> list[str]:
    """Training on a folder of these files; SeqIO keeps names, so each has its own."""
    name = f"badset{next(TASKS)}"
    files = {"train": GOOD, "valid": GOOD} | files
    for file, content in files.items():
        suffix = "txt" if file == "labels" else "conll"
        world.write(f"data/{name}/{file}.{suffix}", content)
    data_dir = f"--gin.DATA_DIR={world.path('data')!r}"
    return train(world, data_dir, f"--gin.MIXTURE_OR_TASK_NAME={name!r}", *more)


@case
def train_nothing(world: World) -> CommandAndNamed:
    return ["train"], ("--gin_file",)


@case
def train_an_unknown_gin_file(world: World) -> CommandAndNamed:
    return train(world, gin_file="gin/runs/nope.gin"), ("gin/runs/nope.gin", "no such Gin file")


@case
def train_an_unknown_include(world: World) -> CommandAndNamed:
    file = world.write("mine.gin", "include 'nope.gin'\n")
    return train(world, gin_file=file), ("mine.gin", "nope.gin")


@case
def train_a_malformed_gin_file(world: World) -> CommandAndNamed:
    file = world.write("mine.gin", "include 'gin/runs/distil.gin'\n\nBATCH_SIZE = = 3\n")
    return train(world, gin_file=file), ("mine.gin", "line 3")


@case
def train_an_unknown_parameter(world: World) -> CommandAndNamed:
    return train(world, "--gin.BiLSTMStudent.nope=3"), ("BiLSTMStudent.nope=3", "parameter")


@case
def train_an_unknown_configurable(world: World) -> CommandAndNamed:
    return train(world, "--gin.trane.steps=3"), ("trane.steps=3", "No configurable")


@case
def train_an_unknown_reference(world: World) -> CommandAndNamed:
    return train(world, "--gin.Training.optimizer=@nope()"), ("@nope",)


@case
def train_an_unknown_macro(world: World) -> CommandAndNamed:
    return train(world, "--gin.TRAIN_STEPZ=3"), ("TRAIN_STEPZ", "did you mean TRAIN_STEPS")


@case
def train_an_undefined_macro(world: World) -> CommandAndNamed:
    return train(world, "--gin.Training.seed=%NOPE"), ("%NOPE", "defined nowhere")


@case
def train_without_model_dir(world: World) -> CommandAndNamed:
    command = ["train", "--gin_file=gin/runs/distil_gold.gin", "--gin.MIXTURE_OR_TASK_NAME='demo'"]
    return command, ("MODEL_DIR is required", "--gin.MODEL_DIR=")


@case
def train_without_the_teachers_labels(world: World) -> CommandAndNamed:
    command = train(world, gin_file="gin/runs/distil.gin")
    return command, ("TEACHER_LABELS is required", "--gin.TEACHER_LABELS=")


@case
def train_to_profile_what_is_not_done(world: World) -> CommandAndNamed:
    return train(world, "--profile_steps=1:2"), ("profile_steps is 1:2", "ends with step 1;")


@case
def train_without_task(world: World) -> CommandAndNamed:
    model_dir = f"--gin.MODEL_DIR={world.path('run')!r}"
    command = ["train", "--gin_file=gin/runs/distil_gold.gin", model_dir]
    return command, ("MIXTURE_OR_TASK_NAME is required",)


@case
def train_without_job(world: World) -> CommandAndNamed:
    return ["train", f"--gin_file={world.write('mine.gin', '')}"], ("`run`", "job")


@case
def train_an_unknown_task(world: World) -> CommandAndNamed:
    command = train(world, "--gin.MIXTURE_OR_TASK_NAME='demoo'")
    return command, ("no task or mixture 'demoo'", "did you mean demo")


@case
def train_an_unknown_split(world: World) -> CommandAndNamed:
    return train(world, "--gin.TRAIN_SPLIT='gold'"), ("'demo' has no split 'gold'",)


@case
def train_an_unknown_task_module(world: World) -> CommandAndNamed:
    command = train(world, "--gin.MIXTURE_OR_TASK_MODULES=('my_tazks',)")
    return command, ("'my_tazks' cannot be imported",)


@case
def train_without_data_dir(world: World) -> CommandAndNamed:
    return train(world, "--gin.MIXTURE_OR_TASK_NAME='snips'"), ("'snips'", "DISTILL_JAX_DATA")


@case
def train_from_a_missing_data_dir(world: World) -> CommandAndNamed:
    data_dir = f"--gin.DATA_DIR={world.path('gone')!r}"
    command = train(world, "--gin.MIXTURE_OR_TASK_NAME='snips'", data_dir)
    return command, ("gone: no such folder",)


@case
def train_on_a_malformed_line(world: World) -> CommandAndNamed:
    return train_on(world, train=GOOD + "x\tY\n"), ("train.conll:8: tag 'Y'",)


@case
def train_on_ragged_columns(world: World) -> CommandAndNamed:
    return train_on(world, train=GOOD + "x\n"), ("train.conll:8: only one column",)


@case
def train_on_tags_outside_the_label_file(world: World) -> CommandAndNamed:
    command = train_on(world, labels="city\n")
    return command, ("sentence 2", "'B-date_time'", "label set")


@case
def train_on_duplicate_label_texts(world: World) -> CommandAndNamed:
    command = train_on(world, labels="city\ndate_time\tcity\n")
    return command, ("labels.txt:2", "same text")


@case
def train_on_an_empty_label_text(world: World) -> CommandAndNamed:
    return train_on(world, labels="city\t\ndate_time\n"), ("labels.txt:1", "empty")


@case
def train_with_texts_of_unknown_labels(world: World) -> CommandAndNamed:
    command = train_on(world, "--gin.LABEL_TEXTS={'town': 'city'}")
    return command, ("LABEL_TEXTS", "'town'", "no label of the tasks (city, date_time")


@case
def train_with_the_same_text_twice(world: World) -> CommandAndNamed:
    command = train_on(world, "--gin.LABEL_TEXTS={'date_time': 'city'}")
    return command, ("LABEL_TEXTS", "same text")


@case
def train_with_a_missing_file_of_texts(world: World) -> CommandAndNamed:
    command = train_on(world, f"--gin.LABEL_TEXTS={world.path('gone.txt')!r}")
    return command, ("gone.txt: cannot read the label file",)


def train_t5(world: World, *more: str) -> list[str]:
    checkpoint = f"--gin.INITIAL_CHECKPOINT_PATH={str(world.checkpoint())!r}"
    command = train_on(world, checkpoint, *more)
    labels = "--gin.TEACHER_LABELS=None"
    return [command[0], "--gin_file=gin/runs/distil_t5.gin", labels, *command[2:]]


@case
def train_a_label_text_of_no_tokens(world: World) -> CommandAndNamed:
    command = train_t5(world, "--gin.LABEL_TEXTS={'city': '\u200b'}")
    return command, ("label 'city'", "to nothing")


@case
def train_a_label_text_that_is_a_sentinel(world: World) -> CommandAndNamed:
    command = train_t5(world, "--gin.LABEL_TEXTS={'city': '<extra_id_0>'}")
    return command, ("label 'city'", "sentinel")


@case
def train_label_texts_of_the_same_tokens(world: World) -> CommandAndNamed:
    command = train_t5(world, "--gin.LABEL_TEXTS={'city': 'I\u200b'}")
    return command, ("'I' and 'city'", "same tokens")


@case
def train_on_an_empty_file(world: World) -> CommandAndNamed:
    command = train_on(world, train="", labels="city\ndate_time\n")
    return command, ("training set is empty",)


@case
def train_on_an_empty_file_without_labels(world: World) -> CommandAndNamed:
    return train_on(world, train="", valid=""), ("no sentence has a labelled span",)


@case
def train_with_an_empty_dev_split(world: World) -> CommandAndNamed:
    return train_on(world, valid="\n"), ("dev split is empty",)


@case
def train_on_too_few_sentences(world: World) -> CommandAndNamed:
    *command, name = train_on(world)
    few_shot = name.removesuffix("'") + "_gold100_dev50_seed0'"
    splits = ["--gin.TRAIN_SPLIT='gold'", "--gin.EVAL_SPLIT='dev'"]
    return [*command, few_shot, *splits], ("2 different ones",)


@case
def train_from_missing_labels(world: World) -> CommandAndNamed:
    command = train_on(world, f"--gin.TEACHER_LABELS={world.path('gone')!r}")
    return command, ("gone/store.json: cannot be read", "`label`")


@case
def train_with_missing_vectors(world: World) -> CommandAndNamed:
    command = train_on(world, f"--gin.EMBEDDING_FILE={world.path('gone.txt')!r}")
    return command, ("gone.txt: cannot be read",)


@case
def train_with_ragged_vectors(world: World) -> CommandAndNamed:
    path = world.write("ragged.txt", "a 1 2\nb 1\n")
    return train_on(world, f"--gin.EMBEDDING_FILE={path!r}", "--gin.BiLSTMConfig.word_dim=2"), (
        "ragged.txt:2: expected a word and 2 numbers, found 1",
    )


@case
def train_with_words_of_no_vectors(world: World) -> CommandAndNamed:
    return train_on(world, "--gin.EMBEDDING_WORDS=-1"), ("EMBEDDING_WORDS is -1",)


@case
def train_a_batch_that_does_not_divide(world: World) -> CommandAndNamed:
    return train_on(world, "--gin.BATCH_SIZE=3"), ("BATCH_SIZE 3", "multiple of 8")


@case
def train_below_a_file(world: World) -> CommandAndNamed:
    model_dir = world.write("file", "x") + "/run"
    return train_on(world, f"--gin.MODEL_DIR={model_dir!r}"), (
        "file",
        "directory",
        "check the path",
    )


@case
def train_from_a_missing_checkpoint(world: World) -> CommandAndNamed:
    command = train_on(world, f"--gin.INITIAL_CHECKPOINT_PATH={world.path('gone')!r}")
    file = ["--gin_file=gin/runs/distil_t5.gin", "--gin.TEACHER_LABELS=None"]
    return [command[0], *file, *command[2:]], ("gone: no such directory",)


@case
def train_a_t5_from_nothing(world: World) -> CommandAndNamed:
    command = train_on(world)
    file = ["--gin_file=gin/runs/distil_t5.gin", "--gin.TEACHER_LABELS=None"]
    return [command[0], *file, *command[2:]], ("INITIAL_CHECKPOINT_PATH",)


@case
def demo_into_a_file(world: World) -> CommandAndNamed:
    return ["demo", "--out", world.write("file", "x")], ("file", "irectory")


@case
def train_into_a_bucket(world: World) -> CommandAndNamed:
    command = train_on(world)
    model_dir = "--gin.MODEL_DIR='gs://my-bucket/run'"
    return [*command, model_dir], ("MODEL_DIR gs://my-bucket/run: a bucket", "docs/scale.md")


@case
def predict_with_a_model_in_a_bucket(world: World) -> CommandAndNamed:
    return predict(world, model="gs://b/model"), ("--model gs://b/model: a bucket", "mount it")


@case
def predict_into_a_bucket(world: World) -> CommandAndNamed:
    return predict(world, output="s3://b/out.jsonl"), ("--output s3://b/out.jsonl: a bucket",)


@case
def label_from_a_bucket(world: World) -> CommandAndNamed:
    pool = world.write("in.txt", "to berlin\n")
    command = ["label", "--model", world.model(), "--output", world.path("labels")]
    return [*command, "--input", pool, "gs://b/in.txt"], ("--input gs://b/in.txt: a bucket",)


@case
def label_with_a_dtype_for_a_bilstm(world: World) -> CommandAndNamed:
    pool = world.write("in.txt", "to berlin\n")
    command = ["label", "--model", world.model(), "--output", world.path("labels")]
    return [*command, "--input", pool, "--dtype", "bfloat16"], ("dtype", "BiLSTM", "leave it out")


@case
def evaluate_into_a_bucket(world: World) -> CommandAndNamed:
    command = ["evaluate", "--model", world.model(), "--data", world.write("gold.conll", GOOD)]
    return [*command, "--html", "gs://b/page.html"], ("--html gs://b/page.html: a bucket",)


@case
def demo_into_a_bucket(world: World) -> CommandAndNamed:
    del world
    return ["demo", "--out", "gs://b/demo"], ("--out gs://b/demo: a bucket",)


# ---- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_bad_input(world: World, capfd: pytest.CaptureFixture[str], name: str) -> None:
    command, named = CASES[name](world)
    before = snapshot(world.folder)
    capfd.readouterr()
    code = main(command)
    found = capfd.readouterr()
    assert code == 2
    [line] = found.err.splitlines()
    assert line.startswith("distill-jax: error: ")
    for text in named:
        assert text in line
    assert "Traceback" not in found.out
    after = snapshot(world.folder)
    # A split that was prepared before something else went wrong is whole, and used again.
    assert {path: content for path, content in after.items() if "prepared/" not in path} == before
    assert not [path for path in after if ".tmp" in path]
    assert not Path("gs:").exists() and not Path("s3:").exists()


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
