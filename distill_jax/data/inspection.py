"""What data hold, before anything is trained on them: `inspect_sources` reads files or task splits.

Formats, schemes and repairs as the readers report them; counts; sentences that occur twice, within a
source and across sources; labels that one source alone has; and, under a vocabulary, what will not
fit or cannot be spelt.
"""

import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_jax.data.folders import SPLITS, looked_for, read_located_split, split_file
from distill_jax.data.readers import (
    Located,
    ReadOptions,
    ReadReport,
    Remark,
    collected_reports,
    is_table,
    read_located,
    splits_of,
)
from distill_jax.data.readers.report import LEFT_OUT, LOSS, REPAIR
from distill_jax.errors import UserError
from distill_jax.vocab.base import Vocabulary
from distill_jax.vocab.loading import load_vocabulary
from distill_jax_runtime.spans import spans_from_iob2
from distill_jax_runtime.windows import SEQUENCE_OVERHEAD, WORD_OVERHEAD

MAX_TOKENS = 512
"""The input tokens of one pass that a tagger allows unless it is told otherwise."""

_MOST_EXAMPLES = 10
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class DataSource:
    """A name for people, and what reads the sentences."""

    name: str
    sentences: Callable[[], Iterable[Located]]


@dataclass
class Longest:
    """The longest of something: how long, on which line, and itself if it is a word."""

    length: int = 0
    line: int = 0
    text: str = ""

    def offer(self, length: int, line: int, text: str = "") -> None:
        """Keeps what is offered if it is longer."""
        if length > self.length:
            shown = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
            self.length, self.line, self.text = length, line, shown


@dataclass
class Fit:
    """How sentences fit a vocabulary and one pass of a tagger.

    Attributes:
        windows: sentences too long for one pass.
        too_long: words that alone exceed `max_tokens`.
        unspelt: how often a word occurs that the vocabulary writes with its unknown token or not at
            all.
        unspelt_words: how often each of them does.
        longest: the longest sentence in input tokens.
    """

    windows: int = 0
    too_long: int = 0
    unspelt: int = 0
    unspelt_words: Counter[str] = field(default_factory=Counter)
    longest: Longest = field(default_factory=Longest)

    def to_json(self) -> dict[str, Any]:
        """As `distill-jax inspect --json` writes it."""
        examples = self.unspelt_words.most_common(_MOST_EXAMPLES)
        return {
            "sentences_in_windows": self.windows,
            "words_over_the_limit": self.too_long,
            "unspelt": self.unspelt,
            "unspelt_distinct": len(self.unspelt_words),
            "unspelt_examples": [word for word, _ in examples],
            "longest_sentence": {"tokens": self.longest.length, "line": self.longest.line},
        }


@dataclass
class SourceInspection:
    """What one file or split holds.

    Attributes:
        format, layout, scheme: as the readers report them; None or empty where sentences do not
            come from files.
        empty: sentences without words (blank lines of JSON lines or text).
        tagged: sentences with tags.
        labels: how many spans each label has.
        duplicates: sentences with words that occur before in this source.
        digests: of the distinct sentences' words.
    """

    name: str
    format: str | None = None
    layout: str = ""
    scheme: str | None = None
    sentences: int = 0
    words: int = 0
    empty: int = 0
    tagged: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    remarks: list[Remark] = field(default_factory=list)
    duplicates: int = 0
    longest_sentence: Longest = field(default_factory=Longest)
    longest_word: Longest = field(default_factory=Longest)
    fit: Fit | None = None
    digests: set[bytes] = field(default_factory=set, repr=False)

    def to_json(self) -> dict[str, Any]:
        """As `distill-jax inspect --json` writes it."""
        longest_word = self.longest_word
        return {
            "name": self.name,
            "format": self.format,
            "layout": self.layout,
            "scheme": self.scheme,
            "sentences": self.sentences,
            "words": self.words,
            "empty_sentences": self.empty,
            "tagged_sentences": self.tagged,
            "labels": dict(self.labels.most_common()),
            "repairs": self._remarks(REPAIR, LOSS),
            "left_out": self._remarks(LEFT_OUT),
            "duplicates": self.duplicates,
            "longest_sentence": {
                "words": self.longest_sentence.length,
                "line": self.longest_sentence.line,
            },
            "longest_word": {
                "characters": longest_word.length,
                "word": longest_word.text,
                "line": longest_word.line,
            },
            "vocabulary": None if self.fit is None else self.fit.to_json(),
        }

    def _remarks(self, *kinds: str) -> list[dict[str, Any]]:
        return [remark.to_json() for remark in self.remarks if remark.kind in kinds]


