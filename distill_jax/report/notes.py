"""What must be known to read the figures of an evaluation, in sentences."""

from collections.abc import Mapping
from typing import Any


def unknown_labels_note(result: Mapping[str, Any]) -> str | None:
    """What is said where gold spans have labels that the model does not have; None where none has.

    Args:
        result: as `evaluate --json` writes it.
    """
    unknown = result.get("unknown_labels")
    if not unknown:
        return None
    labels = ", ".join(f"{label} {count:,}" for label, count in unknown.items())
    note = f"gold spans of labels that the model does not have ({labels}) count as missed"
    if "ece" in result:
        note += (
            f", and their words ({result['words_left_out']:,}) are left out of ece, brier and nll"
        )
    return note
