"""Mixes of two sounds whose brightness goes evenly from the one to the other: the path bent, through the decoder.

Along a line or an arc between two latents a decoder makes what it will: brightness may rise and fall on the way between two
sounds. Here every mix begins on the arc and is moved, as little as need be, until the descriptors of each of its frames lie on
the straight line between those of both ends (`descriptor_search.search`); in a discrete space codes near the line between both
are chosen so (`code_control.control_codes`). It is told the descriptors: that these go evenly is asked for, and no finding
about the space; what the path leaves alone (pitch, noise, attack) stays the arc's.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from timbre_jax.generation.control.code_control import control_codes
from timbre_jax.generation.control.code_table import CodeTable, code_table, training_share
from timbre_jax.generation.control.curves import Curve, from_error_scale, to_error_scale
from timbre_jax.generation.control.gradient_search import search
from timbre_jax.generation.control.results import Controlled, measure
from timbre_jax.generation.series_paths import mix, mix_spherical
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

EVEN = ("centroid", "bandwidth")
NEARNESS = 0.1
"""Weight of the distance of a mix from the arc (`search`) or of its codes from the line (`control_codes`)."""


def even_mixes(
    space: TimbreSpace,
    start: Latent,
    end: Latent,
    shares: Sequence[float | Array],
    *,
    names: Sequence[str] = EVEN,
    steps: int = 80,
    table: CodeTable | None = None,
) -> list[Controlled]:
    """A sound for each share of the second of two series, [1, M, D] both, whose descriptors go evenly.

    Args:
      shares: of the second sound, 0..1; of each mix one number, or [M] where it moves in time.
      names: descriptors that go evenly: their logarithms where they are compared by ratio (centroid, bandwidth, in Hz), frame
        by frame, as measured on both ends' sounds.
      steps: of the search in a continuous space.
      table: of a discrete space's codes, with the descriptors; None makes it.

    Returns:
      The mixes in order, with targets and what was achieved.

    Raises ValueError for a static space, several sounds at once, series of two lengths, or a silent end.
    """
    space.check_kind("series")
    if start.values.shape != end.values.shape or start.values.shape[0] != 1:
        raise ValueError(
            f"an even path leads from one sound to another of its length, [1, M, D] both, not {start.values.shape} and "
            f"{end.values.shape}: align them first"
        )
    count, stride = start.values.shape[1], space.model.stride
    frames = count * stride
    parts = np.stack([np.broadcast_to(np.asarray(share, np.float32), (count,)) for share in shares])
    both = jax.tree.map(lambda *x: np.concatenate(x), start.replace(codes=None), end.replace(codes=None))
    found, heard = measure(space, np.asarray(space.render(both)), names, frames)
    if not heard.any(axis=1).all():
        raise ValueError("one of both sounds is silent: nothing lies evenly between it and the other")
    ends = {name: to_error_scale(name, _filled(found[name], heard)) for name in names}
    first, last = (jax.tree.map(lambda x: np.repeat(np.asarray(x), len(parts), axis=0), one) for one in (start, end))
    times = np.arange(frames) / float(space.representation.rate)

    def curve(name: str, share: np.ndarray) -> Curve:
        share = np.repeat(share, stride)
        line = (1.0 - share) * ends[name][0] + share * ends[name][1]
        return Curve(name, times, from_error_scale(name, line), "between two sounds")

    curves = [[curve(name, share) for name in names] for share in parts]
    if space.model.is_discrete:
        table = code_table(space, names=names, uses=training_share(space)) if table is None else table
        line = mix(first, last, parts)
        rows = (jax.tree.map(lambda x, row=row: np.asarray(x)[row : row + 1], line) for row in range(len(parts)))
        return [
            control_codes(space, table, some, row, sweeps=0, nearness=NEARNESS) for some, row in zip(curves, rows, strict=True)
        ]
    arc, reach = mix_spherical(space, first, last, parts), dict.fromkeys(names, (-np.inf, np.inf))
    return search(space, curves, arc, reach=reach, steps=steps, rounds=2, nearness=NEARNESS)


def _filled(curves: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Curves [B, N] with what lies between frames that are heard in place of what is not."""
    place = np.arange(curves.shape[1])
    return np.stack([np.interp(place, place[ear], curve[ear]) for curve, ear in zip(curves, heard, strict=True)])
