"""Whether a directory looks like that of a model, said without importing anything heavy."""

from pathlib import Path

from distill_jax.errors import UserError

TAGGER = "tagger.json"
_PROGRAM = "model.stablehlo"


def check_model_directory(directory: Path) -> None:
    """Raises `UserError`, with what to give instead, if a directory has no `tagger.json` or is a program."""
    if (directory / _PROGRAM).is_file():
        raise UserError(
            f"{directory}: a model exported to StableHLO, which programs of your own run; give the model "
            "directory that it was made of, or one that `export --to onnx` wrote"
        )
    if (directory / TAGGER).is_file():
        return
    if (directory / "model" / TAGGER).is_file():
        raise UserError(
            f"{directory}: the directory of a run, not of a model; give {directory / 'model'}"
        )
    reason = f"it has no {TAGGER}" if directory.exists() else "there is nothing of this name"
    raise UserError(
        f"{directory}: not a model directory ({reason}); give one that training, "
        "`distill-jax demo` or `distill-jax import` wrote"
    )
