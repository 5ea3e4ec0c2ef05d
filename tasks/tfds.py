"""Sets of TensorFlow Datasets: `conll2003`, and `wikiann_LANGUAGE` (or `wikiann/LANGUAGE`).

They are downloaded by TFDS when first prepared.
"""

from distill_jax.data.seqio_tasks import (
    TfdsSource,
    add_resolver,
    canonical_name,
    register_tagging_task,
)

_WIKIANN = "wikiann_"

register_tagging_task(
    "conll2003",
    source=TfdsSource(
        "conll2003:1.0.0",
        tags="ner",
        splits={"train": "train", "valid": "dev", "test": "test"},
    ),
)


def _register_wikiann(name: str) -> bool:
    if not name.startswith(_WIKIANN):
        return False
    from tensorflow_datasets.text.wikiann.wikiann import LANGS

    languages = {canonical_name(language): language for language in LANGS}
    language = languages.get(name.removeprefix(_WIKIANN))
    if language is None:
        return False
    register_tagging_task(name, source=TfdsSource(f"wikiann/{language}:1.0.0"))
    return True


add_resolver(_register_wikiann, lambda: [f"{_WIKIANN}en"])
