"""Merging the tags of windows, into which long sentences are split (`distill_jax_runtime.windows`).

The seam rule: merged tag ids may have an `I` after an `O` where two windows disagree, since
neither saw the other's decision. `merge_tags` then gives that word the label with which the owning
window opened the span, so that the part of the span behind the seam is kept; if that window opened
none, the `I`s become `O`. (Merged posteriors need no rule: decode them with
`distill_jax_runtime.legal`.)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distill_jax_runtime.windows import Window, merge_windows, owned_ranges, windows

__all__ = ["Window", "merge_tags", "merge_windows", "owned_ranges", "windows"]

_O, _I = 0, 1  # the first two tags of every sBIO tag set


def merge_tags(
    windows: Sequence[Window], per_window: Sequence[npt.NDArray[np.integer]]
) -> npt.NDArray[np.int32]:
    """Merges legal sBIO tag ids (O = 0, I = 1) by the seam rule above; the result is legal.

    Args:
        windows: as `windows` returned them.
        per_window: for each window its tag ids, int[words of the window].

    Returns:
        int32[words of the sentence].

    Raises:
        ValueError: as `merge_windows`.
    """
    merged = merge_windows(windows, per_window).astype(np.int32)
    for window, own, tags in zip(windows, owned_ranges(windows), per_window, strict=True):
        at = own.start
        if at == own.end or merged[at] != _I or (at > 0 and merged[at - 1] != _O):
            continue
        opening = at - window.start
        while opening >= 0 and tags[opening] == _I:
            opening -= 1
        if opening >= 0 and tags[opening] != _O:
            merged[at] = tags[opening]
            continue
        while at < own.end and merged[at] == _I:
            merged[at] = _O
            at += 1
    return merged
