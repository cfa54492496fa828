"""Floating point operations of a function, counted in its jaxpr, and peak of a machine.

The count includes the multiplications and additions of matrix products and convolutions, two for each pair of numbers that are
multiplied, and those of Fourier transforms: 5 N log2 N for a complex transform of N points, half of that for a real one (the
convention of http://www.fftw.org/speed/). It excludes products with the zeros of padding and of dilated or transposed
convolutions, elementwise operations, and operations that a compiler adds, so that it depends on the model only and not on the
machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.benchmarks.timing import step_clock

PEAK_SIZE, PEAK_ROUNDS = 2048, 7


def count_flops(function: Callable, *arguments) -> int:
    """Returns the floating point operations of one call, without computing it.

    A `cond` counts as its most expensive branch, a `while` loop as one iteration.

    Args:
      function: function that JAX can trace.
      arguments: arrays, or shapes and dtypes.
    """
    import jax

    return _count_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def measure_peak(*, size: int = PEAK_SIZE, rounds: int = PEAK_ROUNDS) -> float:
    """Returns the FLOP/s of float32 matrix products on all local devices at once.

    The products have JAX's default precision.

    Args:
      size: rows and columns of the matrices.
      rounds: number of measurements, of which the best counts.
    """
    import jax
    import jax.numpy as jnp

    clock, products = step_clock(), []
    for device in jax.local_devices():
        square = jax.device_put(jnp.full((size, size), 1.0 / size, jnp.float32), device)
        products.append((jax.jit(jnp.matmul), square))
    jax.block_until_ready([product(square, square) for product, square in products])
    # An accelerator runs many products at a time, to hide the time that it takes to launch one; a CPU takes 0.1 s for one.
    start = clock()
    jax.block_until_ready([product(square, square) for product, square in products])
    repeats = max(1, round(0.05 / (clock() - start)))
    best = math.inf
    for _ in range(rounds):
        start = clock()
        jax.block_until_ready([product(square, square) for _ in range(repeats) for product, square in products])
        best = min(best, clock() - start)
    return 2.0 * size**3 * repeats * len(products) / best


def _count_jaxpr(jaxpr: Any) -> int:
    """Returns the operations of a jaxpr."""
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
    """Returns the operations of an equation of a jaxpr."""
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return 2 * _count_convolution_products(equation)
    if name == "fft":
        sides = [equation.invars[0].aval, equation.outvars[0].aval]
        real = not all(np.issubdtype(side.dtype, np.complexfloating) for side in sides)
        points, whole = math.prod(parameters["fft_lengths"]), max(side.size for side in sides)
        return round((2.5 if real else 5.0) * whole * math.log2(points))
    inner = [_count_jaxpr(jaxpr) for jaxpr in _inner_jaxprs(parameters)]
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * (parameters["length"] if name == "scan" else 1)


def _inner_jaxprs(parameters: dict) -> Iterator[Any]:
    """Yields the jaxprs among the parameters of an equation."""
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)  # a closed jaxpr contains its jaxpr
            if hasattr(part, "eqns"):
                yield part


def _count_convolution_products(equation: Any) -> int:
    """Returns the number of pairs of input and kernel numbers that a convolution multiplies."""
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
        lhs_dilation, rhs_dilation, stride = (
            parameters[name][place] for name in ("lhs_dilation", "rhs_dilation", "window_strides")
        )
        positions = np.arange(count)[:, None] * stride + np.arange(taps) * rhs_dilation - low
        inside = (positions >= 0) & (positions <= (size - 1) * lhs_dilation)
        total *= int(np.count_nonzero(inside & (positions % lhs_dilation == 0)))
    return total
