"""Checks an installed distill_jax as a user without SeqIO and TensorFlow has it; not a pytest file.

`.ci/run` calls it with `python -I`, from a folder outside the checkout, in an environment that
holds the wheel and the core requirements only. It compares what is installed with the checkout it
lies in, then saves, loads and runs a tiny random model of each kind.
"""

import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ABSENT = (
    "seqio",
    "spacy",
    "tensorflow",
    "tensorflow_datasets",
    "tensorflow_text",
    "tokenizers",
    "torch",
    "transformers",
)


def check(condition: bool, message: str) -> None:
    """Stops with a message unless the condition holds; unlike `assert`, also under `python -O`."""
    if not condition:
        sys.exit(f"check_installed: {message}")


def check_environment() -> None:
    """The optional libraries are really not there, and the package is not the checkout's."""
    present = [name for name in ABSENT if importlib.util.find_spec(name) is not None]
    check(not present, f"must not be importable here: {', '.join(present)}")

    import distill_jax

    package = Path(distill_jax.__file__).resolve().parent
    check(CHECKOUT not in package.parents, f"{package} is the checkout, not an installation")
    version = importlib.metadata.version("distill_jax")
    check(distill_jax.__version__ == version, f"{distill_jax.__version__} is not {version}")


def check_files() -> None:
    """Every module, template, page, task and Gin file of the checkout is installed, and nothing else."""
    import distill_jax

    package = Path(distill_jax.__file__).resolve().parent
    wanted = {
        *(path.relative_to(CHECKOUT / "distill_jax") for path in _files("distill_jax", "*.py")),
        *(
            path.relative_to(CHECKOUT / "distill_jax")
            for folder in ("report/templates", "serve/page")
            for path in _files(f"distill_jax/{folder}", "*")
        ),
        *(path.relative_to(CHECKOUT) for path in _files("tasks", "*.py")),
        *(path.relative_to(CHECKOUT) for path in _files("gin", "*.gin")),
    }
    installed = {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    for what, paths in (("missing", wanted - installed), ("unexpected", installed - wanted)):
        check(not paths, f"{what} in {package}: {', '.join(sorted(map(str, paths)))}")
    check(importlib.util.find_spec("distill_jax.tasks") is not None, "distill_jax.tasks not found")
    runtime = importlib.util.find_spec("distill_jax_runtime")
    check(runtime is not None and runtime.origin is not None, "distill_jax_runtime not found")
    folder = Path(runtime.origin).parent
    lacking = [path.name for path in _files("runtime", "*.py") if not (folder / path.name).exists()]
    factories = importlib.metadata.entry_points(group="spacy_factories", name="distill_jax")
    check(bool(factories), "spaCy would not find the component: no entry point spacy_factories")
    check(not lacking, f"missing in {folder}: {', '.join(lacking)}")


def _files(folder: str, pattern: str) -> list[Path]:
    found = (CHECKOUT / folder).rglob(pattern)
    files = [path for path in found if path.is_file() and path.suffix != ".pyc"]
    check(bool(files), f"the checkout has no {folder}/**/{pattern}")
    return files


def check_console_script() -> None:
    """`distill-jax --help` and `python -m distill_jax --help` work."""
    script = Path(sys.executable).with_name("distill-jax")
    for command in ([str(script)], [sys.executable, "-I", "-m", "distill_jax"]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True)
        check(done.returncode == 0, f"{command} --help failed:\n{done.stderr}")
        check("predict" in done.stdout, f"{command} --help does not list predict")


def check_prediction() -> None:
    """A tiny random model of each kind is saved, loaded by `Tagger` and tags embedded sentences."""
    import jax

    from distill_jax import Tagger
    from distill_jax.data import demo
    from distill_jax.kinds.base import Model
    from distill_jax.model_dir.directory import save_model
    from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
    from distill_jax.models.t5 import T5
    from distill_jax.models.t5_config import T5Config
    from distill_jax.vocab import ByteVocabulary, WordVocabulary

    sentences = [list(sentence.words) for sentence in demo.generate("train", 3)]

    words = WordVocabulary.build(sentences)
    bilstm = BiLSTMConfig(
        num_words=words.num_words,
        num_chars=words.num_chars,
        num_tags=demo.LABELS.num_tags,
        word_dim=8,
        char_dim=4,
        char_hidden=4,
        hidden=8,
    )
    letters = ByteVocabulary()
    t5 = T5Config(
        vocab_size=letters.size,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_heads=2,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    key = jax.random.key(0)
    models = {
        "bilstm": (bilstm, words, BiLSTMTagger(bilstm).initial(key)),
        "t5": (t5, letters, T5(t5).initial(key)),
    }
    for name, (config, vocabulary, params) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / name
            save_model(directory, Model(config, params, vocabulary, demo.LABELS))
            predictions = Tagger.load(directory).predict(sentences)
        check(len(predictions) == len(sentences), f"{name}: {len(predictions)} predictions")


def main() -> None:
    """Runs all checks, the cheap ones first."""
    for step in (check_environment, check_files, check_console_script, check_prediction):
        step()
        print(f"{step.__name__}: ok", flush=True)


if __name__ == "__main__":
    main()
