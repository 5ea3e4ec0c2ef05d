"""Many small models trained at once: one compiled program, its arrays stacked over the members.

A member is a model with its own seed, data and scalar settings (λ and τ of a distillation loss). The
program is the step of `train.loop`, mapped over a leading axis of members that is split over the
data-parallel devices of the mesh. Each member's random keys and data order are those of `fit` with
the same seed; its arrays are padded with zeros to the largest member's, which changes nothing as
padding is masked. What differs from `fit` is the order of floating-point sums.

Nothing is checkpointed: a group of small models trains in minutes, so whoever starts it again
trains it again.
"""

import contextlib
import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.parallel.mesh import batch_axes, batch_sharding
from distill_jax.signals import check_stopped
from distill_jax.train.feed import Feed
from distill_jax.train.objective import Batch, Objective, Sums
from distill_jax.train.selection import Outcome, Selection
from distill_jax.train.state import TrainState, state_initialiser
from distill_jax.train.step import apply_gradients, make_gradient
from distill_jax.train.training import Schedule

Settings = Mapping[str, Any]
"""Name → number, of each member in Python and traced in the program."""

EvaluateMany = Callable[[Any], Sequence[Mapping[str, float]]]
"""Stacked parameters → dev metrics of each member, as `train.selection.Evaluate` gives of one."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One of the models trained together; batch s of `batches` is the data of its step s.

    All members' batches hold the same arrays of the same types and ranks. `initial_params` are
    unboxed arrays, in shapes up to the program's; None draws them from the seed.
    """

    name: str
    seed: int
    batches: grain.MapDataset[Any]
    settings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    initial_params: Any = None


def members_on_mesh(count: int, mesh: Mesh) -> int:
    """The length of the member axis: `count`, rounded up so that it divides over the mesh."""
    parts = math.prod(mesh.shape[axis] for axis in batch_axes(mesh))
    return round_up(count, parts)


def map_members(
    function: Callable[..., Any], mesh: Mesh, *, at_once: int | None = None
) -> Callable[..., Any]:
    """Maps a function over the leading axis of all its arguments, which is split over the mesh.

    A device vectorises over `at_once` of its members, one such group after the other; None: one
    member on a CPU, whose caches hold one member's arrays but not many's, and all elsewhere.
    """
    if at_once is None and mesh.devices.flat[0].platform == "cpu":
        at_once = 1

    def on_device(*arguments: Any) -> Any:
        own = jax.tree.leaves(arguments)[0].shape[0]
        if at_once is None or own <= at_once:
            return jax.vmap(function)(*arguments)
        size = None if at_once == 1 else at_once
        return lax.map(lambda each: function(*each), arguments, batch_size=size)

    split = PartitionSpec(batch_axes(mesh))
    return jax.shard_map(on_device, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)


