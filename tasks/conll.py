"""Folders of files below the data directory, each a task of the folder's name.

The data directory is given by argument (`--data_dir`) or by the environment variable
DISTILL_JAX_DATA. A set is a folder `NAME/` with a file for each split, such as `train.conll`,
`valid.conll` and `test.conll` (`distill_jax.data.folders` has the other names), or a folder that the
library `datasets` saved. It may hold besides `labels.txt`, one `name` or `name<TAB>text` a line, if the
labels are not to be those that occur in its files, sorted.

Where a set has no validation split, some of its training sentences are held out as one: a fifth, at most
500, drawn with seed 0 (of MIT Restaurant as many as the literature takes). A folder of folders is a set of
several languages (`languages`).

The sets named below are registered whether they are there or not; any other folder when it is asked
for.

Unlabelled text, `text/NAME.txt` with a sentence a line, is the task `NAME_text`: its last 1,000
lines are the split `valid`, all others `train`. Where there is no such file but a folder `NAME/`, the
task `NAME_text` has that set's sentences without their tags.
"""

import functools
import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from distill_jax.data.folders import (
    READING_FILE,
    SPLITS,
    files_of_split,
    language_folders,
    looked_for,
    read_split,
    split_candidates,
    split_file,
)
from distill_jax.data.locations import DATA_VARIABLE, data_dir
from distill_jax.data.readers import read_sentences
from distill_jax.data.seqio_tasks import (
    add_resolver,
    canonical_name,
    register_tagging_task,
    register_text_task,
)
from distill_jax.data.subsets import carve_validation, validation_size
from distill_jax.data.task_names import DATA_SETS, TEXTS
from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence

CARVED = {"mit_restaurant": 815}
"""Sentences taken from the training split where a set has no validation split.

The literature splits MIT Restaurant into 6,845 and 815 but not which; ours are drawn with seed 0.
"""

_LABELS_FILE = "labels.txt"
_TEXT_FOLDER, _TEXT_SUFFIX = "text", "_text"
_VALID_LINES = 1_000
_CARVING_SEED = 0
_logger = logging.getLogger(__name__)


def _root(name: str) -> Path:
    root = data_dir()
    if root is None:
        raise UserError(
            f"task {name!r} reads files: set the data directory by --data_dir or {DATA_VARIABLE}"
        )
    return root


def _folder(name: str) -> Path:
    """The folder of a task; `my-data/` is the task `my_data`."""
    root = _root(name)
    if not (root / name).is_dir() and root.is_dir():
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and canonical_name(folder.name) == name:
                return folder
    return root / name


def _existing_file(name: str, split: str) -> Path:
    folder = _folder(name)
    path = split_file(folder, split)
    if path is None:
        raise UserError(
            f"{folder / (split + '.conll')}: there is no such file; put the {split} split of "
            f"task {name!r} there ({looked_for(split)}), or set another data directory by --data_dir "
            f"or {DATA_VARIABLE}"
        )
    return path


def _is_carved(name: str) -> bool:
    return split_file(_folder(name), "valid") is None


def _sentences(name: str, split: str) -> Iterable[Sentence]:
    if split in ("train", "valid") and _is_carved(name):
        sentences = list(read_split(_existing_file(name, "train")))
        size = CARVED.get(name, validation_size(len(sentences)))
        train, valid = carve_validation(sentences, size, _CARVING_SEED)
        if split == "valid":
            _logger.warning(
                "task %r has no valid split: %d of its %d training sentences are held out as one (seed %d)",
                name,
                size,
                len(sentences),
                _CARVING_SEED,
            )
        return train if split == "train" else valid
    return read_split(_existing_file(name, split))


def _labels(name: str) -> LabelSet:
    path = _folder(name) / _LABELS_FILE
    if path.exists():
        return LabelSet.load(path)
    # Of all splits: a label set belongs to a task, and test splits have labels that train lacks.
    return LabelSet.from_sentences(
        itertools.chain.from_iterable(map(read_split, _split_files(name)))
    )


