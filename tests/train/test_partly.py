"""Where some parameters are not trained, the others move as ever, and those are neither state nor moved."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.parallel.mesh import Placement
from distill_jax.train.loop import fit
from distill_jax.train.partly import PartlyTrained, merged
from distill_jax.train.state import abstract_frozen, abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step
from tests.train.toy import (
    TWO_DEVICES,
    Regression,
    assert_same,
    make_batch,
    make_data,
    run,
    training,
)

WHOLE = Regression()
PARTLY = PartlyTrained(WHOLE, ("kernel", "output"))
MESH = Placement(fsdp=2, model=2)


def params() -> Any:
    return jax.tree.map(np.asarray, nn.unbox(WHOLE.init(jax.random.key(0))))


def test_the_parts_are_the_whole() -> None:
    trained, untrained = PARTLY.split(params())
    assert set(trained) == {"kernel", "output"} and set(untrained) == {"embedding", "odd"}
    assert_same(merged(trained, untrained), params())
    nested = {"a": {"b": 1, "bc": 2}, "d": 3}
    assert PartlyTrained(WHOLE, ("a/b", "d")).split(nested) == (
        {"a": {"b": 1}, "d": 3},
        {"a": {"bc": 2}},
    )
    with pytest.raises(ValueError, match="below a/x"):
        PartlyTrained(WHOLE, ("a/x",)).split(nested)


def test_a_step_moves_what_is_trained_as_a_whole_step_would() -> None:
    place = MESH.place()
    assert place.mesh is not None
    optimizer, key = optax.sgd(0.1), jax.random.key(1)
    moved = []
    for objective in (WHOLE, PARTLY):
        frozen, shardings = None, None
        start = params()
        if objective is PARTLY:
            start, untrained = PARTLY.split(start)
            places = abstract_frozen(PARTLY, place)
            # By the rules of the state, as they would lie if they were trained.
            own = abstract_state(WHOLE, optimizer, place.mesh, place.rules).params
            assert shardings_of(places.untrained) == {
                name: own[name].sharding for name in ("embedding", "odd")
            }
            assert "fsdp" in str(places.untrained["embedding"].sharding.spec)
            shardings = shardings_of(places)
            frozen = places._replace(untrained=untrained)
            frozen = jax.tree.map(jax.device_put, frozen, shardings)
        state = create_state(objective, optimizer, place.mesh, 0, start, place.rules)
        step = compile_step(
            objective,
            optimizer,
            place,
            shardings_of(abstract_state(objective, optimizer, place.mesh, place.rules)),
            frozen_shardings=shardings,
        )
        given = () if frozen is None else (frozen,)
        moved.append(step(state, make_batch(1), key, *given)[0].params)
    whole, partly = moved
    assert set(partly) == {"kernel", "output"}
    for name in partly:
        np.testing.assert_allclose(partly[name], whole[name], rtol=1e-6)
        assert np.abs(whole[name] - params()[name]).max() > 0


def test_a_run_keeps_no_state_of_what_is_not_trained(tmp_path: Path) -> None:
    trained, untrained = PARTLY.split(params())
    frozen = PARTLY.init_frozen(jax.random.key(0))._replace(untrained=untrained)
    seen: list[set[str]] = []

    def evaluate(given: Any) -> dict[str, float]:
        seen.append(set(given))
        return {"selection": float(len(seen))}

    outcome = fit(
        PARTLY,
        make_data(),
        evaluate,
        training(tmp_path, placement=TWO_DEVICES),
        initial_params=lambda: trained,
        frozen=frozen,
    )
    assert set(outcome.params) == {"kernel", "output"}
    assert seen and all(names == {"kernel", "output"} for names in seen)
    # What is saved is the state, and it must match that: a whole one is refused.
    with pytest.raises(UserError, match="another model or optimizer"):
        run(tmp_path, objective=WHOLE)
