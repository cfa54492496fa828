"""How much arithmetic a function does, counted in its program, and how much this machine can do.

Counted are the multiplications and additions of matrix products and convolutions, two for each pair of numbers that meet, and
of Fourier transforms: 5 N log2 N for a complex one of N points, half of it for a real one (the convention of
http://www.fftw.org/speed/). Left out are the zeros of padding and of the holes of dilated and transposed convolutions, all
that is done element by element, and what a compiler adds. So the count is the model's, whichever machine it runs on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.benchmarks.timing import step_clock

PEAK_SIZE, PEAK_ROUNDS = 2048, 7


def count_flops(function: Callable, *arguments) -> int:
    """Floating point operations of one call with arguments of these shapes; nothing is computed.

    Of `cond` the dearest branch counts, a `while` loop without a known end once.
    """
    import jax

    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def measure_peak(*, size: int = PEAK_SIZE, rounds: int = PEAK_ROUNDS) -> float:
    """FLOP/s of the best of some float32 matrix products [size, size] on all local devices at once, at JAX's precision."""
    import jax
    import jax.numpy as jnp

    clock, products = step_clock(), []
    for device in jax.local_devices():
        square = jax.device_put(jnp.full((size, size), 1.0 / size, jnp.float32), device)
        products.append((jax.jit(jnp.matmul), square))
    jax.block_until_ready([product(square, square) for product, square in products])
    # An accelerator needs many at a time for the time of starting one not to count; a CPU takes 0.1 s for one.
    start = clock()
    jax.block_until_ready([product(square, square) for product, square in products])
    repeats = max(1, round(0.05 / (clock() - start)))
    best = math.inf
    for _ in range(rounds):
        start = clock()
        jax.block_until_ready([product(square, square) for _ in range(repeats) for product, square in products])
        best = min(best, clock() - start)
    return 2.0 * size**3 * repeats * len(products) / best


def _of_jaxpr(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return 2 * _meetings(equation)
    if name == "fft":
        sides = [equation.invars[0].aval, equation.outvars[0].aval]
        real = not all(np.issubdtype(side.dtype, np.complexfloating) for side in sides)
        points, whole = math.prod(parameters["fft_lengths"]), max(side.size for side in sides)
        return round((2.5 if real else 5.0) * whole * math.log2(points))
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inner(parameters)]
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * (parameters["length"] if name == "scan" else 1)


def _inner(parameters: dict) -> Iterator[Any]:
    """The programs within an equation."""
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)  # of a closed one
            if hasattr(part, "eqns"):
                yield part


def _meetings(equation: Any) -> int:
    """Pairs of input and kernel numbers that a convolution multiplies."""
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    lhs, rhs = (variable.aval.shape for variable in equation.invars[:2])
    out = equation.outvars[0].aval.shape
    total = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * rhs[numbers.rhs_spec[1]]
    for place, (low, _) in enumerate(parameters["padding"]):
        size, taps, count = (
            shape[spec[2 + place]]
            for shape, spec in ((lhs, numbers.lhs_spec), (rhs, numbers.rhs_spec), (out, numbers.out_spec))
        )
        hole, reach, stride = (parameters[name][place] for name in ("lhs_dilation", "rhs_dilation", "window_strides"))
        positions = np.arange(count)[:, None] * stride + np.arange(taps) * reach - low
        total *= int(np.count_nonzero((positions >= 0) & (positions <= (size - 1) * hole) & (positions % hole == 0)))
    return total
