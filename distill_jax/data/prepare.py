"""Runs a SeqIO task or mixture once and keeps the result as prepared data.

Under the directory given, a split of a task lies in `TASK/SPLIT/` (see `prepared.py`), shared by
all mixtures that contain the task, and `MIXTURE/SPLIT.parts.json` lists the parts of a mixture with
their rates. What is there is used again without importing SeqIO or TensorFlow, unless a file it was
prepared from has changed, or the code that defines tasks has (where SeqIO is not installed, changed
code is passed over: that machine only trains).
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_jax.data.locations import data_dir as current_data_dir
from distill_jax.data.locations import set_data_dir
from distill_jax.data.prepared import MANIFEST, PreparedDataset
from distill_jax.errors import UserError
from distill_jax.files import read_json_object, sha256_file, sha256_json, write_json
from distill_jax.modules import find_modules_here, import_own

TASK_MODULES = ("distill_jax.tasks",)
_PARTS_SUFFIX = ".parts.json"


@dataclass(frozen=True)
class PreparedPart:
    """One task of a mixture: its mixing rate and its sentences."""

    task: str
    rate: float
    dataset: PreparedDataset


def prepare(
    name: str,
    split: str,
    directory: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    modules: Sequence[str] = TASK_MODULES,
) -> list[PreparedPart]:
    """The prepared sentences of a task (one part) or mixture (a part for each of its tasks).

    Args:
      name: a task or mixture, few-shot patterns included (`snips_gold100_dev50_seed0`).
      split: the split; tasks of a mixture that lack it are left out, as SeqIO does.
      directory: where prepared data is kept, for any number of tasks.
      data_dir: the folder of the user's data sets; None: that of `DISTILL_JAX_DATA`.
      modules: Python modules that register tasks when imported.

    Raises:
      UserError: an unknown task (listing near matches) or split, malformed data, a damaged
        directory, or no SeqIO installed though something has to be prepared.
    """
    if data_dir is not None:
        set_data_dir(data_dir)
    root = Path(directory)
    definitions = definitions_hash(modules)
    ready = _find(name, split, root, definitions)
    return ready if ready is not None else _prepare(name, split, root, modules, definitions)


def load_task_modules(modules: Sequence[str]) -> None:
    """Imports the modules that register tasks. Raises `UserError` as `import_own` does."""
    for module in modules:
        import_own(module, "task module")


def definitions_hash(modules: Sequence[str] = TASK_MODULES) -> str:
    """SHA-256 (hex) over the source of the task modules, of `distill_jax.data`, and of what makes words."""
    find_modules_here()
    files: dict[str, str] = {}
    for module in (*modules, "distill_jax.data", "distill_jax_runtime.text"):
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            continue  # reported when something has to be imported
        if spec is None:
            continue
        folders = [Path(location) for location in spec.submodule_search_locations or ()]
        paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
        if not folders and spec.origin is not None:
            paths = [Path(spec.origin)]
        files |= {f"{module}/{path.name}": sha256_file(path) for path in paths if path.is_file()}
    return sha256_json(files)


def _find(name: str, split: str, root: Path, definitions: str) -> list[PreparedPart] | None:
    """What is there already; None if something is missing or out of date."""
    parts = [(_folder(name), 1.0)]
    listing = root / _folder(name) / f"{split}{_PARTS_SUFFIX}"
    must_match = importlib.util.find_spec("seqio") is not None
    if listing.exists():
        made_from, parts = _read_parts(listing)
        if must_match and made_from != definitions:
            return None
    prepared: list[PreparedPart] = []
    for task, rate in parts:
        if not (root / task / split / MANIFEST).exists():
            return None
        dataset = PreparedDataset.open(root / task / split)
        made_from = dataset.manifest["definitions_sha256"]
        if (must_match and made_from != definitions) or dataset.sources_changed(current_data_dir()):
            return None
        prepared.append(PreparedPart(task, rate, dataset))
    return prepared


def _read_parts(listing: Path) -> tuple[str, list[tuple[str, float]]]:
    remedy = "delete the file and prepare the data again"
    content = read_json_object(listing, remedy)
    try:
        parts = [(str(part["task"]), float(part["rate"])) for part in content["parts"]]
        return str(content["definitions_sha256"]), parts
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{listing}: malformed; {remedy}") from None


def _prepare(
    name: str, split: str, root: Path, modules: Sequence[str], definitions: str
) -> list[PreparedPart]:
    from distill_jax.data import seqio_lookup
    from distill_jax.data.seqio_import import import_seqio

    import_seqio()
    load_task_modules(modules)
    name = seqio_lookup.resolve(name)
    parts = seqio_lookup.task_parts(name)
    is_mixture = [task for task, _ in parts] != [name]
    if is_mixture:
        parts = [(task, rate) for task, rate in parts if split in seqio_lookup.task_splits(task)]
        if not parts:
            raise UserError(f"no task of the mixture {name!r} has a split {split!r}")
    prepared: list[PreparedPart] = []
    for task, rate in parts:
        ready = _find(task, split, root, definitions)
        if ready is None:
            seqio_lookup.check_split(task, split)
            dataset = PreparedDataset.write(
                root / task / split,
                seqio_lookup.read_task(task, split),
                seqio_lookup.task_labels(task),
                task=task,
                split=split,
                sources=seqio_lookup.task_files(task, split),
                definitions=definitions,
            )
        else:
            dataset = ready[0].dataset
        prepared.append(PreparedPart(task, rate, dataset))
    if is_mixture:
        listing = {
            "definitions_sha256": definitions,
            "parts": [{"task": part.task, "rate": part.rate} for part in prepared],
        }
        write_json(root / name / f"{split}{_PARTS_SUFFIX}", listing)
    return prepared


def _folder(name: str) -> str:
    return name.replace("/", "_").replace("-", "_")
