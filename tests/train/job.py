"""One process of a job that trains the toy: `python -m tests.train.job JSON`.

The JSON object holds `directory`; `mesh`; `processes`, `process` and `port` of a job of several;
`steps` in all, `save` steps between checkpoints and `pause` seconds that a batch takes to make;
`rates` and `lengths`, the learning rate and the steps in all of each process, where they differ;
`lost_at`, the step in whose evaluation the first process is lost, once the checkpoint before it is
whole. A process may only make its own rows.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from distill_jax.parallel import processes
from distill_jax.parallel.mesh import Placement
from distill_jax.train.feed import RowBatches
from distill_jax.train.optimizers import AdamW
from distill_jax.train.same_run import Origin
from distill_jax.train.training import Schedule
from tests.train.toy import BATCH, kill, make_batch, run, score, training


def main(options: dict[str, Any]) -> None:
    many = options.get("processes", 1) > 1
    if many:
        processes.initialize(
            f"127.0.0.1:{options['port']}",
            options["processes"],
            options["process"],
            start_seconds=options.get("start_seconds", 60),
            heartbeat_seconds=10,
        )
    own = BATCH // options.get("processes", 1)
    first = own * options.get("process", 0)

    def row(number: int) -> dict[str, np.ndarray]:
        if not first <= number % BATCH < first + own:
            raise AssertionError(f"row {number} is another process's")
        if number % BATCH == first:
            time.sleep(options.get("pause", 0))
        return {name: array[number % BATCH] for name, array in make_batch(number // BATCH).items()}

    directory = Path(options["directory"])

    def evaluate(params: Any) -> dict[str, float]:
        if "lost_at" in options:
            while not (directory / f"checkpoints/latest/{options['lost_at']}").exists():
                time.sleep(0.05)
            kill()
        return score(params)

    steps, rate = options.get("steps", 12), 0.05
    if "rates" in options:
        rate = options["rates"][options["process"]]
    if "lengths" in options:
        steps = options["lengths"][options["process"]]
    changes: dict[str, Any] = {
        "schedule": Schedule(steps, 4, options.get("save", 3), 1),
        "optimizer": AdamW(learning_rate=rate),
        "placement": Placement(**options["mesh"]),
    }
    with processes.ends_together():
        outcome = run(
            directory,
            evaluate,
            data=RowBatches(grain.MapDataset.range(BATCH * 10_000).map(row), BATCH),
            origin=Origin({"training": training(directory, **changes)}),
            **changes,
        )
        if processes.is_first():
            leaves = jax.tree_util.tree_leaves_with_path(outcome.params)
            arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
            np.savez(directory / "params.npz", **arrays)
        else:
            assert outcome.params is None
        print(json.dumps({"steps": outcome.steps, "best_step": outcome.best_step}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
