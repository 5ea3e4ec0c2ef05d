"""Names of tasks that this package has itself, known without SeqIO: to say at once where there is none."""

import difflib
import os
from pathlib import Path

from distill_jax.data.locations import DATA_VARIABLE, check_local
from distill_jax.data.subsets import parse_few_shot_name
from distill_jax.errors import UserError

DATA_SETS = ("snips", "atis", "mit_restaurant", "crossner_politics", "crossner_science", "sgd")
TEXTS = ("dialogue_text",)
WITHOUT_FILES = ("demo", "conll2003")
_FAMILIES = ("wikiann_",)
_TEXT = "_text"


def check_task_name(name: str, data_dir: str | None, prepared: Path) -> None:
    """Refuses a name that no task of this package can have; with modules of the user's do not call it.

    Args:
        name: of a task, few-shot patterns included.
        data_dir: the folder of the user's data sets; None: that of the environment.
        prepared: where prepared data are kept, which need no task.

    Raises:
        UserError: there is no such task, or no such `data_dir`.
    """
    canonical = name.replace("/", "_").replace("-", "_")
    if (prepared / canonical).is_dir() or next(prepared.glob(f"{canonical}.*"), None):
        return
    few_shot = parse_few_shot_name(canonical)
    base = canonical if few_shot is None else few_shot[0]
    if base in WITHOUT_FILES or base.startswith(_FAMILIES):
        return
    given = data_dir or os.environ.get(DATA_VARIABLE)
    check_local(given, "DATA_DIR")
    folders: list[str] = []
    if given is not None:
        root = Path(given).expanduser()
        if not root.is_dir():
            raise UserError(
                f"DATA_DIR {given}: no such folder; give the one that holds the data sets' folders"
            )
        folders = sorted(path.name.replace("-", "_") for path in root.iterdir() if path.is_dir())
        folders += [f"{path.stem}{_TEXT}" for path in sorted(root.glob("text/*.txt"))]
    if base in folders or base.removesuffix(_TEXT) in folders:
        return
    if any(base.startswith(f"{folder}_") for folder in folders):
        return  # of a set of several languages, perhaps
    if base in (*DATA_SETS, *TEXTS):
        return  # whoever reads it says which file it looked for
    known = sorted({*folders, *WITHOUT_FILES, *DATA_SETS} - {"text"})
    near = difflib.get_close_matches(base, known, n=4, cutoff=0.4)
    where = "; its folder is looked for in DATA_DIR, which is not given" if given is None else ""
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise UserError(f"there is no task or mixture {name!r}; {hint}{where}")
