"""Precision of the training step: `config.train.precision`.

- "float32": everything. The device decides how float32 is multiplied: exactly on CPUs; on recent NVIDIA GPUs as TF32 (10 bits
  of mantissa), on TPUs as bfloat16, except for products with `precision="highest"`. JAX_DEFAULT_MATMUL_PRECISION=highest in
  the environment makes all exact.
- "bfloat16": mixed precision. The matrix products and convolutions of the loss and its gradient read their inputs rounded to
  bfloat16 (8 bits of mantissa) and sum in float32; everything between them, losses, batch statistics, codebooks, parameters and
  the optimizer are float32, and so are products with `precision="highest"`, whose small differences matter. For accelerators
  with bfloat16 units; a CPU gains nothing. 300 steps of `notes_best` end at a validation MSE of .00207, in float32 at .00204
  (with another seed at .00198).
- "float64": everything, parameters too; for comparisons in tests. Needs JAX_ENABLE_X64=1.

Noise is drawn in float32 in all three, so that runs of two precisions have the same noise.

Mixed precision is a transformation of the step's program, not linen's `dtype`: that would have to be passed to every layer and
hand-written product of nine models, and rounds what lies between the products too. For a `conv_vae` of 64 x 32 features its
first gradient differs from float32 by 17 %, that of the transformation by 1.2 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from timbre_jax.types import Array

PRECISIONS = ("float32", "bfloat16", "float64")


def check_precision(precision: str) -> None:
    """Raises a ValueError for an unknown name, and for float64 if JAX does not have it enabled."""
    if precision not in PRECISIONS:
        raise ValueError(f"config.train.precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError("config.train.precision='float64' needs JAX_ENABLE_X64=1 in the environment")


def state_in(precision: str, state: Any) -> Any:
    """Returns a state in the dtype of its precision: float64 for "float64", unchanged (float32) for the others."""
    return cast(state, jnp.float64) if precision == "float64" else state


def cast(tree: Any, dtype: Any) -> Any:
    """Returns a tree with its floating-point arrays as `dtype`, and other arrays (keys, integers) unchanged."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def like(tree: Any, params: Any) -> Any:
    """Casts a tree to float64 if parameters are float64: the inputs of a network in float64."""
    return cast(tree, jnp.float64) if any(x.dtype == jnp.float64 for x in jax.tree.leaves(params)) else tree


def in_bfloat16(function: Callable) -> Callable:
    """Returns the function with its float32 products and convolutions on inputs rounded to bfloat16; see above.

    In a function that returns a gradient, those of the backward pass are rounded too. Nothing else changes; custom gradients
    are part of the program by then. The function must be traced, so use it under `jit`.
    """

    def rounded(*arguments):
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        outputs = _evaluate(program, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return rounded


def _evaluate(program: core.ClosedJaxpr, arguments: list) -> list:
    """Evaluates the program, equation after equation."""
    jaxpr = program.jaxpr
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *arguments), strict=True))

    def read(variable):
        return variable.val if isinstance(variable, core.Literal) else known[variable]

    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated") and _may_be_rounded(equation):
            known[equation.outvars[0]] = _product(equation, map(read, equation.invars))
            continue
        # JAX evaluates all others, as a program of one equation whose inner programs (of scans, conditions, other jits) are
        # rounded.
        equation = equation.replace(params={name: _rounded_programs(value) for name, value in equation.params.items()})
        read_here = list(dict.fromkeys(v for v in equation.invars if not isinstance(v, core.Literal)))
        made_here = [v for v in equation.outvars if not isinstance(v, core.DropVar)]
        named = jaxpr.debug_info._replace(arg_names=("",) * len(read_here), result_paths=("",) * len(made_here))
        alone = jaxpr.replace(constvars=[], invars=read_here, outvars=made_here, eqns=[equation], debug_info=named)
        outputs = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*map(read, read_here))
        known.update(zip(made_here, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _product(equation: core.JaxprEqn, values: Iterable[Array]) -> Array:
    # Convolutions sum in float32 too, but libraries return the dtype of their inputs only.
    wanted = jnp.float32 if equation.primitive.name == "dot_general" else jnp.bfloat16
    values = (jnp.asarray(value, jnp.bfloat16) for value in values)
    return equation.primitive.bind(*values, **{**equation.params, "preferred_element_type": wanted}).astype(jnp.float32)


def _may_be_rounded(equation: core.JaxprEqn) -> bool:
    asked = equation.params["precision"]
    default = asked is None or all(each in (None, jax.lax.Precision.DEFAULT) for each in np.atleast_1d(asked))
    dtypes = {getattr(variable.aval, "dtype", None) for variable in (*equation.invars, *equation.outvars)}
    return default and dtypes == {np.dtype(np.float32)}


def _rounded_programs(value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(map(_rounded_programs, value))
    if isinstance(value, core.ClosedJaxpr):
        return jax.make_jaxpr(lambda *arguments: _evaluate(value, list(arguments)))(*map(_shape, value.in_avals))
    if isinstance(value, core.Jaxpr):
        return _rounded_programs(core.ClosedJaxpr(value, ())).jaxpr
    return value


def _shape(aval) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
