"""`distill-jax export --to hf`: a model directory becomes one that transformers loads, and nothing else.

That of a T5 or a BERT has the weights as transformers has them already; what it needs besides is how its
tokenizer is loaded, and a card that says how the model is used there.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.files import atomic_directory, write_json
from distill_jax.interop.hf.encoder import write_token_classifier
from distill_jax.interop.hf.files import CONFIG
from distill_jax.kinds.base import Model
from distill_jax.kinds.registry import kind_of
from distill_jax.model_dir.directory import load_model, open_model
from distill_jax.vocab.added_tokens import TOKENIZER_CONFIG

LABELS = "labels.txt"
_README = "README.md"


def export_hf(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Writes what transformers loads by `AutoModelForTokenClassification` (a T5: `AutoModelForSeq2SeqLM`).

    Beside `config.json`, `model.safetensors` (float32) and the tokenizer's files there are the labels and a
    model card; `distill-jax import --from hf` reads that of a T5 or a BERT again.

    Args:
        src: the model directory of a T5, a BERT or an encoder tagger.
        dst: to be made; whole or not at all.

    Raises:
        UserError: in one line; `dst` is there already, `src` is no model, or of a kind that has no
            architecture in transformers.
    """
    src, dst = Path(src), Path(dst).absolute()
    if dst.exists():
        raise UserError(f"{dst}: is there already; name a directory that is not, or remove it")
    model, _ = open_model(src)
    kind = kind_of(model.config).name
    if kind not in _WRITERS:
        raise UserError(
            f"{src}: a {kind} has no architecture in transformers; kinds that have one: "
            f"{', '.join(_WRITERS)}. --to onnx takes a bilstm"
        )
    write, use = _WRITERS[kind]
    with atomic_directory(dst) as temporary:
        write(src, temporary, model)
        model.vocabulary.save(temporary)
        max_tokens = getattr(model.config, "max_tokens", None)
        write_json(temporary / TOKENIZER_CONFIG, model.vocabulary.transformers_config(max_tokens))
        model.labels.save(temporary / LABELS)
        card = (src / _README).read_text("utf-8") if (src / _README).is_file() else ""
        text = f"{card.partition('## Use')[0]}## Use\n\n{use}"
        (temporary / _README).write_text(text, "utf-8")


def _copy(src: Path, dst: Path, model: Model) -> None:
    """What is as it has to be; weights maybe in several files."""
    for path in (src / CONFIG, *src.glob("model*.safetensors*")):
        shutil.copyfile(path, dst / path.name)


def _encoder(src: Path, dst: Path, model: Model) -> None:
    loaded = load_model(src)
    write_token_classifier(dst, loaded.config, loaded.params, loaded.labels.tags)


_CLASSIFIER = """A token classifier for transformers:

```python
from transformers import AutoModelForTokenClassification, AutoTokenizer

model = AutoModelForTokenClassification.from_pretrained("this/directory")
tokenizer = AutoTokenizer.from_pretrained("this/directory")
```

A word's tag is that of its first subword (`word_ids()` of the tokenizer's output, with
`is_split_into_words=True`). Tags are sBIO: a span's first word has the label, the others `I`. The classifier
alone may give an `I` that follows no span; distill_jax tags with the most probable legal sequence.
"""
_GENERATOR = """A T5 for transformers:

```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = AutoModelForSeq2SeqLM.from_pretrained("this/directory")
tokenizer = AutoTokenizer.from_pretrained("this/directory")
```

It reads `<extra_id_0> play <extra_id_1> jazz <extra_id_2>`, each word tokenised by itself, and writes a tag
in place of each word. `generate` may write what is no tag; SenTScore of distill_jax cannot.
"""
_WRITERS: dict[str, tuple[Callable[[Path, Path, Model], None], str]] = {
    "bert": (_copy, _CLASSIFIER),
    "encoder": (_encoder, _CLASSIFIER),
    "t5": (_copy, _GENERATOR),
}
"""By the names of kinds: what writes the model, and what the card says of its use."""
