"""The training loop: dispatch a step, read the one before, evaluate, checkpoint, stop early.

With several processes all of them run it. Each loads its own rows of the batches; the first alone
logs, and evaluates, for which the parameters are brought together on its host.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
from jax.sharding import Mesh

from distill_jax.parallel import processes
from distill_jax.parallel.mesh import batch_sharding, check_batch_size
from distill_jax.signals import check_stopped
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.feed import Batches, Feed
from distill_jax.train.objective import Objective
from distill_jax.train.preemption import EXIT_PREEMPTED, Interrupted, Preempted, PreemptionWatch
from distill_jax.train.profiling import StepProfile
from distill_jax.train.reporting import RunLog, joined
from distill_jax.train.same_run import (
    NO_ORIGIN,
    Origin,
    alone_in,
    steps_notes,
    version_notes,
    versions,
)
from distill_jax.train.selection import Evaluate, Outcome, Selection
from distill_jax.train.state import abstract_frozen, abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step
from distill_jax.train.timed_step import TimedStep
from distill_jax.train.training import Schedule, Training
from distill_jax.train.window import MetricsWindow


def fit(
    objective: Objective,
    batches: Batches,
    evaluate: Evaluate,
    training: Training,
    *,
    initial_params: Callable[[], Any] | None = None,
    frozen: Any = None,
    origin: Origin = NO_ORIGIN,
) -> Outcome:
    """Trains, or goes on where a run in `model_dir` stopped; returns the parameters best on dev.

    Batch s of `batches` is the data of step s, so that data position is the step number. A run that
    goes on ends bit for bit as if it had never stopped; one that had finished is not trained
    further. On SIGTERM it saves a checkpoint and raises `Preempted`, which ends Python with code 143;
    an evaluation that is under way is given up, and done again by the run that goes on.

    Args:
        objective: what is minimised.
        batches: the data.
        evaluate: dev metrics of parameters.
        training: where, how long and by which optimizer.
        initial_params: gives arrays to start from, asked only where the run starts; None draws them
        from the seed.
        frozen: host arrays of the objective's frozen parameters, placed on the mesh by the
            teacher's rules, in no checkpoint.
        origin: what the run is and reads: it goes on with the same alone, and all processes must
        have the same.

    Raises:
        UserError: the loss or its gradient is not finite, naming step and batch; the settings
            or an input are not those that the run was started with; another process is at it;
            no checkpoint in `model_dir` is sound, or they are of another model or optimizer.
    """
    schedule = training.schedule
    place = training.placement.place()
    mesh = place.mesh
    assert mesh is not None, "a placement makes a mesh"
    optimizer = training.optimizer.make()
    check_batch_size(training.batch_size, mesh, accumulate=training.accumulate, rules=place.rules)
    directory = Path(training.model_dir)
    places = abstract_state(objective, optimizer, mesh, place.rules)
    start = time.monotonic()
    origin.agree_among_processes()
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone_in(directory))
        watch = stack.enter_context(PreemptionWatch())
        checkpoints = stack.enter_context(RunCheckpoints(directory / "checkpoints"))
        selection, window_before, seconds_before, evaluated = Selection(), None, 0.0, 0
        notes: list[str] = []
        if checkpoints.latest_step() is None:
            initial = None if initial_params is None else initial_params()
            state = create_state(objective, optimizer, mesh, training.seed, initial, place.rules)
        else:
            saved = checkpoints.facts() or {}
            where = str(directory / "checkpoints")
            origin.check_same(saved.get("origin"), where)
            state, run = checkpoints.restore(places)
            selection, seconds_before = Selection(**run["selection"]), run["seconds"]
            window_before = run.get("window")
            evaluated = run.get("evaluated", int(state.step))
            notes = checkpoints.notes + version_notes(run.get("versions", {}))
            notes += steps_notes(run.get("train_steps"), schedule.train_steps, int(state.step))
        done = first = int(state.step)
        stopped = selection.stop(schedule.patience)

        log = stack.enter_context(
            RunLog(
                directory,
                first_step=first,
                evaluated=evaluated,
                writes=processes.is_first(),
                verbose=schedule.verbose,
            )
        )
        for note in notes:
            log.say(note)
        opening = _opening_line(state.params, first, schedule, stopped, directory)
        for line in joined([origin.about, opening]):
            log.say(line)
        if selection.best_step:
            log.best(selection.best_step, selection.best)
        if not stopped and first < schedule.train_steps:
            log.working("compiling", "compiling")
        feed = stack.enter_context(
            contextlib.closing(
                Feed(batches, first, schedule.train_steps, batch_sharding(mesh, place.rules))
            )
        )
        frozen_shardings = None
        if frozen is not None:
            frozen_shardings = shardings_of(abstract_frozen(objective, place))
            frozen = jax.tree.map(jax.device_put, frozen, frozen_shardings)
        compiled = compile_step(
            objective,
            optimizer,
            place,
            shardings_of(places),
            accumulate=training.accumulate,
            frozen_shardings=frozen_shardings,
        )
        step_fn = TimedStep(compiled, frozen)
        window = MetricsWindow(log, training, mesh, feed, step_fn, window_before)
        profile = stack.enter_context(StepProfile(directory / "profile", schedule.profile_steps))
        key = jax.random.key(training.seed)

        def save() -> None:
            window.flush()
            checkpoints.save(
                state,
                {
                    "selection": dataclasses.asdict(selection),
                    "window": window.as_json(),
                    "seconds": seconds_before + time.monotonic() - start,
                    "evaluated": evaluated,
                    "train_steps": schedule.train_steps,
                    "origin": origin.to_json(),
                    "versions": versions(),
                },
            )

        def preempted() -> NoReturn:
            if done:
                save()
                checkpoints.wait()
            log.say(
                f"SIGTERM: stopped after step {done}, which is saved; the same command goes on from "
                f"there (exit code {EXIT_PREEMPTED})"
            )
            raise Preempted

        while True:
            last = done >= schedule.train_steps
            due = done % schedule.eval_period == 0 or done == schedule.train_steps
            to_save = done > first and (done % schedule.saves_every == 0 or last)
            if due and evaluated != done and not stopped:
                if to_save and processes.is_distributed():
                    # SIGTERM cannot end an evaluation of the first process alone, which may take
                    # longer than the time that is left then; a run that goes on evaluates again.
                    save()
                window.flush()
                try:
                    with window.paused(), watch.interruptible():
                        scores = _evaluate(evaluate, state.params, mesh)
                except Interrupted:
                    preempted()
                evaluated = done
                better = selection.update(done, scores)
                log.evaluated(done, scores, better=better)
                if better:
                    checkpoints.save_best(done, state.params, {"metrics": scores, "step": done})
                stopped = selection.stop(schedule.patience)
            if to_save or (done > first and stopped):
                save()
            if stopped and not last and done > first:
                log.say(f"no better dev score in {schedule.patience} evaluations: stopping")
            if last or stopped:
                break
            if watch.reached(done):
                preempted()
            check_stopped()
            profile.before(done + 1)
            state, metrics = step_fn(state, next(feed), key)
            done += 1
            if profile.after(done, metrics):
                log.say(f"{profile} written")
            # Reads the metrics of steps already finished while this one runs.
            window.add(done, metrics)
        checkpoints.prune(selection.best_step)
        params = state.params
        best: dict[str, Any] = {"metrics": {}, "step": done}
        if selection.best_step:
            params, best = checkpoints.restore_best(selection.best_step, places.params)
        elif done:
            log.say("no dev score is a number to select by: these are the last step's parameters")
    return Outcome(
        params=processes.gathered(params, mesh),
        metrics=best["metrics"],
        best_step=best["step"],
        steps=done,
        seconds=seconds_before + time.monotonic() - start,
    )


def _evaluate(evaluate: Evaluate, params: Any, mesh: Mesh) -> dict[str, float]:
    """Dev scores, the same in all processes; of several only the first evaluates."""
    if not processes.is_distributed():
        return evaluate(params)
    host = processes.gathered(params, mesh)
    scores: dict[str, float] = processes.from_first("dev scores", lambda: evaluate(host))
    return scores


def _opening_line(
    params: Any, first: int, schedule: Schedule, stopped: bool, directory: Path
) -> str:
    count = f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"
    if first and (stopped or first >= schedule.train_steps):
        return f"{count}; already trained for {first} steps in {directory}"
    resumed = f", resumed from {directory}" if first else ""
    return f"{count}; steps {first} to {schedule.train_steps}{resumed}"
