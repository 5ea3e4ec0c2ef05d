"""Sets of TensorFlow Datasets: `conll2003`, and `wikiann_LANGUAGE` (or `wikiann/LANGUAGE`).

Several languages as one task are `wikiann_en.sw.yo`.

They are downloaded by TFDS when first prepared.
"""

from distill_jax.data.seqio_tasks import (
    TfdsSource,
    add_resolver,
    canonical_name,
    register_tagging_task,
)
from distill_jax.data.seqio_unions import register_union

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
    chosen = name.removeprefix(_WIKIANN).split(".")
    if not set(chosen) <= set(languages):
        return False
    if len(chosen) > 1:
        register_union(name, [_WIKIANN + language for language in chosen])
    else:
        register_tagging_task(name, source=TfdsSource(f"wikiann/{languages[chosen[0]]}:1.0.0"))
    return True


add_resolver(_register_wikiann, lambda: [f"{_WIKIANN}en"])