def make_steps(
    objective_of: Callable[[Settings], Objective],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    at_once: int | None = None,
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
    """The step of all members: (stacked states, batches, keys, settings) → (states, metric sums).

    The gradients are mapped as `map_members` says. The optimizer, which works number by number, takes
    all members of a device together: one after the other, their states would be copied out of the
    stack and back into it.
    """

    def gradient(
        params: Any, step: jax.Array, batch: Batch, key: jax.Array, settings: Settings
    ) -> tuple[Any, Sums]:
        return make_gradient(objective_of(settings))(params, batch, jax.random.fold_in(key, step))

    gradients_of = map_members(gradient, mesh, at_once=at_once)

    def steps(
        states: TrainState, batches: Batch, keys: jax.Array, settings: Settings
    ) -> tuple[TrainState, dict[str, Any]]:
        gradients, sums = gradients_of(states.params, states.step, batches, keys, settings)
        update = map_members(
            functools.partial(apply_gradients, optimizer), mesh, at_once=keys.shape[0]
        )
        return update(states, gradients, sums)

    return steps


def stack_padded(trees: Sequence[Any], count: int | None = None) -> Any:
    """Stacks trees of arrays, each padded with zeros at the end of its axes to the largest shape.

    With `count` the first tree is repeated until there are so many.
    """
    trees = [*trees, *[trees[0]] * ((count or len(trees)) - len(trees))]

    def stack(*leaves: Any) -> np.ndarray:
        shape = tuple(np.max([np.shape(leaf) for leaf in leaves], axis=0).astype(int))
        stacked = np.zeros((len(leaves), *shape), np.asarray(leaves[0]).dtype)
        for number, leaf in enumerate(leaves):
            leaf = np.asarray(leaf)
            place: Any = (number, *(slice(size) for size in leaf.shape))
            stacked[place] = leaf
        return stacked

    return jax.tree.map(stack, *trees)


def fit_many(
    objective_of: Callable[[Settings], Objective],
    members: Sequence[Member],
    evaluate: EvaluateMany,
    *,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    mesh: Mesh,
    at_once: int | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Trains all members and returns for each the parameters best on its dev data.

    Args:
        objective_of: the objective under settings that are traced scalars. Its model has room for
            every member: more rows of an embedding than a member uses stay as they were drawn.
        members: each is trained as by `fit` with its seed; one that its patience has stopped is
            trained on with the others and no longer looked at.
        evaluate: scores stacked parameters, as many as `members_on_mesh` (the surplus copies the
            first member), and gives at least one result a member.
        schedule: of all members; patience counts for each alone. `checkpoint_period` is not used.
        mesh: the members are split over its axes `data` and `fsdp`.
        at_once: see `map_members`.
        say: hears a line at every evaluation; None writes it to standard error.

    Raises `UserError` if a member's loss or gradient is not finite, naming it and the step.
    """
    if not members or schedule.train_steps < 1:
        raise ValueError("there must be members, and steps to train them for")
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    start = time.monotonic()
    count = members_on_mesh(len(members), mesh)
    everyone = [*members, *[members[0]] * (count - len(members))]
    sharding = batch_sharding(mesh)
    keys = jax.device_put(
        jax.vmap(jax.random.key)(np.array([member.seed for member in everyone])), sharding
    )
    settings = jax.device_put(
        {
            name: np.array([member.settings[name] for member in everyone], np.float32)
            for name in members[0].settings
        },
        sharding,
    )
    state = _create_states(objective_of, members, settings, keys, optimizer, sharding)

    step_fn = jax.jit(make_steps(objective_of, optimizer, mesh, at_once), donate_argnums=0)
    batches = grain.MapDataset.range(schedule.train_steps).map(
        lambda number: stack_padded([member.batches[number] for member in members], count)
    )
    tracks = [_Track() for _ in members]
    done, pending = 0, None
    with contextlib.closing(Feed(batches, 0, schedule.train_steps, sharding)) as feed:
        while done < schedule.train_steps and not all(t.stopped for t in tracks):
            check_stopped()
            state, metrics = step_fn(state, next(feed), keys, settings)
            if pending is not None:
                _check_finite(done, pending, members)  # a step late, while this one runs
            done, pending = done + 1, metrics
            last = done == schedule.train_steps
            if done % schedule.eval_period == 0 or last:
                _check_finite(done, pending, members)
                _evaluate(done, state.params, evaluate, tracks, schedule)
                scores = [track.selection.best for track in tracks]
                say(
                    f"step {done}/{schedule.train_steps}  {len(members)} members  loss "
                    f"{_mean_loss(pending, len(members)):.4f}  best dev {min(scores):.4f} to "
                    f"{max(scores):.4f}  {sum(t.stopped for t in tracks)} stopped  "
                    f"{time.monotonic() - start:.1f}s"
                )
    seconds = time.monotonic() - start
    return [
        Outcome(
            params=track.params,
            metrics=track.metrics,
            best_step=track.best_step,
            steps=track.steps,
            seconds=seconds,
        )
        for track in tracks
    ]


@dataclasses.dataclass
class _Track:
    """Model selection of one member."""

    selection: Selection = dataclasses.field(default_factory=Selection)
    params: Any = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best_step: int = 0
    steps: int = 0
    stopped: bool = False


def _evaluate(
    done: int, params: Any, evaluate: EvaluateMany, tracks: list[_Track], schedule: Schedule
) -> None:
    results = evaluate(params)
    on_host = None
    for number, track in enumerate(tracks):
        if track.stopped:
            continue
        track.steps = done
        better = track.selection.update(done, results[number])
        track.stopped = track.selection.stop(schedule.patience)
        if better:
            track.metrics = dict(results[number])
        # Where no score is a number to select by, the last step's parameters are kept, as by `fit`.
        last = track.stopped or done == schedule.train_steps
        if better or (last and not track.selection.best_step):
            on_host = jax.device_get(params) if on_host is None else on_host
            track.params, track.best_step = _member(on_host, number), done


def _member(params: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: np.array(leaf[number]), params)


def _create_states(
    objective_of: Callable[[Settings], Objective],
    members: Sequence[Member],
    settings: Settings,
    keys: jax.Array,
    optimizer: optax.GradientTransformation,
    sharding: Any,
) -> TrainState:
    def init(key: jax.Array, settings: Settings) -> TrainState:
        return nn.unbox(state_initialiser(objective_of(settings), optimizer)(key))

    given = [member.initial_params for member in members]
    if all(params is None for params in given):
        return jax.jit(jax.vmap(init), out_shardings=sharding)(keys, settings)
    if any(params is None for params in given):
        raise ValueError("either all members have initial parameters or none has")
    shapes = jax.eval_shape(jax.vmap(init), keys, settings)
    stacked = stack_padded(given, len(keys))
    params = jax.tree.map(
        lambda leaf, like: jax.device_put(
            np.pad(leaf, [(0, n - m) for m, n in zip(leaf.shape, like.shape, strict=True)]),
            sharding,
        ),
        stacked,
        shapes.params,
    )
    opt_state = jax.jit(jax.vmap(optimizer.init), out_shardings=sharding)(params)
    return TrainState(jax.device_put(np.zeros(len(keys), np.int32), sharding), params, opt_state)


def _check_finite(step: int, metrics: Mapping[str, Any], members: Sequence[Member]) -> None:
    for name, what in (("loss", "loss"), ("grad_norm", "norm of the gradient")):
        values = np.asarray(metrics[name][0])[: len(members)]
        if not np.isfinite(values).all():
            number = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UserError(
                f"{members[number].name}: the {what} is {values[number]} at step {step}; lower the "
                "learning rate or look at that member's data"
            )


def _mean_loss(metrics: Mapping[str, Any], count: int) -> float:
    total, weight = (np.asarray(part)[:count] for part in metrics["loss"])
    return float(np.mean(total / np.maximum(weight, jnp.finfo(jnp.float32).tiny)))
