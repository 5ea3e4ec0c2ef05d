"""SeqIO tasks, one module per family of data sets: importing this package registers them.

To add a data set of CoNLL files, put it into the data directory (see `conll.py`); for anything else
add a module here that calls `register_tagging_task`, and name it below. Installed, this package is
`distill_jax.tasks`; a module of your own elsewhere is registered by importing it.
"""

from . import conll, demo, languages, tfds

__all__ = ["conll", "demo", "languages", "tfds"]
