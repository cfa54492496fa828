"""Tests of sounds at points of a map."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.maps.rendering import grid_points, make_sound, space_within_budget

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_iterations_are_reduced_only_to_meet_the_time_budget(run_map):
    run, sound_map = run_map.run, run_map.sound_map
    lines = []
    assert space_within_budget(run.space, sound_map, milliseconds=1e5, report=lines.append) is run.space
    assert "a sound takes" in lines[0]
    space_within_budget(run.space, sound_map, milliseconds=1e-3, report=lines.append)
    assert "cannot be faster" in lines[-1]


def test_grid_points_run_from_the_top_left():
    np.testing.assert_allclose(grid_points(2), [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])


def test_non_finite_points_are_an_error(run_map):
    with pytest.raises(ValueError, match="finite"):
        make_sound(run_map.run.space, run_map.sound_map, float("nan"), 0.0)