def _split_files(name: str) -> list[Path]:
    """The files of a set; there is always a training split."""
    _existing_file(name, "train")
    paths = (split_file(_folder(name), split) for split in SPLITS)
    return [path for path in paths if path is not None]


def _files(name: str, split: str) -> list[Path]:
    """What a split and its label set are made from."""
    if not (split == "valid" and _is_carved(name)):
        _existing_file(name, split)
    others = (_folder(name) / file for file in (_LABELS_FILE, READING_FILE))
    files = itertools.chain.from_iterable(map(files_of_split, _split_files(name)))
    return [*files, *(path for path in others if path.exists())]


def _splits(name: str) -> tuple[str, ...]:
    """The splits of a set that is there; a validation split it has in any case."""
    folder = _folder(name)
    return tuple(s for s in SPLITS if s == "valid" or split_file(folder, s) is not None)


def _register_folder(name: str, splits: tuple[str, ...] = SPLITS) -> None:
    register_tagging_task(
        name,
        source=functools.partial(_sentences, name),
        splits=splits,
        labels=functools.partial(_labels, name),
        files=functools.partial(_files, name),
    )


def _text_file(name: str) -> Path:
    return _root(name) / _TEXT_FOLDER / f"{name.removesuffix(_TEXT_SUFFIX)}.txt"


def _text_sentences(name: str, split: str) -> Iterator[Sentence]:
    """All lines but the last ones for `train`, the last ones for `valid`; blank ones left out."""
    path = _text_file(name)
    held_back: deque[Sentence] = deque()
    for sentence in read_sentences(path, format="text"):
        if not sentence.words:
            continue
        held_back.append(sentence)
        if len(held_back) > _VALID_LINES:
            first = held_back.popleft()
            if split == "train":
                yield first
    if len(held_back) < _VALID_LINES:
        raise UserError(
            f"{path}: only {len(held_back)} lines of text, and the last {_VALID_LINES} are the "
            "valid split; give more text"
        )
    if split == "valid":
        yield from held_back


def _register_text(name: str) -> None:
    register_text_task(
        name,
        functools.partial(_text_sentences, name),
        splits=("train", "valid"),
        files=lambda split: [_text_file(name)],
    )


def _register_untagged(name: str, tagged: str) -> None:
    """A folder's sentences as text."""
    register_text_task(
        name,
        functools.partial(_sentences, tagged),
        splits=_splits(tagged),
        files=functools.partial(_files, tagged),
    )


def _resolve(name: str) -> bool:
    if data_dir() is None:
        return False
    if split_file(_folder(name), "train") is not None:
        _register_folder(name, _splits(name))
        return True
    if name.endswith(_TEXT_SUFFIX) and _text_file(name).is_file():
        _register_text(name)
        return True
    tagged = name.removesuffix(_TEXT_SUFFIX)
    if tagged != name and split_file(_folder(tagged), "train") is not None:
        _register_untagged(name, tagged)
        return True
    folder = _folder(name)
    if folder.is_dir() and folder.name != _TEXT_FOLDER and not language_folders(folder):
        raise UserError(
            f"{folder}: there is such a folder, but no training split in it for a task {name!r}; "
            f"{looked_for('train')}"
        )
    return False


def _names() -> list[str]:
    root = data_dir()
    if root is None or not root.is_dir():
        return []
    folders = [f.name for f in root.iterdir() if f.is_dir() and split_candidates(f, "train")]
    texts = [f"{f.stem}{_TEXT_SUFFIX}" for f in (root / _TEXT_FOLDER).glob("*.txt")]
    return sorted(map(canonical_name, folders + texts))


for _name in DATA_SETS:
    _register_folder(_name)
for _name in TEXTS:
    _register_text(_name)
add_resolver(_resolve, _names)