@dataclass(frozen=True)
class Overlap:
    """Distinct sentences of `second` whose words occur in `first`."""

    first: str
    second: str
    sentences: int


@dataclass
class Inspection:
    """What several sources hold, each and together."""

    sources: list[SourceInspection]
    overlaps: list[Overlap]
    labels_in_one_source: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Totals under the names that a single source has, and `files`."""
        files = [source.to_json() for source in self.sources]
        labels: Counter[str] = Counter()
        for source in self.sources:
            labels.update(source.labels)
        longest = max(files, key=lambda file: file["longest_sentence"]["words"])
        longest_word = max(files, key=lambda file: file["longest_word"]["characters"])
        counts = ("sentences", "words", "empty_sentences", "tagged_sentences", "duplicates")
        return {
            "format": _common(source.format for source in self.sources),
            "scheme": _common(source.scheme for source in self.sources),
            **{name: sum(file[name] for file in files) for name in counts},
            "labels": dict(labels.most_common()),
            "repairs": [{"file": f["name"], **one} for f in files for one in f["repairs"]],
            "left_out": [{"file": f["name"], **one} for f in files for one in f["left_out"]],
            "duplicates_across": [vars(overlap) for overlap in self.overlaps],
            "labels_in_one_file": self.labels_in_one_source,
            "longest_sentence": {"file": longest["name"], **longest["longest_sentence"]},
            "longest_word": {"file": longest_word["name"], **longest_word["longest_word"]},
            "vocabulary": None if self.sources[0].fit is None else self._fit(),
            "files": files,
        }

    def _fit(self) -> dict[str, Any]:
        fits = [source.fit.to_json() for source in self.sources if source.fit is not None]
        names = ("sentences_in_windows", "words_over_the_limit", "unspelt")
        return {name: sum(fit[name] for fit in fits) for name in names}


def inspect_sources(
    sources: Sequence[DataSource],
    *,
    vocabulary: Vocabulary | None = None,
    max_tokens: int = MAX_TOKENS,
) -> Inspection:
    """Reads every source once and tells what they hold.

    Args:
        sources: at least one.
        vocabulary: if sentences are to be measured in its tokens.
        max_tokens: the input tokens of one pass.

    Raises:
        UserError: as the readers do; no sources.
    """
    if not sources:
        raise UserError("there is nothing to inspect; name a file or a task")
    lengths = None if vocabulary is None else _Lengths(vocabulary, max_tokens)
    inspected = [_inspect(source, lengths) for source in sources]
    overlaps = [
        Overlap(first.name, second.name, len(first.digests & second.digests))
        for first, second in itertools.combinations(inspected, 2)
    ]
    tagged = [source for source in inspected if source.tagged]
    alone: dict[str, str] = {}
    if len(tagged) > 1:
        for label in sorted(set().union(*(source.labels for source in tagged))):
            having = [source.name for source in tagged if label in source.labels]
            if len(having) == 1:
                alone[label] = having[0]
    return Inspection(inspected, [one for one in overlaps if one.sentences], alone)


def file_sources(path: str, options: ReadOptions) -> list[DataSource]:
    """A file, or the splits of a folder that the library `datasets` saved."""
    paths = [path]
    if path != "-" and Path(path).is_dir() and is_table(path):
        splits = [name for name in splits_of(Path(path)) if name]
        paths = [str(Path(path) / name) for name in splits] or paths
    return [DataSource(one, functools.partial(read_located, one, options=options)) for one in paths]


def folder_sources(folder: Path, options: ReadOptions) -> list[DataSource]:
    """The splits of a folder with a file for each. Raises `UserError` if it has none."""
    files = [split_file(folder, split) for split in SPLITS]
    sources = [
        DataSource(
            f"{path.parent.name}/{path.name}", functools.partial(read_located_split, path, options)
        )
        for path in files
        if path is not None
    ]
    if not sources:
        raise UserError(
            f"{folder}: a folder with no split in it; {looked_for(*SPLITS)}; or name the files"
        )
    return sources


def task_sources(task: str) -> list[DataSource]:
    """The splits of a SeqIO task, or of the tasks of a mixture."""
    from distill_jax.data.seqio_lookup import read_task, task_parts, task_splits

    def located(name: str, split: str) -> Iterator[Located]:
        return (Located(number, one) for number, one in enumerate(read_task(name, split), 1))

    return [
        DataSource(f"{name}/{split}", functools.partial(located, name, split))
        for name, _ in task_parts(task)
        for split in task_splits(name)
    ]


def load_inspection_vocabulary(path: str) -> Vocabulary:
    """A vocabulary with sentinels. Raises `UserError` naming it if it is none."""
    vocabulary = load_vocabulary(path)
    if vocabulary.num_sentinels < 2:
        raise UserError(
            f"{path}: has {vocabulary.num_sentinels} sentinels <extra_id_n>, and a sentence of L words "
            "needs L + 1; give a T5 vocabulary"
        )
    return vocabulary


def _common(values: Iterable[str | None]) -> str | None:
    """One value if all agree, else the different ones, joined."""
    distinct = dict.fromkeys(value for value in values if value is not None)
    return ", ".join(distinct) or None


class _Lengths:
    """Input tokens of words under a vocabulary, remembered."""

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.max_words = vocabulary.num_sentinels - 1
        self._vocabulary = vocabulary
        self.of = functools.lru_cache(maxsize=1 << 18)(self._of)

    def _of(self, word: str) -> tuple[int, bool]:
        """How many tokens a word takes, and whether all of it can be spelt."""
        ids = self._vocabulary.encode(word)
        return max(len(ids), 1), bool(ids) and self._vocabulary.unk_id not in ids


def _inspect(source: DataSource, lengths: _Lengths | None) -> SourceInspection:
    result = SourceInspection(source.name, fit=None if lengths is None else Fit())
    with collected_reports() as reports:
        for line, sentence, _ in source.sentences():
            words = sentence.words
            result.sentences += 1
            result.words += len(words)
            if sentence.tags is not None:
                result.tagged += 1
                result.labels.update(span.label for span in spans_from_iob2(sentence.tags))
            if not words:
                result.empty += 1
                continue
            joined = "\x1f".join(words).encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(joined, digest_size=16).digest()
            if digest in result.digests:
                result.duplicates += 1
            result.digests.add(digest)
            result.longest_sentence.offer(len(words), line)
            longest = max(words, key=len)
            result.longest_word.offer(len(longest), line, longest)
            if lengths is not None and result.fit is not None:
                _measure(words, line, lengths, result.fit)
    _add_reports(result, reports)
    return result


def _measure(words: Sequence[str], line: int, lengths: _Lengths, fit: Fit) -> None:
    tokens = SEQUENCE_OVERHEAD
    for word in words:
        length, is_spelt = lengths.of(word)
        tokens += length + WORD_OVERHEAD
        fit.too_long += length + WORD_OVERHEAD + SEQUENCE_OVERHEAD > lengths.max_tokens
        if not is_spelt:
            fit.unspelt += 1
            fit.unspelt_words[word] += 1
    fit.windows += len(words) > lengths.max_words or tokens > lengths.max_tokens
    fit.longest.offer(tokens, line)


def _add_reports(result: SourceInspection, reports: Sequence[ReadReport]) -> None:
    """What the files that were read for a source were recognised as."""
    result.format = _common(report.format for report in reports)
    result.scheme = _common(report.scheme for report in reports)
    result.layout = _common(report.layout for report in reports) or ""
    merged: dict[str, Remark] = {}
    for report in reports:
        for remark in report.of_kind(LOSS, REPAIR, LEFT_OUT):
            total = merged.setdefault(remark.name, Remark(remark.name))
            total.count += remark.count
            total.lines += remark.lines if len(reports) == 1 else []
    result.remarks = list(merged.values())
