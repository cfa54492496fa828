"""Runs all methods that explain latents by decoding many variants of every sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from timbre_jax.analysis.ablation import BASELINES, ablation
from timbre_jax.analysis.attribution import integrated_gradients, shapley
from timbre_jax.analysis.direction import direction_effects
from timbre_jax.analysis.perturbation import perturbation
from timbre_jax.analysis.record import Explanations
from timbre_jax.analysis.sage import sage
from timbre_jax.analysis.sensitivity import sensitivity
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features


def explain(
    space: TimbreSpace,
    features: Features,
    groups: np.ndarray,
    *,
    baselines: tuple[str, ...] = BASELINES,
    units: tuple[str, ...] = ("percent", "deviation"),
    background: np.ndarray | None = None,
    steps: int = 32,
    seconds: float | None = None,
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> Explanations:
    """Explains the latents of a static space by all methods.

    Args:
      space: a static space, or a series space with held points (`inference.pooled.held_space`).
      features: features of E sounds in the representation of the space.
      groups: instruments or recordings [E], the unit of resampling.
      baselines: values of disabled latents in the ablation.
      units: units of the perturbations.
      background: latents [M, D] that SAGE samples from; None: skip SAGE, Shapley values and directions.
      steps: nodes of the quadrature of Integrated Gradients.
      seconds: length of the part of each sound that the features cover; None: the whole sound.
      seed: random seed of sampled methods.
      step: called with the name of each method before it runs.
    """
    results: dict = {}

    def run(field: str, name: str, method: Callable) -> None:
        step(name)
        results[field] = method()

    run("ablations", "ablation", lambda: {b: ablation(space, features, baseline=b) for b in baselines})
    run("perturbations", "perturbation", lambda: {unit: perturbation(space, features, unit=unit) for unit in units})
    run("sensitivity", "sensitivity", lambda: sensitivity(space, features))
    if background is not None:
        run("shapley", "Shapley values", lambda: _by_measure(shapley(space, features, seed=seed)))
        run("sage", "SAGE", lambda: sage(space, features, background=background, samples=8, orders=1, seed=seed))
    run("gradients", "Integrated Gradients", lambda: integrated_gradients(space, features, steps=steps))
    if background is not None and space.representation.is_harmonic:
        run("directions", "directions", lambda: direction_effects(space))
    return Explanations(groups=groups, seconds=seconds, **results)


def _by_measure(attributions: Mapping) -> dict:
    return {(measure, attribution.baseline): attribution for measure, attribution in attributions.items()}
