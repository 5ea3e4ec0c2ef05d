"""From the files of an export to what scores words: graphs, and the vocabulary of words or of subwords."""

from collections.abc import Mapping
from pathlib import Path

from distill_jax_runtime.directory import MODEL_FILE, SPELLING_FILE, Settings
from distill_jax_runtime.errors import UserError
from distill_jax_runtime.graphs import Words, WordScores, open_graph
from distill_jax_runtime.scores import Scores
from distill_jax_runtime.word_ids import WordLookup


def open_scores(
    directory: Path, settings: Settings, batch_size: int, threads: int, mapped: bool
) -> Scores:
    """Opens the graphs of an export; arguments are those of `Tagger.load`.

    Raises `UserError` in one line, if onnxruntime or the vocabulary's library refuses a file, or the parts
    do not belong together.
    """
    if settings.reads == "subwords":
        from distill_jax_runtime.subword_scores import SubwordScores
        from distill_jax_runtime.subword_vocabulary import ExportedSubwords

        subwords = ExportedSubwords(directory)
        graph = open_graph(directory / MODEL_FILE, threads, mapped=mapped)
        there = {"num_tags": len(settings.tags)}
        _check_sizes(directory, there, graph.get_modelmeta().custom_metadata_map)
        return SubwordScores(subwords, graph, batch_size)
    vocabulary = WordLookup.load(directory)
    spelling = open_graph(directory / SPELLING_FILE, threads, mapped=mapped)
    graph = open_graph(directory / MODEL_FILE, threads, mapped=mapped)
    there = {
        "num_words": vocabulary.num_words,
        "num_frozen_words": vocabulary.num_frozen_words,
        "num_chars": vocabulary.num_chars,
        "num_tags": len(settings.tags),
    }
    _check_sizes(directory, there, graph.get_modelmeta().custom_metadata_map)
    return WordScores(Words(vocabulary, spelling, settings.max_chars), graph)


def _check_sizes(directory: Path, there: Mapping[str, int], sizes: Mapping[str, str]) -> None:
    for name, size in there.items():
        if sizes.get(name) != str(size):
            raise UserError(
                f"{directory}: {name} is {size} in the vocabulary or tagger.json and {sizes.get(name)} "
                "in the model; they are of different models, so export again"
            )
