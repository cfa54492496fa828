"""Interpolation between two sounds along a path on which brightness changes evenly.

Along a line or an arc between two latents, the brightness of the decoded sounds may rise and fall. Here, each mix starts on the
arc and is moved as little as possible, until the descriptors of each frame are on the straight line between those of both
sounds (`control_latents`). In a discrete space, codes near the line between the latents are chosen (`control_codes`). Evenness
is the target of the search, so it is no measure of the quality of the space. Everything else, such as pitch, noise and onset,
stays as on the arc.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from timbre_jax.generation.control.code_control import control_codes
from timbre_jax.generation.control.code_table import CodeTable, code_table, training_share
from timbre_jax.generation.control.curves import Curve, from_error_scale, to_error_scale
from timbre_jax.generation.control.gradient_search import control_latents
from timbre_jax.generation.control.results import ControlResult, measure
from timbre_jax.generation.series_paths import mix, mix_spherical
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

EVEN_DESCRIPTORS = ("centroid", "bandwidth")
"""Default names of the descriptors that change evenly."""
NEARNESS = 0.1
"""Weight of the distance from the arc (`control_latents`) or of the codes from the line (`control_codes`)."""


def even_mixes(
    space: TimbreSpace,
    start: Latent,
    end: Latent,
    shares: Sequence[float | Array],
    *,
    names: Sequence[str] = EVEN_DESCRIPTORS,
    steps: int = 80,
    table: CodeTable | None = None,
) -> list[ControlResult]:
    """Mixes two series so that descriptors change evenly from one to the other.

    Args:
      space: series space.
      start: series [1, M, D].
      end: series [1, M, D].
      shares: share of `end` in each mix, from 0 to 1; a number, or [M] for a share that moves over the sound.
      names: descriptors that change evenly, frame by frame, on their error scale (the logarithm for Hz).
      steps: optimizer steps in a continuous space.
      table: codes of a discrete space with the descriptors; None measures them.

    Returns:
      The mixes in the order of `shares`, with target and measured curves.

    Raises:
      ValueError: the space is static, the series have different shapes or several sounds, or a sound is silent.
    """
    space.check_kind("series")
    if start.values.shape != end.values.shape or start.values.shape[0] != 1:
        raise ValueError(
            f"even mixes: expected two series [1, M, D] of one length (got {start.values.shape} and {end.values.shape}); align "
            "them first"
        )
    count, stride = start.values.shape[1], space.model.stride
    frames = count * stride
    latent_shares = np.stack([np.broadcast_to(np.asarray(share, np.float32), (count,)) for share in shares])
    both = jax.tree.map(lambda *x: np.concatenate(x), start.replace(codes=None), end.replace(codes=None))
    values, audible = measure(space, np.asarray(space.render(both)), names, frames)
    if not audible.any(axis=1).all():
        raise ValueError("even mixes: both sounds must be audible (got a silent one); use another sound")
    ends = {name: to_error_scale(name, _fill_gaps(values[name], audible)) for name in names}
    first, last = (jax.tree.map(lambda x: np.repeat(np.asarray(x), len(latent_shares), axis=0), one) for one in (start, end))
    times = np.arange(frames) / float(space.representation.rate)

    def curve(name: str, share: np.ndarray) -> Curve:
        share = np.repeat(share, stride)
        line = (1.0 - share) * ends[name][0] + share * ends[name][1]
        return Curve(name, times, from_error_scale(name, line), "between two sounds")

    curves = [[curve(name, share) for name in names] for share in latent_shares]
    if space.model.is_discrete:
        table = code_table(space, names=names, uses=training_share(space)) if table is None else table
        line = mix(first, last, latent_shares)
        rows = (jax.tree.map(lambda x, row=row: np.asarray(x)[row : row + 1], line) for row in range(len(latent_shares)))
        pairs = zip(curves, rows, strict=True)
        return [control_codes(space, table, targets, row, sweeps=0, nearness=NEARNESS) for targets, row in pairs]
    arc, reach = mix_spherical(space, first, last, latent_shares), dict.fromkeys(names, (-np.inf, np.inf))
    return control_latents(space, curves, arc, reach=reach, steps=steps, rounds=2, nearness=NEARNESS)


def _fill_gaps(curves: np.ndarray, audible: np.ndarray) -> np.ndarray:
    """Interpolates curves [B, N] over the frames that are not audible."""
    places = np.arange(curves.shape[1])
    return np.stack([np.interp(places, places[row], curve[row]) for curve, row in zip(curves, audible, strict=True)])
