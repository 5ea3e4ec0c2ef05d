"""FLOPs of a traced function, counted from its jaxpr.

XLA's own count takes the body of a loop once, whatever its length, so it is far too low for layers
under `lax.scan`. A jaxpr says how long its scans are.
"""

import math
from collections.abc import Iterator
from typing import Any


def matrix_flops(jaxpr: Any, *, unknown_trips: int = 1) -> float:
    """FLOPs of the matrix products (two a multiply-add) in a (closed) jaxpr, over all devices.

    Rematerialised products count as often as they are computed. Of a `cond` the dearest branch counts; a
    `while` whose trips are not in the program is taken to run `unknown_trips` times.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    total = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = [matrix_flops(j, unknown_trips=unknown_trips) for j in _jaxprs(equation.params)]
        if name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        elif name == "scan":
            total += equation.params["length"] * sum(inner)
        elif name == "while":
            total += unknown_trips * sum(inner)
        elif name == "cond":
            total += max(inner, default=0.0)
        else:
            total += sum(inner)
    return total


def _jaxprs(params: Any) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns") or hasattr(getattr(item, "jaxpr", None), "eqns"):
                yield item


def _dot(equation: Any) -> float:
    left = equation.invars[0].aval
    contracted = equation.params["dimension_numbers"][0][0]
    return (
        2.0
        * math.prod(equation.outvars[0].aval.shape)
        * math.prod(left.shape[axis] for axis in contracted)
    )


def _convolution(equation: Any) -> float:
    kernel = equation.invars[1].aval
    features = equation.params["dimension_numbers"].rhs_spec[0]
    per_output = math.prod(kernel.shape) / kernel.shape[features]
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * per_output
